//! Processes that a measurement starts for itself: this very program, run again.
//!
//! Each tells one line: a server its address, a client what it measured. It lives as long as its
//! parent keeps its standard input open; the kernel closes that even if the parent is killed, so
//! that none is left behind.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A process as its parent sees it. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct ChildProcess<T> {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it told first.
    pub(crate) told: T,
}

impl<T: DeserializeOwned> ChildProcess<T> {
    /// Starts this program with `arguments` and waits for its line.
    ///
    /// # Errors
    /// The process cannot be started, or ends before it has told its line.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failure> {
        Self::start_as(this_program()?.args(arguments))
    }

    /// The same, out of reach of the terminal's keys: for one that has to end by itself, see
    /// [`let_end`](Self::let_end).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn start_apart(arguments: &[&str]) -> Result<Self, Failure> {
        Self::start_as(this_program()?.args(arguments).process_group(0))
    }

    fn start_as(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::work("cannot start a process"))?;
        let output = child.stdout.take().expect("the output is piped");
        let mut output = BufReader::new(output);
        match read_line(&mut output) {
            Ok(told) => Ok(Self {
                child,
                output,
                told,
            }),
            Err(why) => {
                end(&mut child);
                Err(Failure::Work(format!("a process did not come up: {why}")))
            }
        }
    }

    /// Gives it the word that it waits for.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn say_go(&mut self) -> Result<(), Failure> {
        let input = self.child.stdin.as_mut().expect("the input is piped");
        writeln!(input, "go").map_err(Failure::work("a process has ended"))
    }

    /// Waits for another line of it.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn hear<U: DeserializeOwned>(&mut self) -> Result<U, Failure> {
        read_line(&mut self.output).map_err(Failure::work("a process has ended"))
    }
}

impl<T> ChildProcess<T> {
    /// Closes its input and waits until it has ended.
    pub(crate) fn let_end(mut self) {
        self.child.stdin = None;
        // It fails only for a process that was waited for already.
        let _ = self.child.wait();
    }
}

impl<T> Drop for ChildProcess<T> {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn this_program() -> Result<Command, Failure> {
    let program = env::current_exe().map_err(Failure::work("cannot find this program"))?;
    Ok(Command::new(program))
}

fn read_line<T: DeserializeOwned>(output: &mut impl BufRead) -> Result<T, String> {
    let mut line = String::new();
    let read = output.read_line(&mut line);
    read.map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| error.to_string())
}

fn end(child: &mut Child) {
    // It fails only for a process that has ended already, and `wait` then still collects it.
    let _ = child.kill();
    let _ = child.wait();
}

/// The other side: tells its line and returns when the parent is gone.
///
/// # Errors
/// The parent does not listen.
pub(crate) fn live_with_parent(what: &impl Serialize) -> Result<(), Failure> {
    tell(what)?;
    let parent_gone = io::stdin().read(&mut [0]);
    parent_gone
        .map(drop)
        .map_err(Failure::work("cannot watch the parent"))
}

/// The other side: ends this process when the parent is gone, whatever it does then. To be called once
/// no more words are awaited.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn end_with_parent() -> io::Result<()> {
    thread::Builder::new()
        .spawn(|| {
            // Words are ignored; an end and an error are the same.
            while io::stdin().read(&mut [0]).is_ok_and(|count| count > 0) {}
            process::exit(1);
        })
        .map(drop)
}

/// The other side: tells its line.
///
/// # Errors
/// The parent does not listen.
pub(crate) fn tell(what: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(what).map_err(Failure::work("cannot tell"))?;
    writeln!(io::stdout(), "{line}").map_err(Failure::work("cannot tell the parent"))
}

/// The other side: waits for the parent's word.
///
/// # Errors
/// The parent is gone.
pub(crate) fn wait_for_word() -> Result<(), Failure> {
    let mut word = String::new();
    match io::stdin().read_line(&mut word) {
        Ok(0) => Err(Failure::Work("the parent is gone".to_owned())),
        read => read
            .map(drop)
            .map_err(Failure::work("cannot hear the parent")),
    }
}
