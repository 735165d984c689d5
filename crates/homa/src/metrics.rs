//! What hosts counted and hold, and how long RPCs took, as OpenMetrics text: what Prometheus and its
//! relatives read. With the feature `metrics`.
//!
//! It decides the names: `homa_` before those of [`Counters`] and of the
//! limits in [`Config`](crate::Config), `_total` behind those of what is counted, and a label `host`, the
//! place among the hosts that are asked about. It opens no port: `homa serve --metrics` shows how.
//!
//! ```
//! use homa::{Host, metrics};
//!
//! let host = Host::builder().build()?;
//! let text = metrics::text(&[host])?;
//! assert!(text.contains("homa_packets_sent_total{host=\"0\"} 0\n"));
//! assert!(text.ends_with("# EOF\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod times;

use core::fmt::Write as _;
use std::io;

use crate::counters::Counters;
use crate::error::BindError;
use crate::host::Host;
use crate::inspect::{Gauge, gauges};
use times::Histogram;
pub(crate) use times::Times;

/// What a response of this text is to be labelled as (HTTP `Content-Type`).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A histogram's name, what it holds, and where it is.
type Named = (&'static str, &'static str, fn(&Times) -> &Histogram);

const HISTOGRAMS: [Named; 2] = [
    ("call_seconds", "From a call to its response.", |times| {
        &times.calls
    }),
    (
        "service_seconds",
        "From a whole request to the application's response.",
        |times| &times.service,
    ),
];

/// What one host tells.
struct Told {
    counters: Counters,
    gauges: Vec<Gauge>,
    times: Times,
}

/// Everything that `hosts` counted and hold.
///
/// # Errors
///
/// A host is broken.
pub fn text(hosts: &[Host]) -> Result<String, BindError> {
    let told: Vec<Told> = hosts.iter().map(ask).collect::<Result<_, _>>()?;
    let Some(first) = told.first() else {
        return Ok("# EOF\n".to_owned());
    };
    let mut text = String::new();
    for (index, (name, _)) in first.counters.iter().enumerate() {
        family(&mut text, name, "counter", Counters::help(name));
        for (host, told) in told.iter().enumerate() {
            let value = told.counters.iter().nth(index).map_or(0, |it| it.1);
            sample(&mut text, name, "_total", host, value);
        }
    }
    for (index, gauge) in first.gauges.iter().enumerate() {
        let name = gauge.name;
        family(&mut text, name, "gauge", None);
        for (host, told) in told.iter().enumerate() {
            sample(&mut text, name, "", host, told.gauges[index].value);
        }
        if gauge.limit.is_some() {
            let name = format!("{name}_max");
            family(&mut text, &name, "gauge", None);
            for (host, told) in told.iter().enumerate() {
                sample(
                    &mut text,
                    &name,
                    "",
                    host,
                    told.gauges[index].limit.unwrap_or(0),
                );
            }
        }
    }
    for (name, help, which) in HISTOGRAMS {
        family(&mut text, name, "histogram", Some(help));
        for (host, told) in told.iter().enumerate() {
            which(&told.times).write(&mut text, name, host);
        }
    }
    text.push_str("# EOF\n");
    Ok(text)
}

fn ask(host: &Host) -> Result<Told, BindError> {
    let shared = host.shared();
    // Whoever panicked with the host breaks all that is asked of it.
    let broken = |_: io::Error| BindError::Broken;
    Ok(Told {
        counters: shared.counters()?,
        gauges: gauges(shared).map_err(broken)?,
        times: host.lock()?.times.clone(),
    })
}

fn family(text: &mut String, name: &str, kind: &str, help: Option<&str>) {
    // A String takes all that is written.
    let _ = writeln!(text, "# TYPE homa_{name} {kind}");
    if let Some(help) = help {
        let help = help.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "# HELP homa_{name} {}", help.trim());
    }
}

fn sample(text: &mut String, name: &str, suffix: &str, host: usize, value: u64) {
    let _ = writeln!(text, "homa_{name}{suffix}{{host=\"{host}\"}} {value}");
}
