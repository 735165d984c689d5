//! The sockets of the kernel module, as `/proc/net/homa` lists them: to a user their own, to who may
//! administer the network all.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use serde_json::Value;

use super::Object;

/// The columns that are numbers, and what `homa ss` calls them.
const NUMBERS: [(&str, &str); 6] = [
    ("uid", "uid"),
    ("rpcs", "rpcs"),
    ("receiving", "receive_bytes"),
    ("sending", "send_bytes"),
    ("region", "region_bytes_free"),
    ("inode", "inode"),
];

/// Every socket of the kernel's that may be seen, of one process if that is given; none where the module
/// is not loaded.
///
/// # Errors
/// The process is gone, or another user's.
pub(super) fn sockets(pid: Option<u32>) -> io::Result<Vec<Object>> {
    let Ok(table) = fs::read_to_string("/proc/net/homa") else {
        return Ok(Vec::new());
    };
    let mut sockets = read(&table);
    if let Some(pid) = pid {
        let inodes = inodes_of(pid)?;
        let is_its = |inode: &Value| inode.as_u64().is_some_and(|inode| inodes.contains(&inode));
        sockets.retain(|socket| socket.get("inode").is_some_and(is_its));
    }
    Ok(sockets)
}

/// The sockets that a process has open.
fn inodes_of(pid: u32) -> io::Result<BTreeSet<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let inode = |entry: io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        let number = target.to_str()?.strip_prefix("socket:[")?;
        number.strip_suffix(']')?.parse().ok()
    };
    Ok(entries.filter_map(inode).collect())
}

/// The sockets of a table whose first line names its columns.
fn read(table: &str) -> Vec<Object> {
    let mut lines = table.lines();
    let titles: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |title: &str| {
            let column = titles.iter().position(|it| *it == title)?;
            words.get(column).copied()
        };
        let local = format!("{}:{} ({})", word("link")?, word("port")?, word("net")?);
        let mut object = Object::new();
        object.insert("kind".to_owned(), "kernel-socket".into());
        object.insert("local".to_owned(), local.into());
        let takes = word("kind").map(|kind| (kind == "server").into());
        object.extend(takes.map(|takes| ("accepts_requests".to_owned(), takes)));
        for (title, name) in NUMBERS {
            let number = word(title).and_then(|it| it.parse::<u64>().ok());
            object.extend(number.map(|number| (name.to_owned(), number.into())));
        }
        Some(object)
    };
    lines.filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        " port link  net   kind   uid  rpcs  receiving    sending     region      inode
  311   ip   v4 server     0     2       5000          0      65536         77
32768  udp   v6 client  1000     1          0       4096          0         78
";

    #[test]
    fn sockets_of_the_kernel_are_read_by_the_titles_of_their_columns() {
        let [server, client] = &read(TABLE)[..] else {
            panic!("there are two");
        };
        assert_eq!(server["kind"], "kernel-socket");
        assert_eq!(server["local"], "ip:311 (v4)");
        assert_eq!(server["accepts_requests"], true);
        assert_eq!(
            (&server["receive_bytes"], &server["region_bytes_free"]),
            (&5_000.into(), &65_536.into())
        );
        assert_eq!(
            (&client["local"], &client["uid"]),
            (&"udp:32768 (v6)".into(), &1_000.into())
        );
        assert_eq!(
            (&client["send_bytes"], &client["inode"]),
            (&4_096.into(), &78.into())
        );
        assert_eq!(client["accepts_requests"], false);
    }

    #[test]
    fn what_is_no_listing_shows_nothing() {
        assert!(read("").is_empty());
        assert!(read("hello world\n1 2\n").is_empty());
    }
}
