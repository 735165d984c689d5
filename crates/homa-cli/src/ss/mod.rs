//! `homa ss`: what the hosts of running processes have under way, like `ss` for sockets.
//!
//! It decides which processes are asked; what each tells is the library's (`homa::inspect`), how it
//! looks is decided in `table`.

mod ask;
mod kernel;
mod table;

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value};

use crate::failure::Failure;
use ask::Asked;

/// Show what running processes have under way over Homa: sockets, limits, peers, RPCs.
///
/// `homa` commands can be asked, other programs on this library if started with HOMA_INSPECT=1; and the
/// kernel module tells its sockets. A user sees their own, root sees all. Exit code 0: there was
/// something to show; 1: nothing; 2: wrong usage.
#[derive(Args, Debug)]
pub(crate) struct Ss {
    /// Ask this process only.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// Show what was counted, too.
    #[arg(long)]
    pub(crate) counters: bool,

    /// Print each host, socket, peer and RPC as a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One JSON object, as a host tells it.
type Object = Map<String, Value>;

/// Asks every process that may be asked, and prints what they tell.
///
/// # Errors
/// There is nobody to ask, or standard output takes no more.
pub(crate) fn run(arguments: &Ss) -> Result<(), Failure> {
    let found = ask::hosts().map_err(Failure::work("/proc/net/unix"))?;
    let wanted = |host: &ask::Door| arguments.pid.is_none_or(|pid| pid == host.pid);
    let (mut told, mut silent) = (0, 0);
    for host in found.iter().filter(|host| wanted(host)) {
        match ask::ask(host) {
            Asked::Told(objects) => {
                told += 1;
                print(arguments, &objects).map_err(Failure::work("cannot print"))?;
            }
            Asked::Gone => {}
            Asked::Silent => silent += 1,
        }
    }
    // What cannot be read of a process is not its user's.
    let kernel = kernel::sockets(arguments.pid).unwrap_or_default();
    if !kernel.is_empty() {
        told += 1;
        print(arguments, &kernel).map_err(Failure::work("cannot print"))?;
    }
    match (told, silent) {
        (0, 0) => Err(Failure::Work(nobody(arguments.pid))),
        (0, _) => Err(Failure::Work(format!(
            "{silent} of another user do not answer; ask as that user or as root"
        ))),
        _ => Ok(()),
    }
}

fn nobody(pid: Option<u32>) -> String {
    let whom = match pid {
        Some(pid) => format!("process {pid} has no host"),
        None => "no process has a host".to_owned(),
    };
    format!(
        "{whom} that can be asked: `homa` commands can, other programs if started with HOMA_INSPECT=1"
    )
}

fn print(arguments: &Ss, objects: &[Object]) -> io::Result<()> {
    let out = &mut io::stdout().lock();
    if !arguments.json {
        return out.write_all(table::show(objects, arguments.counters).as_bytes());
    }
    let pid = objects.iter().find_map(|object| object.get("pid"));
    for object in objects {
        let mut object = object.clone();
        if let Some(pid) = pid {
            object.insert("pid".to_owned(), pid.clone());
        }
        writeln!(out, "{}", Value::Object(object))?;
    }
    Ok(())
}
