//! What tests of the command share: a server that runs, and ends however the test does.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The command.
pub(crate) const HOMA: &str = env!("CARGO_BIN_EXE_homa");

/// The command as if typed at a terminal. Shells start what runs in the background of a script with
/// SIGINT ignored, and what is started so keeps it ignored, as the signal is not meant for it.
pub(crate) fn typed() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", HOMA]);
    command
}

/// A process that is killed when dropped, if it has not ended by then.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server process.
pub(crate) struct Server {
    process: Running,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where it listens.
    pub(crate) address: String,
}

impl Server {
    /// `homa serve` at a free port of the loopback, with `words` more.
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut command = Command::new(HOMA);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Running(command.spawn().unwrap());
        let output = process.0.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().unwrap().unwrap();
        Self {
            process,
            lines,
            address: first.strip_prefix("listening on ").unwrap().to_owned(),
        }
    }

    /// The next line that it prints, once it does.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal and returns the exit code and what was said on standard error.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(self.process.pid(), signal).unwrap();
        let child = &mut self.process.0;
        let code = child.wait().unwrap().code();
        let mut errors = String::new();
        let mut output = child.stderr.take().unwrap();
        output.read_to_string(&mut errors).unwrap();
        (code, errors)
    }
}

/// The numbers of all processes.
pub(crate) fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(crate) fn children_of(parent: Pid) -> Vec<i32> {
    let line = format!("PPid:\t{}\n", parent.as_raw_nonzero());
    let is_child = |process: &i32| {
        fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|text| text.contains(&line))
    };
    processes().filter(is_child).collect()
}
