//! `homa dump`: the Homa packets of a capture, or of an interface, told one by one or by RPC.

mod fields;
mod file;
mod layers;
mod live;
mod message;
mod pieces;
mod record;
mod rpcs;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use crate::args::Dump;
use crate::failure::Failure;
use file::Frame;
use layers::Contents;
use record::Record;
use rpcs::Timelines;

/// Shows what the arguments ask for.
///
/// # Errors
/// The file cannot be read, or not to its end; what could be read is shown before.
pub(crate) fn run(arguments: &Dump) -> Result<(), Failure> {
    let mut show = Show::new(arguments);
    let read = match (&arguments.live, &arguments.file) {
        (Some(interface), _) => live::watch(interface, arguments.seconds, &mut show),
        (None, Some(file)) => read_file(file, &mut show),
        (None, None) => Err(Failure::Usage(
            "a file is missing; type: homa dump FILE".into(),
        )),
    };
    show.end(read.is_ok())?;
    read
}

fn read_file(path: &Path, show: &mut Show) -> Result<(), Failure> {
    let sink = |frame: Frame<'_>| show.frame(&frame);
    let read = if path == Path::new("-") {
        file::frames(io::stdin(), sink)
    } else {
        let opened = File::open(path).map_err(Failure::work(path.display()))?;
        file::frames(opened, sink)
    };
    read.map_err(Failure::work(path.display()))
}

/// What becomes of the frames.
struct Show {
    out: BufWriter<io::Stdout>,
    /// The first error of writing; nothing more is written then.
    trouble: Option<io::Error>,
    as_json: bool,
    timelines: Option<Timelines>,
    start_ns: Option<u64>,
    homa_count: u64,
    other_count: u64,
    unknown_links: BTreeSet<i32>,
}

impl Show {
    fn new(arguments: &Dump) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            trouble: None,
            as_json: arguments.json,
            timelines: arguments.rpcs.then(Timelines::default),
            start_ns: None,
            homa_count: 0,
            other_count: 0,
            unknown_links: BTreeSet::new(),
        }
    }

    /// Shows the packets of a frame; false when nobody reads any more.
    fn frame(&mut self, frame: &Frame<'_>) -> bool {
        let start_ns = *self.start_ns.get_or_insert(frame.at_ns);
        let carried = match layers::contents(frame.link_type, frame.bytes, frame.length) {
            Contents::Homa(carried) => carried,
            Contents::Other => {
                self.other_count += 1;
                return true;
            }
            Contents::UnknownLink => {
                self.unknown_links.insert(frame.link_type);
                return true;
            }
        };
        pieces::each(&carried, |piece| {
            self.homa_count += 1;
            let record = Record::new(frame, start_ns, &carried, piece);
            let written = self.record(&record);
            if let Err(error) = written {
                self.trouble.get_or_insert(error);
            }
        });
        self.trouble.is_none()
    }

    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        match &mut self.timelines {
            Some(timelines) => timelines.add(record, self.as_json, &mut self.out),
            None if self.as_json => writeln!(self.out, "{}", record.json()),
            None => writeln!(self.out, "{record}"),
        }
    }

    /// Has what was shown so far be seen; false when nobody reads any more.
    fn flush(&mut self) -> bool {
        if let Err(error) = self.out.flush() {
            self.trouble.get_or_insert(error);
        }
        self.trouble.is_none()
    }

    /// Shows what is left; where all was read, also says what was left out.
    fn end(mut self, is_whole: bool) -> Result<(), Failure> {
        if self.trouble.is_none() {
            let timelines = self.timelines.take();
            let rest = timelines.map_or(Ok(()), |all| all.end(self.as_json, &mut self.out));
            self.trouble = rest.and_then(|()| self.out.flush()).err();
        }
        match self.trouble {
            // Whoever read the output has seen enough.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Some(error) => return Err(Failure::Work(format!("cannot print: {error}"))),
            None => {}
        }
        if !is_whole {
            return Ok(());
        }
        if let Some(link_type) = self.unknown_links.first() {
            return Err(Failure::Work(format!(
                "there are frames of link type {link_type}, in which no IP packets can be found"
            )));
        }
        if self.homa_count == 0 {
            eprintln!("homa: no Homa packet among {} frames", self.other_count);
        } else if self.other_count > 0 {
            eprintln!(
                "homa: {} frames of other protocols left out",
                self.other_count
            );
        }
        Ok(())
    }
}
