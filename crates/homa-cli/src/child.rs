//! Server processes that a measurement starts for itself: this very program, run again.
//!
//! A server tells one line, its address, and lives as long as its parent keeps its standard input
//! open; the kernel closes that even if the parent is killed, so that none is left behind.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A server process as its parent sees it. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct ServerProcess<A> {
    child: Child,
    /// What it told: where it listens.
    pub(crate) addresses: A,
}

impl<A: DeserializeOwned> ServerProcess<A> {
    /// Starts this program with `arguments` and waits for its line.
    ///
    /// # Errors
    /// The process cannot be started, or ends before it has told its line.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let program = env::current_exe().map_err(Failure::work("cannot find this program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::work("cannot start the server process"))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("the output is piped");
        let read = BufReader::new(output).read_line(&mut line);
        match read
            .map_err(|error| error.to_string())
            .and_then(|_| parse(&line))
        {
            Ok(addresses) => Ok(Self { child, addresses }),
            Err(why) => {
                end(&mut child);
                Err(Failure::Work(format!(
                    "the server process did not come up: {why}"
                )))
            }
        }
    }
}

impl<A> Drop for ServerProcess<A> {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn parse<A: DeserializeOwned>(line: &str) -> Result<A, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

fn end(child: &mut Child) {
    // It fails only for a process that has ended already, and `wait` then still collects it.
    let _ = child.kill();
    let _ = child.wait();
}

/// The other side: tells `addresses` and returns when the parent is gone.
///
/// # Errors
/// The parent does not listen.
pub(crate) fn live_with_parent(addresses: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(addresses).map_err(Failure::work("cannot tell"))?;
    writeln!(io::stdout(), "{line}").map_err(Failure::work("cannot tell the addresses"))?;
    let parent_gone = io::stdin().read(&mut [0]);
    parent_gone
        .map(drop)
        .map_err(Failure::work("cannot watch the parent"))
}
