//! A small table of figures, to the hundredth: whoever changes how the engine behaves sees in
//! review what that does to slowdowns and queues.

use core::fmt::Write as _;

use homa_sim::Workload;
use homa_sim::figures::{Effort, Point, Protocol, Row, Setup, Variant, run};

const GOLDEN: &str = include_str!("figures.txt");

fn line(row: &Row) -> String {
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
    format!(
        "{} {} {} | p50 {} p99 {} | short half p99 {} | top tenth mean {} | queue max {} | load {:.2}",
        row.workload,
        row.protocol,
        row.variant,
        number(row.p50_slowdown_all),
        number(row.p99_slowdown_all),
        number(row.p99_slowdown_short_half),
        number(row.mean_slowdown_top_tenth),
        row.tor_queue_max_bytes,
        row.delivered_load,
    )
}

fn table() -> String {
    let point = |workload: &str, protocol, variant: &str| Point {
        workload: Workload::named(workload).expect("it is built in"),
        load: 0.8,
        protocol,
        variant: Variant::named(variant).expect("there is one"),
    };
    let points = [
        point("w1", Protocol::Homa, "default"),
        point("w3", Protocol::Homa, "default"),
        point("w3", Protocol::Homa, "oracle"),
        point("w3", Protocol::Homa, "levels-1"),
        point("w3", Protocol::Homa, "overcommit-1"),
        point("w3", Protocol::Homa, "rpc"),
        point("w3", Protocol::Srpt, "default"),
        point("w3", Protocol::Dctcp, "default"),
    ];
    let effort = Effort {
        seeds: 1,
        shorter: 40,
        threads: 2,
    };
    let setup = Setup::of("leaf-spine:3x4x2".parse().expect("a shape"));
    let rows = run(&setup, &points, effort, &|_| ()).expect("the setup is sound");
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{}", line(row));
        text
    })
}

#[test]
fn the_figures_are_those_that_were_last_looked_at() {
    let table = table();
    assert!(
        table == GOLDEN,
        "if the change is wanted, tests/figures.txt is to be:\n{table}"
    );
}
