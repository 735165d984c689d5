//! The real `lab`, slow enough for any machine.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod running;

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use running::{HOMA, typed};

#[test]
fn the_lab_measures_its_own_network_or_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.json");
    let mut command = Command::new(HOMA);
    command.args([
        "lab", "check", "--hosts", "3", "--rate", "5", "--buffer", "60000", "--share", "--json",
    ]);
    let output = command.arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    if text.is_empty() {
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("cannot lay the network: "), "{errors}");
        return;
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let findings = json.as_array().unwrap();
    assert_eq!(findings.len(), 7, "{text}");
    // Which promises this machine can keep while other tests run is not the question here; the
    // exit code has to tell.
    let all_kept = findings.iter().all(|finding| finding["is_kept"] == true);
    assert_eq!(output.status.success(), all_kept, "{text}{errors}");
    // What the rule of the buffer holds does not depend on how busy the machine is.
    let shared = findings
        .iter()
        .find(|f| f["promise"] == "one queue takes half the buffer");
    let held = shared.unwrap()["found"].as_str().unwrap();
    assert!(!held.starts_with("0.0 %"), "{held}");
}

#[test]
fn the_lab_compares_protocols_or_names_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lab.json");
    let mut command = Command::new(HOMA);
    command.args([
        "lab",
        "--workload",
        "w1",
        "--hosts",
        "3",
        "--rate",
        "5",
        "--load",
        "0.2",
    ]);
    command.args([
        "--buffer",
        "256000",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--allow-late",
        "--share",
    ]);
    command.args(["--protocols", "homa,tcp_cubic_pair", "--json"]);
    let output = command.arg(&file).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("cannot lay the network: "), "{errors}");
        return;
    }
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let rows = json["cases"][0]["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| &row["protocol"]).collect();
    assert_eq!(names, ["homa", "tcp_cubic_pair", "homa_virtual"]);
    // In virtual time no machine is too slow.
    assert!(rows[2]["delivered"].as_f64().unwrap() > 0.99, "{rows:?}");
    for row in rows {
        assert!(row["short_p99_us"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["mean_slowdown"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(
        json["ratios"]["w1/256k/homa/delivered"].as_f64().unwrap() > 0.5,
        "{json}"
    );
}

/// What the lab wrote, for three hosts with slow links and little to do; nothing where it may not lay
/// a network.
fn figures(arguments: &[&str]) -> Option<Value> {
    let directory = tempfile::tempdir().unwrap();
    let [json, page] = ["lab.json", "lab.html"].map(|name| directory.path().join(name));
    let output = slow_lab(arguments)
        .args(["--share", "--seconds", "1", "--json"])
        .arg(&json)
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(errors.contains("cannot lay the network: "), "{errors}");
        return None;
    }
    // Slowdowns and latencies.
    let page = fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    Some(serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap())
}

fn slow_lab(arguments: &[&str]) -> Command {
    let mut command = typed();
    command.args(SLOW.split_whitespace()).args(arguments);
    command
}

const SLOW: &str = "lab --workload w1 --hosts 3 --rate 4 --load 0.2 --buffer 256000 --rounds 1 \
                    --allow-late";

fn names(json: &Value) -> Vec<&str> {
    let rows = json["cases"][0]["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["protocol"].as_str().unwrap())
        .collect()
}

#[test]
fn several_processes_of_a_host_and_two_protocols_at_once_share_the_load() {
    let protocols = "homa,homa_and_tcp,homa_1_level,tcp_cubic_ecn_pair";
    let Some(json) = figures(&["--processes", "2", "--protocols", protocols]) else {
        return;
    };
    let expected = [
        "homa",
        "homa_beside_tcp",
        "tcp_beside_homa",
        "homa_1_level",
        "tcp_cubic_ecn_pair",
    ];
    assert_eq!(names(&json), expected);
    for row in json["cases"][0]["rows"].as_array().unwrap() {
        assert!(row["delivered"].as_f64().unwrap() > 0.5, "{row}");
    }
    for share in ["homa_of_its_half", "tcp_of_its_half"] {
        let share = &json["ratios"][format!("w1/256k/homa_and_tcp/{share}")];
        assert!(share.as_f64().unwrap() > 0.5, "{json}");
    }
}

#[test]
fn in_an_incast_one_host_is_called_by_all_others() {
    let Some(json) = figures(&["--incast", "--protocols", "homa,tcp_cubic_rto5_pair"]) else {
        return;
    };
    // Kernels before 6.11 cannot repeat that early, and the report says so.
    let has_rto = Path::new("/proc/sys/net/ipv4/tcp_rto_min_us").exists();
    assert_eq!(names(&json).len(), if has_rto { 2 } else { 1 });
    assert_eq!(json["left_out"].as_array().unwrap().is_empty(), has_rto);
    assert_eq!(json["incast"], true);
    let delivered = &json["ratios"]["w1/256k/homa/delivered"];
    assert!(delivered.as_f64().unwrap() > 0.5, "{json}");
}

#[test]
fn the_kernel_s_own_switch_is_checked_and_compared_or_what_it_lacks_is_named() {
    let check = "lab check --switch htb --hosts 3 --rate 5 --buffer 60000";
    let output = typed().args(check.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    let protocols = "homa,tcp_cubic_pair,tcp_cubic_ecn_pair";
    let Some(json) = figures(&["--switch", "htb", "--protocols", protocols]) else {
        assert!(errors.contains("cannot lay the network: "), "{errors}");
        return;
    };
    // How well it keeps them while other tests run is not the question here.
    assert_eq!(text.lines().count(), 4, "{text}{errors}");
    assert_eq!(names(&json), ["homa", "tcp_cubic_pair", "homa_virtual"]);
    assert_eq!(
        (&json["switch"], &json["cases"][0]["standing"]),
        (&"htb".into(), &"kernel".into())
    );
    let left_out = json["left_out"].as_array().unwrap();
    assert!(
        left_out
            .iter()
            .any(|it| it.as_str().unwrap().contains("HTB marks")),
        "{json}"
    );
    for row in json["cases"][0]["rows"].as_array().unwrap() {
        assert!(row["delivered"].as_f64().unwrap() > 0.5, "{row}");
    }
}

#[test]
fn without_root_the_lab_runs_in_namespaces_of_the_user_s_or_tells_what_it_lacks() {
    let mut command = Command::new("unshare");
    command.args(["-Urn", HOMA]).args(SLOW.split_whitespace());
    command.args("--share --seconds 1 --protocols homa".split(' '));
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        // Either the system forbids such namespaces, or the device is missing.
        let told = errors.contains("cannot lay the network: ") && errors.contains("; ");
        assert!(told || errors.contains("unshare: "), "{errors}");
        return;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("WITHOUT real-time priority"), "{text}");
    assert!(text.contains("w1/256k/homa/delivered"), "{text}");
}

#[test]
fn nothing_is_left_of_a_lab_that_is_interrupted_or_killed() {
    for (signal, switch) in [
        (Signal::INT, "exact"),
        (Signal::KILL, "exact"),
        (Signal::INT, "htb"),
        (Signal::KILL, "htb"),
    ] {
        let mut command = slow_lab(&["--share", "--seconds", "60", "--protocols", "homa"]);
        command.args(["--switch", switch]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lab = command.spawn().unwrap();
        let hosts = hosts_of(&mut lab);
        // Where networks may not be laid, it has ended by itself.
        let _ = kill_process(Pid::from_child(&lab), signal);
        assert!(!lab.wait().unwrap().success());
        let begun = Instant::now();
        while hosts.iter().any(|host| is_host(*host)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{signal:?}");
            thread::yield_now();
        }
    }
}

#[test]
fn other_programs_leave_the_switch_s_processor_and_may_come_back_however_the_lab_ends() {
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    let before = allowed_processors(bystander.id());
    let has_two = before.contains([',', '-']);
    for signal in [Signal::INT, Signal::KILL] {
        let mut command = slow_lab(&["--seconds", "60", "--protocols", "homa"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut lab = command.spawn().unwrap();
        let runs = !hosts_of(&mut lab).is_empty();
        let meanwhile = allowed_processors(bystander.id());
        assert_eq!(meanwhile != before, runs && has_two, "{meanwhile}");
        let _ = kill_process(Pid::from_child(&lab), signal);
        assert!(!lab.wait().unwrap().success());
        let begun = Instant::now();
        while allowed_processors(bystander.id()) != before {
            assert!(begun.elapsed() < Duration::from_secs(10), "{signal:?}");
            thread::yield_now();
        }
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// Where the process may run, as the system tells it.
fn allowed_processors(process: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list"));
    line.unwrap().to_owned()
}

/// The processes of the three hosts, once all run; none if the lab ended before.
fn hosts_of(lab: &mut Child) -> Vec<i32> {
    loop {
        let parent = format!("PPid:\t{}\n", lab.id());
        let entries = fs::read_dir("/proc").unwrap();
        let all = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let hosts: Vec<i32> = all
            .filter(|process: &i32| {
                let status = fs::read_to_string(format!("/proc/{process}/status"));
                status.is_ok_and(|text| text.contains(&parent)) && is_host(*process)
            })
            .collect();
        if hosts.len() == 3 || lab.try_wait().unwrap().is_some() {
            return hosts;
        }
        thread::yield_now();
    }
}

/// Whether a process is a host of a lab, still or again.
fn is_host(process: i32) -> bool {
    let line = fs::read_to_string(format!("/proc/{process}/cmdline"));
    line.is_ok_and(|line| line.contains("internal-lab-host"))
}
