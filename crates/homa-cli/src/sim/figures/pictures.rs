//! The pictures of a table of figures, each with the name of its file. Decides which pictures the rows
//! of a table allow; how lines and bars are drawn is `graph`'s.

use homa_sim::figures::{Bin, Protocol, Row};

use crate::failure::Failure;
use crate::graph::{Line, Scale, bar_graph, line_graph, slowdown_graph};

/// A picture.
pub(crate) struct Picture {
    /// Name of its file, without the ending.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) title: String,
    /// The picture itself.
    pub(crate) svg: String,
}

/// All pictures: some for each workload and load, then those that compare rows.
///
/// # Errors
/// A picture cannot be drawn.
pub(crate) fn pictures(rows: &[Row]) -> Result<Vec<Picture>, Failure> {
    let mut pictures = Vec::new();
    let mut shown: Vec<(&str, f64)> = Vec::new();
    for row in rows {
        let of = (row.workload.as_str(), row.load);
        if shown.contains(&of) {
            continue;
        }
        shown.push(of);
        let same = |row: &&Row| (row.workload.as_str(), row.load) == of;
        let group: Vec<&Row> = rows.iter().filter(same).collect();
        of_one_load(&group, of, &mut pictures)?;
    }
    Ok(pictures)
}

/// The pictures of the rows of one workload and load.
fn of_one_load(
    rows: &[&Row],
    (workload, load): (&str, f64),
    pictures: &mut Vec<Picture>,
) -> Result<(), Failure> {
    let mut add = |name: &str, title: &str, svg: String| {
        pictures.push(Picture {
            name: format!("{workload}-{load}-{name}"),
            title: format!("{workload} at load {load}: {title}"),
            svg,
        });
    };
    add("p99", "99th percentile", slowdown(rows, |bin| bin.p99)?);
    add("p50", "median", slowdown(rows, |bin| bin.p50)?);
    if let Some(svg) = by_level(rows)? {
        add("levels", "bytes by level of priority", svg);
    }
    if let Some(svg) = queues(rows)? {
        add("queues", "what waits at a host's port", svg);
    }
    if let Some(svg) = over_time(rows)? {
        add("time", "what the hosts' links carried", svg);
    }
    let sweeps: [(&str, &str, &str, Figure); 4] = [
        (
            "overcommit",
            "messages granted at a time",
            "share of the time",
            |row| Some(row.wasted),
        ),
        (
            "overcommit",
            "messages granted at a time",
            "slowdown",
            |row| row.p99_slowdown_short_half,
        ),
        ("levels", "levels of priority", "slowdown", |row| {
            row.p99_slowdown_short_half
        }),
        ("levels", "levels of priority", "load", |row| {
            Some(row.delivered_load)
        }),
    ];
    let titles = [
        ("wasted", "links idle though messages waited for grants"),
        ("overcommitment", "99th percentile of the shorter half"),
        ("few-levels", "99th percentile of the shorter half"),
        ("few-levels-load", "load carried"),
    ];
    for ((variant, x, y, figure), (name, title)) in sweeps.into_iter().zip(titles) {
        if let Some(svg) = sweep(rows, variant, (x, y), figure)? {
            add(name, title, svg);
        }
    }
    Ok(())
}

/// A number of a row.
type Figure = fn(&Row) -> Option<f64>;

fn name(row: &Row) -> String {
    format!("{}, {}", row.protocol, row.variant)
}

fn slowdown(rows: &[&Row], figure: fn(&Bin) -> Option<f64>) -> Result<String, Failure> {
    let line = |row: &&Row| {
        let points = row.bins.iter().enumerate();
        let points = points.filter_map(|(place, bin)| Some((place as f64, figure(bin)?)));
        (name(row), points.collect())
    };
    let lines: Vec<Line> = rows.iter().map(line).collect();
    let highest = lines.iter().flat_map(|(_, points)| points);
    let highest = highest.map(|point| point.1).fold(4.0, f64::max) * 2.0;
    let sizes: Vec<usize> = rows
        .first()
        .map(|row| row.bins.iter().map(|bin| bin.size_max).collect())
        .unwrap_or_default();
    slowdown_graph(&lines, &sizes, highest)
}

/// Rows of which packets really went through switches.
fn real<'a>(rows: &[&'a Row]) -> Vec<&'a Row> {
    let real = |row: &&&Row| row.protocol != Protocol::Srpt;
    rows.iter().filter(real).copied().collect()
}

/// Shares of the bytes at each level, of the rows that use more than one.
fn by_level(rows: &[&Row]) -> Result<Option<String>, Failure> {
    let used = |row: &Row| {
        row.level_shares
            .iter()
            .filter(|&&share| share > 0.0)
            .count()
    };
    let series: Vec<(String, Vec<f64>)> = real(rows)
        .into_iter()
        .filter(|row| used(row) > 1)
        .map(|row| (name(row), row.level_shares.to_vec()))
        .collect();
    if series.is_empty() {
        return Ok(None);
    }
    let levels: Vec<String> = (0..8).map(|level| level.to_string()).collect();
    bar_graph(
        &levels,
        &series,
        ("level (7 is best)", "share of the bytes"),
        Scale::Linear,
    )
    .map(Some)
}

/// Mean and greatest queue at a port to a host, and the fullest switch.
fn queues(rows: &[&Row]) -> Result<Option<String>, Failure> {
    let rows = real(rows);
    if rows.is_empty() {
        return Ok(None);
    }
    let series = |name: &str, figure: fn(&Row) -> f64| {
        let values = rows.iter().map(|row| figure(row) / 1e3);
        (name.to_owned(), values.collect())
    };
    let series = [
        series("mean at a port", |row| row.tor_queue_mean_bytes),
        series("most at a port", |row| row.tor_queue_max_bytes as f64),
        series("most in a switch", |row| row.buffer_max_bytes as f64),
    ];
    let names: Vec<String> = rows.iter().map(|row| name(row)).collect();
    bar_graph(&names, &series, ("", "KB"), Scale::Log(0.1)).map(Some)
}

/// Load carried, over the time of the run.
fn over_time(rows: &[&Row]) -> Result<Option<String>, Failure> {
    let line = |row: &&Row| {
        let moments = row.moments.iter();
        let points = moments.map(|moment| (moment.at_ms, moment.load));
        (name(row), points.collect::<Vec<_>>())
    };
    let lines: Vec<Line> = rows.iter().map(line).collect();
    if lines.iter().all(|(_, points)| points.len() < 2) {
        return Ok(None);
    }
    line_graph(&lines, "milliseconds", "load carried").map(Some)
}

/// A figure over the number in the variant's name, with `variant` before it: at least two.
fn sweep(
    rows: &[&Row],
    variant: &str,
    (x, y): (&str, &str),
    figure: Figure,
) -> Result<Option<String>, Failure> {
    let number = |row: &Row| -> Option<f64> {
        let number = row.variant.strip_prefix(variant)?.strip_prefix('-')?;
        number.parse().ok()
    };
    let points = rows
        .iter()
        .filter_map(|row| Some((number(row)?, figure(row)?)));
    let mut points: Vec<(f64, f64)> = points.collect();
    if points.len() < 2 {
        return Ok(None);
    }
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    line_graph(&[("homa".to_owned(), points)], x, y).map(Some)
}
