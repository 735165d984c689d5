//! The figures of `bench engine` as text, as JSON and as a page.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use plotters::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::point::{Instrument, Memory, tunables};
use super::world::{MESSAGE_BYTES, Scale};
use crate::bench::statistics::{median, range};
use crate::failure::Failure;
use crate::page::document;

/// Text, JSON and page.
type Rendered = Result<(String, String, String), Failure>;

/// The headline figure.
pub(super) struct Pace {
    pub(super) scale: Scale,
    /// One for each round.
    pub(super) nanos_per_rpc: Vec<f64>,
    pub(super) instructions: Option<f64>,
    pub(super) instrument: Option<Instrument>,
}

/// The figures by scale.
pub(super) struct Sweep {
    pub(super) rows: Vec<Row>,
    pub(super) memory: Memory,
    pub(super) instrument: Option<Instrument>,
}

/// One point of the sweep.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) outstanding: u32,
    pub(super) peers: u32,
    /// One for each round.
    pub(super) nanos_per_rpc: Vec<f64>,
    pub(super) instructions: Option<f64>,
}

impl Row {
    pub(super) const fn new(outstanding: u32, peers: u32) -> Self {
        Self {
            outstanding,
            peers,
            nanos_per_rpc: Vec::new(),
            instructions: None,
        }
    }

    pub(super) const fn scale(&self) -> Scale {
        Scale {
            outstanding: self.outstanding,
            peers: self.peers,
            lifetime_ms: 1_000,
            patient: true,
        }
    }
}

impl Pace {
    pub(super) fn render(&self) -> Rendered {
        let rates: Vec<f64> = self.nanos_per_rpc.iter().map(|nanos| 1e9 / nanos).collect();
        let ([least, most], middle) = (range(&rates), median(&rates));
        let Scale {
            outstanding, peers, ..
        } = self.scale;
        let mut text = format!(
            "Round trips of {MESSAGE_BYTES} bytes each way between two engines on one core, \
             {outstanding} outstanding, {peers} peers;\nmedian and range of {} rounds, in seconds of processor time.\n\n\
             {:.2} million RPCs a second ({:.2}–{:.2}), {:.0} ns each, with GLIBC_TUNABLES={}\n",
            rates.len(),
            middle / 1e6,
            least / 1e6,
            most / 1e6,
            1e9 / middle,
            tunables(),
        );
        say_instructions(&mut text, self.instrument, self.instructions);
        let json = json!({
            "message_bytes": MESSAGE_BYTES,
            "outstanding": outstanding,
            "peers": peers,
            "rounds": rates.len(),
            "rpcs_per_second": middle,
            "rpcs_per_second_min": least,
            "rpcs_per_second_max": most,
            "instructions_per_rpc": self.instructions,
            "instructions_counted_by": self.instrument.map(Instrument::name),
            "glibc_tunables": tunables(),
        });
        let page = document("The engine alone", &format!("<pre>{text}</pre>"));
        Ok((text, pretty(&json)?, page))
    }
}

impl Sweep {
    /// The bounds' figures. Time grows within a round; instructions do not depend on one.
    fn ratios(&self) -> BTreeMap<&'static str, f64> {
        let first = &self.rows[0];
        let growth = |outstanding: u32| {
            let row = self.rows.iter().find(|row| row.outstanding == outstanding);
            let pairs = row.map(|row| row.nanos_per_rpc.iter().zip(&first.nanos_per_rpc));
            let ratios: Vec<f64> = pairs.into_iter().flatten().map(|(n, d)| n / d).collect();
            median(&ratios)
        };
        let Memory {
            client_peer,
            server_peer,
            client_rpc,
            server_rpc,
        } = self.memory;
        let mut ratios = BTreeMap::from([
            ("time_growth_1e4", growth(10_000)),
            ("time_growth_1e6", growth(1_000_000)),
            ("bytes_per_idle_peer", client_peer.max(server_peer)),
            ("bytes_per_rpc", client_rpc.max(server_rpc)),
        ]);
        let most = self.rows.iter().filter_map(|row| row.instructions);
        if let Some(least) = first.instructions {
            let growth = most.fold(0.0, f64::max) / least;
            ratios.insert("instructions_growth", growth);
        }
        ratios
    }

    pub(super) fn render(&self) -> Rendered {
        let ratios = self.ratios();
        let mut text = format!(
            "Round trips of {MESSAGE_BYTES} bytes each way between two engines on one core, \
             completed in random order;\nmedians and ranges of processor time over {} rounds \
             in which the scales alternate, with GLIBC_TUNABLES={}.\n\n{:>11}{:>9}{:>9}{:>18}{:>14}\n",
            self.rows[0].nanos_per_rpc.len(),
            tunables(),
            "outstanding",
            "peers",
            "ns/RPC",
            "min–max",
            "instructions",
        );
        for row in &self.rows {
            let nanos = &row.nanos_per_rpc;
            let ([least, most], middle) = (range(nanos), median(nanos));
            let range = format!("{least:.0}–{most:.0}");
            let instructions = row
                .instructions
                .map_or_else(|| "–".into(), |n| format!("{n:.0}"));
            let _ = writeln!(
                text,
                "{:>11}{:>9}{middle:>9.0}{range:>18}{instructions:>14}",
                row.outstanding, row.peers
            );
        }
        text.push('\n');
        for (name, value) in &ratios {
            let _ = writeln!(text, "{name:20}{value:>8.2}");
        }
        let Memory {
            client_peer,
            server_peer,
            client_rpc,
            server_rpc,
        } = self.memory;
        let _ = writeln!(
            text,
            "\nBytes by which the process grows: idle peer {client_peer:.0} at the client, \
             {server_peer:.0} at the server;\nRPC {client_rpc:.0} at the client, {server_rpc:.0} \
             at the server (with tombstones)."
        );
        if self.instrument.is_none() {
            say_instructions(&mut text, None, None);
        }
        let json = json!({
            "message_bytes": MESSAGE_BYTES,
            "rows": self.rows,
            "memory": self.memory,
            "instructions_counted_by": self.instrument.map(Instrument::name),
            "glibc_tunables": tunables(),
            "ratios": ratios,
        });
        let graph = self
            .graph()
            .map_err(|error| Failure::Work(format!("cannot draw the graph: {error}")))?;
        let page = document(
            "The engine at every scale",
            &format!("{graph}<pre>{text}</pre>"),
        );
        Ok((text, pretty(&json)?, page))
    }

    /// Time and instructions by scale, both relative to the smallest.
    fn graph(&self) -> Result<String, Box<dyn core::error::Error>> {
        let first = &self.rows[0];
        let time = self.rows.iter().map(|row| {
            let relative = median(&row.nanos_per_rpc) / median(&first.nanos_per_rpc);
            (f64::from(row.outstanding), relative)
        });
        let instructions = self.rows.iter().filter_map(|row| {
            let relative = row.instructions? / first.instructions?;
            Some((f64::from(row.outstanding), relative))
        });
        let lines = [
            ("time", RED, time.collect::<Vec<_>>()),
            ("instructions", BLUE, instructions.collect()),
        ];
        let highest = lines.iter().flat_map(|(_, _, points)| points);
        let highest = highest.map(|point| point.1).fold(2.0, f64::max) * 1.2;
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (760, 360)).into_drawing_area();
            let mut chart = ChartBuilder::on(&root)
                .margin(10)
                .x_label_area_size(40)
                .y_label_area_size(50)
                .build_cartesian_2d((10.0..1e6).log_scale(), 0.0..highest)?;
            chart
                .configure_mesh()
                .x_desc("RPCs outstanding")
                .y_desc("for one RPC, relative to 10 outstanding")
                .draw()?;
            for (name, color, points) in lines {
                chart
                    .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
            }
            chart.configure_series_labels().draw()?;
            root.present()?;
        }
        Ok(svg)
    }
}

fn say_instructions(text: &mut String, instrument: Option<Instrument>, instructions: Option<f64>) {
    let _ = match (instrument, instructions) {
        (Some(instrument), Some(count)) => writeln!(
            text,
            "{count:.0} instructions each, counted by {}",
            instrument.name()
        ),
        _ => writeln!(
            text,
            "Left out: instructions, since neither perf counts them here nor valgrind is \
             installed; `apt-get install valgrind` adds it."
        ),
    };
}

fn pretty(json: &serde_json::Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(json).map_err(Failure::work("JSON"))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> Sweep {
        let row = |outstanding, nanos: [f64; 3], instructions| Row {
            nanos_per_rpc: nanos.into(),
            instructions: Some(instructions),
            ..Row::new(outstanding, 1)
        };
        Sweep {
            rows: vec![
                row(10, [100.0, 200.0, 110.0], 1_000.0),
                row(10_000, [150.0, 300.0, 220.0], 1_100.0),
                row(1_000_000, [400.0, 900.0, 440.0], 1_050.0),
            ],
            memory: Memory {
                client_peer: 200.0,
                server_peer: 210.0,
                client_rpc: 300.0,
                server_rpc: 290.0,
            },
            instrument: Some(Instrument::Perf),
        }
    }

    #[test]
    fn growth_is_taken_within_rounds_and_the_larger_end_counts() {
        let (_, json, _) = sweep().render().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let ratios = &json["ratios"];
        assert_eq!(ratios["time_growth_1e4"], 1.5);
        assert_eq!(ratios["time_growth_1e6"], 4.0);
        assert_eq!(ratios["instructions_growth"], 1.1);
        assert_eq!(ratios["bytes_per_idle_peer"], 210.0);
        assert_eq!(ratios["bytes_per_rpc"], 300.0);
    }

    #[test]
    fn what_cannot_be_counted_is_said_to_be_left_out() {
        let mut sweep = sweep();
        sweep.instrument = None;
        sweep
            .rows
            .iter_mut()
            .for_each(|row| row.instructions = None);
        let (text, json, page) = sweep.render().unwrap();
        assert!(text.contains("Left out: instructions"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json["ratios"].get("instructions_growth").is_none());
        assert!(page.contains("<svg"));
    }
}
