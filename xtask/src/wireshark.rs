//! The dissector beside `homa dump --json`: two readers of one wire format, written in two languages,
//! that have to agree on every field of every packet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::output;
use crate::paths;

/// Fields as `homa dump --json` names them; tshark puts `homa.` before.
const FIELDS: [&str; 31] = [
    "type",
    "reason",
    "carrier",
    "packet_length",
    "segment",
    "sport",
    "dport",
    "sequence",
    "ack",
    "type_code",
    "doff",
    "flags",
    "window",
    "checksum",
    "urgent",
    "sender_id",
    "message_length",
    "incoming",
    "ack_client_id",
    "ack_server_port",
    "cutoff_version",
    "retransmit",
    "incast",
    "seg_offset",
    "payload_length",
    "offset",
    "length",
    "priority",
    "unknown_reason",
    "unsched_cutoffs",
    "num_acks",
];
/// Fields of the entries of the list `acks`.
const ACK_FIELDS: [&str; 2] = ["client_id", "server_port"];

/// Runs of the simulator whose packets are compared: without faults, with them, and with hostile
/// hosts that send what is not legal.
const SEEDS: [&str; 4] = ["1", "3", "4", "7"];

/// Frame number and field name; the values in the order of the frame's packets.
type Values = BTreeMap<(u64, String), Vec<String>>;

/// Compares both on the committed captures and on fresh ones of the simulator.
pub(crate) fn check() -> Result<(), String> {
    let directory = paths::homa().with_file_name("xtask-wireshark");
    let home = install(&directory)?;
    let mut captures = committed()?;
    for seed in SEEDS {
        let file = directory.join(format!("seed-{seed}.pcapng"));
        let mut swarm = Command::new(paths::homa());
        swarm.args(["sim", "swarm", "--seeds", "1", "--from", seed, "--capture"]);
        output(swarm.arg(&file))?;
        captures.push(file);
    }
    for capture in captures {
        let (frames, values) = compare(&home, &capture)?;
        let name = capture.file_name().unwrap_or_default().to_string_lossy();
        println!("   {name}: {frames} frames, {values} values");
    }
    Ok(())
}

/// A home directory with the dissector in it, put there as the manual says.
fn install(directory: &Path) -> Result<PathBuf, String> {
    let home = directory.join("home");
    let plugins = home.join(".local/lib/wireshark/plugins");
    fs::create_dir_all(&plugins).map_err(|error| error.to_string())?;
    let dissector = Path::new(paths::ROOT).join("wireshark/homa.lua");
    fs::copy(dissector, plugins.join("homa.lua")).map_err(|error| error.to_string())?;
    Ok(home)
}

fn committed() -> Result<Vec<PathBuf>, String> {
    let directory = Path::new(paths::ROOT).join("crates/homa-proto/tests/captures");
    let entries = fs::read_dir(&directory).map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

/// Returns how many frames and values there are.
fn compare(home: &Path, capture: &Path) -> Result<(usize, usize), String> {
    let ours = dumped(capture)?;
    let theirs = dissected(home, capture)?;
    let differs = |key: &&(u64, String)| ours.get(*key) != theirs.get(*key);
    if let Some(key) = ours.keys().chain(theirs.keys()).find(differs) {
        return Err(format!(
            "{}, frame {}, {}: homa dump says {:?}, tshark {:?}",
            capture.display(),
            key.0,
            key.1,
            ours.get(key),
            theirs.get(key)
        ));
    }
    let frames = ours.keys().filter(|(_, name)| name == "type").count();
    if frames == 0 {
        return Err(format!("{}: no packet", capture.display()));
    }
    Ok((frames, ours.values().map(Vec::len).sum()))
}

fn dumped(capture: &Path) -> Result<Values, String> {
    let text = output(
        Command::new(paths::homa())
            .args(["dump", "--json"])
            .arg(capture),
    )?;
    let mut values = Values::new();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let frame = object["frame"].as_u64().ok_or("a packet without a frame")?;
        let mut add = |name: String, value: &Value| {
            values.entry((frame, name)).or_default().push(plain(value));
        };
        for name in FIELDS {
            match &object[name] {
                Value::Null => {}
                Value::Array(list) => list.iter().for_each(|value| add(name.to_owned(), value)),
                value => add(name.to_owned(), value),
            }
        }
        for ack in object["acks"].as_array().into_iter().flatten() {
            for name in ACK_FIELDS {
                add(format!("acks.{name}"), &ack[name]);
            }
        }
    }
    Ok(values)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn dissected(home: &Path, capture: &Path) -> Result<Values, String> {
    let acks = ACK_FIELDS.map(|name| format!("acks.{name}"));
    let names: Vec<String> = FIELDS.iter().map(ToString::to_string).chain(acks).collect();
    let mut tshark = Command::new("tshark");
    tshark.env("HOME", home).arg("-r").arg(capture);
    tshark.args([
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-E",
        "aggregator=,",
        "-e",
        "frame.number",
    ]);
    for name in &names {
        tshark.args(["-e", &format!("homa.{name}")]);
    }
    let mut values = Values::new();
    for line in output(&mut tshark)?.lines() {
        let mut columns = line.split(';');
        let frame = columns.next().and_then(|text| text.parse().ok());
        let frame: u64 = frame.ok_or("a line without a frame number")?;
        for (name, column) in names
            .iter()
            .zip(columns)
            .filter(|(_, column)| !column.is_empty())
        {
            let list = column.split(',').map(decimal).collect();
            values.insert((frame, name.clone()), list);
        }
    }
    Ok(values)
}

/// tshark writes some numbers with base 16.
fn decimal(text: &str) -> String {
    let digits = text.strip_prefix("0x");
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.map_or_else(|| text.to_owned(), |number| number.to_string())
}
