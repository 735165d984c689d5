//! What stands still: how this build, the kernel and the processors are set up.

use std::fs;

use super::Finding;
use super::Verdict::{Note, Spoils};
use crate::bench::sockets::receive_buffer_granted;
use crate::cpu;
use crate::network;
use crate::traffic::UDP_BUFFER_BYTES;

/// All of them.
pub(super) fn all() -> Vec<Finding> {
    let cpus = match cpu::allowed()[..] {
        [client, server, ..] => Some([client, server]),
        _ => None,
    };
    let siblings = cpus.map(|[client, _]| {
        read(&format!(
            "/sys/devices/system/cpu/cpu{client}/topology/thread_siblings_list"
        ))
    });
    vec![
        build(cfg!(debug_assertions)),
        congestion(
            &read("/proc/sys/net/ipv4/tcp_congestion_control"),
            &read("/proc/sys/net/ipv4/tcp_available_congestion_control"),
        ),
        pinning(cpus, siblings.as_deref()),
        quota(&read("/sys/fs/cgroup/cpu.max")),
        frequency(&read(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        )),
        virtual_machine(read("/proc/cpuinfo").contains(" hypervisor")),
        clock(&read(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        )),
        buffers(receive_buffer_granted().unwrap_or(0)),
        steering(
            &read("/sys/class/net/lo/queues/rx-0/rps_cpus"),
            &read("/proc/sys/net/core/rps_default_mask"),
        ),
        offloads("lo", &network::active_offloads("lo")),
        priority(&read("/proc/sys/kernel/sched_autogroup_enabled")),
        cables(network::may_lay_cables()),
    ]
}

/// The contents of a small file, without the end of its line; empty if there is none.
fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim_end().to_owned()
}

fn build(debug: bool) -> Finding {
    if debug {
        let advice = "build with `cargo build --release -p homa-cli --features rivals`";
        Finding::new("build", Spoils, "this program is not optimised", advice)
    } else {
        Finding::fine("build", "optimised")
    }
}

fn congestion(default: &str, available: &str) -> Finding {
    let subject = "congestion control";
    if !available.split(' ').any(|name| name == "cubic") {
        return Finding::new(
            subject,
            Spoils,
            format!("TCP may use {available} only"),
            "`modprobe tcp_cubic`: without it there is no TCP to compare with",
        );
    }
    match default {
        "cubic" => Finding::fine(subject, "cubic is the default"),
        other => Finding::new(
            subject,
            Note,
            format!("the default is {other}; benchmarks choose cubic, other programs do not"),
            "`sysctl net.ipv4.tcp_congestion_control=cubic` before comparing with other programs",
        ),
    }
}

fn pinning(cpus: Option<[usize; 2]>, siblings: Option<&str>) -> Finding {
    let subject = "pinning";
    let Some([client, server]) = cpus else {
        let advice = "allow two processors: `taskset -c 0,1 homa bench …`";
        return Finding::new(subject, Spoils, "there is one processor only", advice);
    };
    if siblings.is_some_and(|list| in_list(server, list)) {
        return Finding::new(
            subject,
            Spoils,
            format!("CPU {client} and CPU {server} are two threads of one core"),
            "choose two cores: `taskset -c 0,2 homa bench …` (lscpu -e names them)",
        );
    }
    let what = format!("client on CPU {client}, server on CPU {server}");
    Finding::fine(subject, what)
}

fn quota(limit: &str) -> Finding {
    match limit.split(' ').next() {
        None | Some("" | "max") => Finding::fine("quota", "none"),
        Some(_) => Finding::new(
            "quota",
            Spoils,
            format!("this container's processes are stopped when they used {limit} (µs of µs)"),
            "start the container without a limit on CPU time (docker run without --cpus)",
        ),
    }
}

/// Whether a list such as `0,2-3` holds the number.
fn in_list(number: usize, list: &str) -> bool {
    list.split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        match (low.parse::<usize>(), high.parse::<usize>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&number),
            _ => false,
        }
    })
}

fn frequency(governor: &str) -> Finding {
    match governor {
        "" => Finding::fine("frequency", "nothing here changes it"),
        "performance" => Finding::fine("frequency", "the governor is performance"),
        other => Finding::new(
            "frequency",
            Spoils,
            format!("the governor is {other}: the first rounds run slower than the last"),
            "`cpupower frequency-set -g performance`",
        ),
    }
}

fn virtual_machine(is_virtual: bool) -> Finding {
    if is_virtual {
        Finding::new(
            "virtual machine",
            Note,
            "a sleeping processor is taken away, and coming back takes as long as several round trips",
            "nothing: benchmarks keep their processors awake",
        )
    } else {
        Finding::fine("virtual machine", "none")
    }
}

fn clock(source: &str) -> Finding {
    match source {
        "hpet" | "acpi_pm" | "jiffies" => Finding::new(
            "clock",
            Spoils,
            format!("the clock source is {source}: reading it takes microseconds"),
            "boot with clocksource=tsc, if the processor's is steady",
        ),
        other => Finding::fine("clock", other),
    }
}

fn buffers(granted: usize) -> Finding {
    let what = format!("UDP sockets get {granted} bytes to receive in");
    if granted >= UDP_BUFFER_BYTES {
        return Finding::fine("buffer limits", what);
    }
    Finding::new(
        "buffer limits",
        Spoils,
        format!("{what} of the {UDP_BUFFER_BYTES} that they ask for"),
        format!(
            "`sysctl net.core.rmem_max={UDP_BUFFER_BYTES} \
             net.core.wmem_max={UDP_BUFFER_BYTES}`"
        ),
    )
}

fn steering(loopback: &str, new_devices: &str) -> Finding {
    let subject = "packet steering";
    let is_off = |mask: &str| mask.chars().all(|digit| matches!(digit, '0' | ','));
    if !is_off(new_devices) {
        return Finding::new(
            subject,
            Spoils,
            format!("RPS moves packets of new devices to the processors {new_devices}"),
            "`sysctl net.core.rps_default_mask=0`",
        );
    }
    if !is_off(loopback) {
        return Finding::new(
            subject,
            Spoils,
            format!("RPS moves packets of loopback to the processors {loopback}"),
            "`echo 0 > /sys/class/net/lo/queues/rx-0/rps_cpus`, or `--over veth`",
        );
    }
    Finding::fine(subject, "RPS is off")
}

fn offloads(device: &str, active: &[String]) -> Finding {
    let subject = "offloads";
    let wanted = ["tx-tcp-segmentation", "tx-udp-segmentation", "rx-gro"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !active.iter().any(|known| known == name))
        .collect();
    if missing.is_empty() {
        let what = "on for loopback; virtual cables are set up by their benchmark";
        return Finding::fine(subject, what);
    }
    Finding::new(
        subject,
        Note,
        format!("{device} lacks {}", missing.join(", ")),
        format!("`ethtool -K {device} tso on gro on tx-udp-segmentation on`, or `--over veth`"),
    )
}

fn priority(autogroup: &str) -> Finding {
    match autogroup {
        "1" => Finding::new(
            "priority",
            Note,
            "every session gets the same share, so `nice` gives way to nobody outside of its own",
            "`echo -20 > /proc/self/autogroup` in the shell that starts the benchmark",
        ),
        _ => Finding::fine("priority", "by nice values"),
    }
}

fn cables(allowed: Result<(), String>) -> Finding {
    match allowed {
        Ok(()) => Finding::fine("virtual cables", "allowed"),
        Err(why) => Finding::new(
            "virtual cables",
            Note,
            why,
            "`--over loopback` needs no rights",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::doctor::Verdict::{self, Fine};

    #[test]
    fn each_check_tells_what_is_fine_from_what_is_not() {
        let gro = ["tx-tcp-segmentation", "tx-udp-segmentation", "rx-gro"].map(String::from);
        let cases: [(Finding, Verdict); 25] = [
            (build(false), Fine),
            (build(true), Spoils),
            (congestion("cubic", "reno cubic"), Fine),
            (congestion("bbr", "reno bbr cubic"), Note),
            (congestion("reno", "reno"), Spoils),
            (pinning(Some([0, 1]), Some("0")), Fine),
            (pinning(Some([0, 1]), Some("0-1")), Spoils),
            (pinning(None, None), Spoils),
            (quota("max 100000"), Fine),
            (quota(""), Fine),
            (quota("150000 100000"), Spoils),
            (frequency(""), Fine),
            (frequency("powersave"), Spoils),
            (clock("kvm-clock"), Fine),
            (clock("hpet"), Spoils),
            (buffers(4 << 20), Fine),
            (buffers(212_992), Spoils),
            (steering("00000000,00000000", "0"), Fine),
            (steering("3", "0"), Spoils),
            (steering("0", "3"), Spoils),
            (offloads("lo", &gro), Fine),
            (offloads("lo", &gro[1..]), Note),
            (priority("0"), Fine),
            (cables(Ok(())), Fine),
            (cables(Err("no".to_owned())), Note),
        ];
        for (finding, verdict) in cases {
            assert_eq!(finding.verdict, verdict, "{finding}");
            // Whatever is not fine comes with what to do.
            assert_eq!(finding.advice.is_empty(), verdict == Fine, "{finding}");
        }
    }

    #[test]
    fn lists_of_processors_hold_ranges() {
        assert!(in_list(3, "0,2-4") && in_list(0, "0,2-4") && !in_list(1, "0,2-4"));
        assert!(!in_list(0, ""));
    }
}
