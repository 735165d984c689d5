//! Messages between two network namespaces, joined by a virtual cable: over every link, IPv4 and IPv6,
//! with the MTU of Ethernet and of its jumbo frames, with and without losses.
//!
//! Loopback carries 65,536 bytes in one packet, so only here do messages travel in as many packets
//! as on a real network, and between addresses that are not the same machine.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::command::output;
use crate::paths;

/// One byte, less and more than a packet, more than is sent unasked, and the longest.
const LENGTHS: [usize; 6] = [1, 1000, 2000, 100_000, 500_000, 1_000_000];

/// Addresses of the server's end of the cable; the client's end in the same networks.
const SERVER: [&str; 2] = ["10.213.0.1", "fd00:213::1"];
const CLIENT: [&str; 2] = ["10.213.0.2", "fd00:213::2"];
const PREFIX: [&str; 2] = ["/24", "/64"];

/// Links, with a port that a server may have there.
const LINKS: [(&str, u16); 3] = [("udp", 4_000), ("ip", 99), ("tunnel", 99)];

const MTUS: [&str; 2] = ["1500", "9000"];

/// What happens to packets that arrive, at either end: nothing, or every tenth is lost and every
/// tenth of the others overtaken.
const FAULTS: [&str; 2] = ["", "drop=100000,reorder=100000,seed=7"];

/// Calls servers across the cable in every way, and compares what comes back.
pub(crate) fn check() -> Result<(), String> {
    let cable = Cable::lay()?;
    for mtu in MTUS {
        cable.set_mtu(mtu)?;
        for (link, port) in LINKS {
            for (address, faults) in SERVER.into_iter().flat_map(|a| FAULTS.map(|f| (a, f))) {
                let host = if address.contains(':') {
                    format!("[{address}]")
                } else {
                    address.to_owned()
                };
                // Patient, for the machine may be busy with other steps of a build.
                let options = ["--link", link, "--faults", faults, "--silence", "5"];
                let address = format!("{host}:{port}");
                let _server = Server::start(&cable.server, &address, &options)?;
                for length in LENGTHS {
                    echo(&cable.client, &address, length, &options)?;
                }
            }
        }
        println!(
            "   MTU {mtu}: up to 1,000,000 bytes both ways over udp, ip and tunnel, IPv4 and IPv6"
        );
    }
    follows_the_mtu(&cable)?;
    looks_like_the_reference(&cable)?;
    refuses(&cable)
}

/// A server that was called over a route of 9,000 bytes answers when the route takes 1,500 only.
fn follows_the_mtu(cable: &Cable) -> Result<(), String> {
    for (link, port) in LINKS {
        cable.set_mtu(MTUS[1])?;
        let address = format!("{}:{port}", SERVER[0]);
        let options = ["--link", link, "--silence", "5"];
        let _server = Server::start(&cable.server, &address, &options)?;
        for mtu in [MTUS[1], MTUS[0]] {
            cable.set_mtu(mtu)?;
            echo(&cable.client, &address, 1_000_000, &options)?;
        }
    }
    println!("   a server follows its route from MTU 9000 to 1500, over udp, ip and tunnel");
    Ok(())
}

/// What `homa dump --live` sees on the cable: packets as the reference marks them, none longer than the
/// MTU, control packets at the highest level.
fn looks_like_the_reference(cable: &Cable) -> Result<(), String> {
    let address = format!("{}:99", SERVER[0]);
    let options = ["--link", "ip", "--silence", "5"];
    let _server = Server::start(&cable.server, &address, &options)?;
    let mut dump = inside(&cable.server, &paths::homa());
    dump.args(["dump", "--live", "cable", "--json", "--seconds", "2"]);
    let mut dump = dump
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut output = dump.stdout.take().expect("the output is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    while dump
        .try_wait()
        .map_err(|error| error.to_string())?
        .is_none()
    {
        echo(&cable.client, &address, 100_000, &options)?;
    }
    let text = reader.join().expect("reading does not panic");
    let text = text.map_err(|error| error.to_string())?;
    for line in text.lines() {
        let packet: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let is_data = packet["type"] == "DATA";
        let is_right = packet["carrier"] == "ip"
            && packet["flags"] == 0x06
            && packet["urgent"] == 0xb97d
            && packet["doff"] == if is_data { 14 } else { 5 }
            && packet["packet_length"].as_u64() <= Some(1_480)
            && packet["traffic_class"]
                .as_u64()
                .is_some_and(|class| class % 32 == 0)
            && (is_data || packet["traffic_class"] == 0xe0)
            && (!is_data || packet["sequence"] == packet["seg_offset"]);
        if !is_right {
            return Err(format!("not as the reference would send it: {line}"));
        }
    }
    let count = text.lines().count();
    if count < 100 {
        return Err(format!("homa dump --live saw {count} packets"));
    }
    println!("   {count} packets on the wire are marked as the reference marks them");
    Ok(())
}

/// A port that nobody has is told by ICMP, long before a timeout; one that a process has, no other
/// can have.
fn refuses(cable: &Cable) -> Result<(), String> {
    let [address, _] = SERVER;
    let server = format!("{address}:99");
    let _server = Server::start(&cable.server, &server, &["--link", "ip"])?;
    for nobody in [format!("{address}:98"), format!("[{}]:98", SERVER[1])] {
        is_refused(cable, &nobody)?;
    }
    let mut second = inside(&cable.server, &paths::homa());
    second.args(["serve", "--link", "ip", "--listen", &server]);
    expect(&mut second, "Homa port 99 is taken on this machine")?;
    println!("   a port of nobody is refused, and a port of another is not given twice");
    Ok(())
}

/// A call to this address learns that nobody has the port. A process that is not scheduled for 5 ms asks
/// about its request before it hears so, and then cannot say whether it ran: it calls again.
fn is_refused(cable: &Cable, address: &str) -> Result<(), String> {
    let mut call = inside(&cable.client, &paths::homa());
    call.args(["call", "--link", "ip", "--silence", "5", address, "x"]);
    let mut told = Ok(());
    for _ in 0..5 {
        told = expect(&mut call, "nobody listens at the server's port");
        let is_unsure = |why: &String| why.contains("the request may have run");
        if !told.as_ref().is_err_and(is_unsure) {
            break;
        }
    }
    told
}

/// Runs a command that has to fail with exit code 1 and this text.
fn expect(command: &mut Command, text: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(1) && told.contains(text) {
        return Ok(());
    }
    Err(format!(
        "{command:?} ended with {}: {}",
        output.status,
        told.trim()
    ))
}

/// Sends a file of `length` bytes and compares the response.
fn echo(namespace: &str, address: &str, length: usize, options: &[&str]) -> Result<(), String> {
    let directory = paths::homa().with_file_name("xtask-namespaces");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let (request, response) = (directory.join("request"), directory.join("response"));
    let bytes: Vec<u8> = (0..length)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect();
    fs::write(&request, &bytes).map_err(|error| error.to_string())?;
    let mut call = inside(namespace, &paths::homa());
    call.args(["call", address, "--file"])
        .arg(&request)
        .arg("--out")
        .arg(&response)
        .args(options);
    output(&mut call)?;
    let echoed = fs::read(&response).map_err(|error| error.to_string())?;
    if echoed == bytes {
        Ok(())
    } else {
        Err(format!(
            "{length} bytes came back from {address} as {} others",
            echoed.len()
        ))
    }
}

/// Two namespaces with the names of this run. Dropping it takes them and the cable away.
struct Cable {
    server: String,
    client: String,
}

impl Cable {
    fn lay() -> Result<Self, String> {
        let name = |end: &str| format!("homa-{end}-{}", process::id());
        let cable = Self {
            server: name("server"),
            client: name("client"),
        };
        let (server, client) = (&*cable.server, &*cable.client);
        ip(&["netns", "add", server])?;
        ip(&["netns", "add", client])?;
        ip(&[
            "link", "add", "cable", "netns", server, "type", "veth", "peer", "name", "cable",
            "netns", client,
        ])?;
        for (namespace, addresses) in [(server, SERVER), (client, CLIENT)] {
            for (address, prefix) in addresses.iter().zip(PREFIX) {
                let address = format!("{address}{prefix}");
                // Without duplicate detection an IPv6 address can be used at once.
                let nodad: &[&str] = if prefix == "/64" { &["nodad"] } else { &[] };
                let words = ["-n", namespace, "address", "add", &address, "dev", "cable"];
                ip(&[&words[..], nodad].concat())?;
            }
            ip(&["-n", namespace, "link", "set", "cable", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(cable)
    }

    fn set_mtu(&self, mtu: &str) -> Result<(), String> {
        [&self.server, &self.client]
            .into_iter()
            .try_for_each(|name| ip(&["-n", name, "link", "set", "cable", "mtu", mtu]))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // It was never added if adding failed, which has been told.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

/// An echo server. Dropping it ends it.
struct Server {
    child: Child,
}

impl Server {
    fn start(namespace: &str, listen: &str, options: &[&str]) -> Result<Self, String> {
        let mut child = inside(namespace, &paths::homa())
            .args(["serve", "--listen", listen])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server did not start: {error}"))?;
        let mut told = String::new();
        let output = child.stdout.take().expect("the output is piped");
        let read = BufReader::new(output).read_line(&mut told);
        let server = Self { child };
        match read {
            Ok(count) if count > 0 => Ok(server),
            _ => Err("the server did not come up".to_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only for a process that has ended already, and `wait` then still collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn inside(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(words: &[&str]) -> Result<(), String> {
    output(Command::new("ip").args(words)).map(drop)
}
