//! Finds the hosts of running processes, and asks them. It decides whom to believe: processes of the
//! same user, and, as root, everybody.

use core::time::Duration;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use homa::inspect::NAME_PREFIX;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde_json::Value;

use super::Object;

/// What a host may tell, in bytes: a million RPCs. What is behind it is left out.
const ANSWER_MAX_BYTES: u64 = 512 << 20;

/// A host that says nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flags in `/proc/net/unix` of a socket that somebody listens at.
const LISTENING: &str = "00010000";

/// Where a host can be asked.
#[derive(Debug, PartialEq)]
pub(super) struct Door {
    pub(super) pid: u32,
    name: String,
}

/// What came of asking.
pub(super) enum Asked {
    /// Its objects.
    Told(Vec<Object>),
    /// It has ended meanwhile.
    Gone,
    /// It belongs to another user.
    Silent,
}

/// All hosts of this network namespace, by process.
///
/// # Errors
/// The system does not list its sockets.
pub(super) fn hosts() -> io::Result<Vec<Door>> {
    let table = fs::read_to_string("/proc/net/unix")?;
    let mut doors: Vec<Door> = table.lines().filter_map(door).collect();
    doors.sort_by(|a, b| (a.pid, &a.name).cmp(&(b.pid, &b.name)));
    Ok(doors)
}

/// The door in a line of `/proc/net/unix`.
fn door(line: &str) -> Option<Door> {
    let mut words = line.split_whitespace();
    if words.nth(3)? != LISTENING {
        return None;
    }
    let name = words.nth(3)?.strip_prefix('@')?;
    let (pid, _) = name.strip_prefix(NAME_PREFIX)?.split_once('/')?;
    Some(Door {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
    })
}

/// Asks one host.
pub(super) fn ask(door: &Door) -> Asked {
    let address = SocketAddr::from_abstract_name(&door.name);
    let Ok(stream) = address.and_then(|address| UnixStream::connect_addr(&address)) else {
        return Asked::Gone;
    };
    let trusted = socket_peercred(&stream)
        .is_ok_and(|it| geteuid().is_root() || it.uid == geteuid() || it.uid.is_root());
    if !trusted {
        return Asked::Silent;
    }
    match listen(&stream) {
        Ok(objects) if objects.is_empty() => Asked::Silent,
        Ok(objects) => Asked::Told(objects),
        Err(_) => Asked::Gone,
    }
}

fn listen(stream: &UnixStream) -> io::Result<Vec<Object>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let lines = BufReader::new(stream.take(ANSWER_MAX_BYTES)).lines();
    let objects = lines.map(|line| match serde_json::from_str(&line?) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(io::ErrorKind::InvalidData.into()),
    });
    objects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_hosts_are_doors() {
        let line = |flags: &str, name: &str| {
            door(&format!(
                "0000000000000000: 00000002 00000000 {flags} 0001 01 1234 {name}"
            ))
        };
        let expected = Door {
            pid: 77,
            name: "homa/inspect/77/0".to_owned(),
        };
        assert_eq!(line("00010000", "@homa/inspect/77/0"), Some(expected));
        assert_eq!(line("00000000", "@homa/inspect/77/0"), None, "connected");
        assert_eq!(line("00010000", "/homa/inspect/77/0"), None, "a file");
        assert_eq!(line("00010000", "@homa/inspect/x/0"), None);
        assert_eq!(line("00010000", "@other"), None);
        assert_eq!(door("Num RefCount Protocol Flags Type St Inode Path"), None);
    }
}
