//! `homa serve`: answers requests until it is told to stop.
//!
//! A response is always what was asked for and nothing else, so that it can go straight into a file
//! or a pipe. Where there is nothing to answer with, the request is dropped: its client is told that,
//! and the reason stands on this side's standard error.

use core::time::Duration;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use homa::{BindError, Host, Request, Server};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::args::Serve;
use crate::failure::Failure;
use crate::files::Directory;
use crate::metrics;
use crate::runtime;
use crate::stop::Stop;

/// How long responses under way may take to reach their clients once the server is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Requests answered at the same time: a client that takes its response slowly holds up no other.
const ANSWERS_MAX: usize = 64;

/// Characters of a name that are shown in a complaint.
const SHOWN_MAX_CHARS: usize = 100;

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// The address cannot be listened at, or the directory cannot be looked into.
pub(crate) fn run(arguments: &Serve) -> Result<(), Failure> {
    let directory = arguments.dir.as_deref().map(open).transpose()?;
    let directory = directory.map(Arc::new);
    let limit = arguments.host.message_limit();
    let hosts = arguments.host.build_engines(arguments.engines)?;
    let mut engines = listen(arguments, &hosts)?;
    if let Some(address) = &arguments.metrics {
        metrics::serve(address, hosts)?;
    }
    thread::scope(|scope| {
        let Some((first, others)) = engines.split_first_mut() else {
            return Ok(());
        };
        let directory = &directory;
        let others = others.iter_mut();
        let threads: Vec<_> = others
            .map(|engine| scope.spawn(move || engine.run(directory, limit)))
            .collect();
        let first = first.run(directory, limit);
        let others = threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        others.fold(first, Result::and)
    })
}

fn open(path: &Path) -> Result<Directory, Failure> {
    Directory::open(path)
        .map_err(|error| Failure::Usage(format!("--dir {}: {error}", path.display())))
}

/// One engine at the common address, and what drives it.
struct Engine {
    runtime: Runtime,
    server: Server,
    stop: Stop,
}

/// Listens with every engine, and says where.
fn listen(arguments: &Serve, hosts: &[Host]) -> Result<Vec<Engine>, Failure> {
    let mut engines: Vec<Engine> = Vec::new();
    for host in hosts {
        let runtime = runtime::current_thread().map_err(Failure::work("cannot start"))?;
        // The first may have been given a port by the system.
        let first = engines.first().map(|first| first.server.local_addr());
        let (server, stop) = runtime.block_on(async {
            let server = match first {
                None => Server::bind_on(host, &*arguments.listen).await,
                Some(address) => Server::bind_on(host, address).await,
            };
            let stop = Stop::new().map_err(Failure::work("cannot watch for signals"))?;
            Ok((server.map_err(cannot_listen)?, stop))
        })?;
        engines.push(Engine {
            runtime,
            server,
            stop,
        });
    }
    if let Some(first) = engines.first() {
        writeln!(io::stdout(), "listening on {}", first.server.local_addr())
            .map_err(Failure::work("cannot tell the address"))?;
    }
    Ok(engines)
}

impl Engine {
    fn run(&mut self, directory: &Option<Arc<Directory>>, limit: usize) -> Result<(), Failure> {
        let Self {
            runtime,
            server,
            stop,
        } = self;
        runtime.block_on(serve(server, stop, directory, limit))
    }
}

/// Answers until it is told to stop.
async fn serve(
    server: &Server,
    stop: &mut Stop,
    directory: &Option<Arc<Directory>>,
    limit: usize,
) -> Result<(), Failure> {
    let mut answers = JoinSet::new();
    loop {
        let request = tokio::select! {
            request = server.recv() => request.map_err(Failure::work("cannot receive"))?,
            () = stop.wait() => break,
        };
        while answers.len() >= ANSWERS_MAX {
            answers.join_next().await;
        }
        answers.spawn(answer(request, directory.clone(), limit));
        while answers.try_join_next().is_some() {}
    }
    // Those that still wait for room get as long as the responses under way.
    let _ = tokio::time::timeout(DRAIN_MAX, answers.join_all()).await;
    server.shutdown(DRAIN_MAX).await;
    Ok(())
}

fn cannot_listen(error: BindError) -> Failure {
    Failure::Work(error.to_string())
}

async fn answer(request: Request, directory: Option<Arc<Directory>>, limit: usize) {
    let Request {
        peer,
        message,
        responder,
        ..
    } = request;
    let contents = directory.map(|files| files.contents(&message, limit));
    let replied = match contents {
        None => responder.reply(&message).await,
        Some(Ok(contents)) => responder.reply(&contents).await,
        Some(Err(why)) => {
            eprintln!("homa: {peer} asked for {}: {why}", shown(&message));
            return;
        }
    };
    if let Err(error) = replied {
        eprintln!("homa: no response to {peer}: {error}");
    }
}

/// A name as it may stand in a log: on one line, and not for ever.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let start: String = name.chars().take(SHOWN_MAX_CHARS).collect();
    let more = if start.len() < name.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_on_one_line_and_cut() {
        assert_eq!(shown(b"a\nb"), "\"a\\nb\"");
        let long = shown(&[b'x'; 1000]);
        assert_eq!(
            (long.chars().count(), long.chars().last()),
            (SHOWN_MAX_CHARS + 3, Some('…'))
        );
    }
}
