//! The figures as text, as JSON and as a page with graphs.

use core::fmt::Write as _;

use homa_sim::figures::{Bin, Moment, Row};
use serde_json::{Value, json};

use super::pictures::Picture;
use crate::page::{document, escape};

/// The table that is printed.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "                                    slowdown               longest    longest    queue at the            load     idle    packets\n\
         workload load protocol variant      p50    p99    p99 of   tenth:     1/100:     host's port, KB load    car-     though  per cpu\n\
         \u{20}                                 all    all    shorter  mean       p99        max     mean    offered ried     wanted  second\n\
         \u{20}                                               half\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<8} {:<4} {:<8} {:<12} {:<6} {:<6} {:<8} {:<10} {:<10} {:<7.0} {:<7.1} {:<7.3} {:<8.3} {:<7.3} {:.2} M",
            row.workload,
            row.load,
            row.protocol.to_string(),
            row.variant,
            number(row.p50_slowdown_all),
            number(row.p99_slowdown_all),
            number(row.p99_slowdown_short_half),
            number(row.mean_slowdown_top_tenth),
            number(row.p99_slowdown_top_hundredth),
            row.tor_queue_max_bytes as f64 / 1e3,
            row.tor_queue_mean_bytes / 1e3,
            row.offered_load,
            row.delivered_load,
            row.wasted,
            row.packets_per_cpu_second / 1e6,
        );
    }
    for row in rows
        .iter()
        .filter(|row| row.unfinished > 0 || row.drops > 0 || row.failures > 0)
    {
        let _ = writeln!(
            text,
            "{} {} {} {}: {} messages did not end in time, {} packets dropped, {} calls failed",
            row.workload,
            row.load,
            row.protocol,
            row.variant,
            row.unfinished,
            row.drops,
            row.failures
        );
    }
    text
}

/// A slowdown this large is that of messages that did not end.
const ENDLESS: f64 = 1e6;

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= ENDLESS => "endless".to_owned(),
        Some(value) => format!("{value:.2}"),
    }
}

/// All figures, as programs read them.
pub(crate) fn json(rows: &[Row]) -> Value {
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

fn row(row: &Row) -> Value {
    json!({
        "workload": row.workload,
        "load": row.load,
        "protocol": row.protocol.to_string(),
        "variant": row.variant,
        "p99_slowdown_short_half": row.p99_slowdown_short_half,
        "p99_slowdown_all": row.p99_slowdown_all,
        "p50_slowdown_all": row.p50_slowdown_all,
        "mean_slowdown_top_tenth": row.mean_slowdown_top_tenth,
        "p99_slowdown_top_hundredth": row.p99_slowdown_top_hundredth,
        "tor_queue_max_bytes": row.tor_queue_max_bytes,
        "tor_queue_mean_bytes": row.tor_queue_mean_bytes,
        "buffer_max_bytes": row.buffer_max_bytes,
        "offered_load": row.offered_load,
        "delivered_load": row.delivered_load,
        "wasted": row.wasted,
        "level_shares": row.level_shares,
        "samples_per_bin_min": row.samples_per_bin_min,
        "unfinished": row.unfinished,
        "drops": row.drops,
        "failures": row.failures,
        "data_packets": row.data_packets,
        "packets_per_cpu_second": row.packets_per_cpu_second,
        "bins": row.bins.iter().map(bin).collect::<Vec<_>>(),
        "over_time": row.moments.iter().map(moment).collect::<Vec<_>>(),
    })
}

fn bin(bin: &Bin) -> Value {
    json!({
        "size_max_bytes": bin.size_max,
        "samples": bin.samples,
        "p50_slowdown": bin.p50,
        "p99_slowdown": bin.p99,
    })
}

fn moment(moment: &Moment) -> Value {
    json!({
        "at_ms": moment.at_ms,
        "load": moment.load,
        "backlog_bytes_per_host": moment.backlog_bytes,
        "memory_bytes": moment.memory_bytes,
    })
}

/// A page with the table and all pictures.
pub(crate) fn html(rows: &[Row], pictures: &[Picture]) -> String {
    let mut body = format!("<pre>{}</pre>\n", escape(&text(rows)));
    for Picture { title, svg, .. } in pictures {
        let _ = writeln!(body, "<h2>{}</h2>\n{svg}", escape(title));
    }
    document("Homa on a virtual network", &body)
}
