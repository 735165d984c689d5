//! `homa sim figures`: the papers' figures, made with the shipped engine on a virtual network.

mod pictures;
mod report;

use core::num::NonZero;
use std::path::Path;
use std::{fs, thread};

use homa_sim::Workload;
use homa_sim::figures::{Effort, Point, Protocol, Setup, Variant, run as make};
use indicatif::{ProgressBar, ProgressStyle};
use pictures::Picture;

use crate::failure::Failure;
use crate::output::OutputFile;
use crate::sim::args::SimFigures;

const EVERY: [&str; 5] = ["w1", "w2", "w3", "w4", "w5"];

/// Steps of the progress bar.
const STEPS: u64 = 1_000_000;

/// Makes the figures and shows them.
///
/// # Errors
/// Wrong usage, or a file that cannot be written.
pub(crate) fn run(arguments: &SimFigures) -> Result<(), Failure> {
    let points = points(arguments)?;
    let json = OutputFile::create(arguments.json.as_deref())?;
    let html = OutputFile::create(arguments.html.as_deref())?;
    if let Some(folder) = arguments.pictures.as_ref().filter(|it| !it.is_dir()) {
        let folder = folder.display();
        let why = format!("{folder} is no directory: create it, or name another one");
        return Err(Failure::Usage(why));
    }
    let mut setup = arguments.topology.map_or_else(Setup::paper, Setup::of);
    setup.peers = arguments.peers.unwrap_or(u32::MAX);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let effort = Effort {
        seeds: arguments.seeds,
        shorter: if arguments.brief { 10 } else { 1 },
        threads,
    };
    let bar = bar();
    let rows = make(&setup, &points, effort, &|share| {
        bar.set_position((share * STEPS as f64) as u64);
    });
    bar.finish_and_clear();
    let rows = rows.map_err(|why| Failure::Usage(why.to_string()))?;
    print!("{}", report::text(&rows));
    if let Some(file) = json {
        file.write(report::json(&rows).to_string().as_bytes())?;
    }
    if html.is_none() && arguments.pictures.is_none() {
        return Ok(());
    }
    let pictures = pictures::pictures(&rows)?;
    if let Some(file) = html {
        file.write(report::html(&rows, &pictures).as_bytes())?;
    }
    if let Some(folder) = &arguments.pictures {
        save(folder, &pictures)?;
    }
    Ok(())
}

/// Writes each picture to a file of its own.
fn save(folder: &Path, pictures: &[Picture]) -> Result<(), Failure> {
    for Picture { name, svg, .. } in pictures {
        let file = folder.join(format!("{name}.svg"));
        fs::write(&file, svg).map_err(Failure::work(file.display()))?;
    }
    Ok(())
}

/// This shard's lines of the table.
fn points(arguments: &SimFigures) -> Result<Vec<Point>, Failure> {
    let mut points = Vec::new();
    for name in names(&arguments.workload) {
        let workload = Workload::named(name).map_err(Failure::Usage)?;
        for &load in &arguments.load {
            for &protocol in &arguments.protocol {
                let point = |variant: &Variant| Point {
                    workload: workload.clone(),
                    load,
                    protocol,
                    variant: variant.clone(),
                };
                match protocol {
                    Protocol::Homa => points.extend(arguments.variant.iter().map(point)),
                    Protocol::Srpt | Protocol::Dctcp | Protocol::Null => {
                        points.push(point(&Variant::plain()));
                    }
                }
            }
        }
    }
    let shard = arguments.shard;
    let (count, mut number) = (points.len(), 0);
    points.retain(|_| {
        number += 1;
        (number - 1) % shard.of == shard.number - 1
    });
    if points.is_empty() {
        let of = shard.of;
        return Err(Failure::Usage(format!(
            "{count} lines in {of} shards leave this one empty"
        )));
    }
    Ok(points)
}

/// The workloads asked for; `all` are W1 to W5.
fn names(asked: &[String]) -> Vec<&str> {
    let mut names = Vec::new();
    for name in asked {
        match name.as_str() {
            "all" => names.extend(EVERY),
            one => names.push(one),
        }
    }
    names
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("figures [{bar:40}] {percent} % {eta} left")
        .expect("the template is valid")
        .progress_chars("=> ");
    ProgressBar::new(STEPS).with_style(style)
}
