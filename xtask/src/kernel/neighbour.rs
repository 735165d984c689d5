//! Another machine for the guest: a network namespace of this system, at the other end of a cable (a tap
//! device), in which programs of user space serve and call over Homa in IP and in UDP.
//!
//! *Design*: the namespace has processes of its own, which end with the machine. When everything that
//! it sent has come back, its last call says so to the guest, whose test waits for that.

use std::path::Path;
use std::process::Command;

use crate::needs::Need;

/// The guest's side: tests, which are left out where there is no such namespace, and the cable's driver.
pub(super) const TESTS: &str = "neighbour.c";
pub(super) const DRIVER: &str = "drivers/net/ethernet/intel/e1000/e1000.ko";

/// What the guest is told.
pub(super) const WORD: &str = "neighbour=1";

/// The device that a machine has for it; it is not to boot from that.
const DEVICE: [&str; 4] = [
    "-netdev",
    "tap,id=cable,ifname=cable,script=no,downscript=no",
    "-device",
    "e1000,netdev=cable,romfile=",
];

/// What it is, for `sh -c`: `$1` is the program `homa`, `$2` a directory for its files, the rest is the
/// machine. Its calls fail until the guest's servers are there.
const SCRIPT: &str = r#"
homa=$1 place=$2
shift 2
ip link set lo up
ip tuntap add name cable mode tap
ip address add 10.96.0.1/24 dev cable
ip address add fd96::1/64 dev cable nodad
ip link set cable up
serve() { "$homa" serve --silence 10 "$@" >"$place/served" & }
serve --link ip --listen 10.96.0.1:800
serve --link ip --listen '[fd96::1]:801'
serve --listen 10.96.0.1:802
serve --listen '[fd96::1]:803'
call() { until "$homa" call --silence 10 "$@" 2>"$place/refused"; do sleep 0.5; done; }
call_all() {
    for bytes in 1 100 5000 500000 1000000; do
        head -c "$bytes" /dev/urandom >"$place/sent"
        for link in "ip 10.96.0.2:810" "ip [fd96::2]:810" "udp 10.96.0.2:811" "udp [fd96::2]:811"; do
            call --link "${link%% *}" "${link#* }" --file "$place/sent" --out "$place/back"
            cmp "$place/sent" "$place/back" || exit 1
        done
    done
    call 10.96.0.2:812 whole >"$place/back"
}
call_all &
"$@"
"#;

/// What a neighbour takes.
pub(super) const NEEDS: &[Need] = &[Need::Namespaces, Need::Packages(&["iproute2"])];

/// The same machine beside a neighbour, which runs `homa` and has its files in `place`.
pub(super) fn beside(machine: &Command, homa: &Path, place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .args([homa, place])
        .arg(machine.get_program())
        .args(machine.get_args())
        .args(DEVICE);
    command
}
