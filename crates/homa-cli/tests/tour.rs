//! Every command of docs/tour.md, in its order, as a newcomer types it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const TOUR: &str = include_str!("../../../docs/tour.md");

/// Where the tour's server listens.
const ADDRESS: &str = "127.0.0.1:4000";

/// The lines of all blocks of shell commands.
fn commands() -> impl Iterator<Item = &'static str> {
    let blocks = TOUR.split("```sh\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines())
}

/// An address at which nobody listens.
fn free_address() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn shell(line: &str, directory: &Path) -> Command {
    let homa = Path::new(env!("CARGO_BIN_EXE_homa")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", homa.display()))
        .current_dir(directory);
    command
}

/// Ends what runs in the background, however the test ends.
struct Background(Vec<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn every_command_of_the_tour_works() {
    let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
    let mut background = Background(Vec::new());
    for line in commands() {
        let typed = line.replace(ADDRESS, &address);
        if let Some(served) = typed.strip_suffix('&') {
            // In place of the shell, so that it can be ended.
            let mut command = shell(&format!("exec {served}"), directory.path());
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut said = String::new();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            background.0.push(child);
            output.read_line(&mut said).unwrap();
            assert!(said.starts_with("listening on"), "{line}: {said}");
        } else {
            let output = shell(&typed, directory.path()).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {errors}");
        }
    }
    assert!(!background.0.is_empty(), "the tour starts a server");
}
