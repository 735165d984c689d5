//! What `homa serve --metrics` tells, read by the parser that Prometheus' own Python library has for
//! OpenMetrics, which refuses what the standard does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::command::output;
use crate::paths;

/// The one that Debian's packages bring modules for; another may come first in the path.
const PYTHON: &str = "/usr/bin/python3";

/// Calls made before the server is asked.
const CALLS: usize = 3;

/// Fetches the address that it is given and fails for what a scraper would refuse, or if the calls
/// were not counted in every kind of metric.
const READER: &str = r#"
import sys, urllib.request
from prometheus_client.openmetrics.parser import text_string_to_metric_families
address, calls = sys.argv[1], float(sys.argv[2])
with urllib.request.urlopen(address, timeout=10) as response:
    assert response.headers["Content-Type"].startswith("application/openmetrics-text"), response.headers
    text = response.read().decode()
families = {family.name: family for family in text_string_to_metric_families(text)}
def value(family, name, **labels):
    labels = dict(labels, host="0")
    return next(s.value for s in families[family].samples if s.name == name and s.labels == labels)
assert value("homa_requests_delivered", "homa_requests_delivered_total") == calls
assert families["homa_requests_delivered"].documentation
assert value("homa_server_rpcs_max", "homa_server_rpcs_max") > 0
assert value("homa_service_seconds", "homa_service_seconds_count") == calls
assert value("homa_service_seconds", "homa_service_seconds_bucket", le="+Inf") == calls
print(f"{len(families)} families of metrics")
"#;

/// Ends the server however the check ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server, calls it, and has the reader fetch its metrics.
pub(crate) fn check() -> Result<(), String> {
    let words = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut child = Command::new(paths::homa())
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("homa did not start: {error}"))?;
    let said = child.stdout.take();
    let _server = Running(child);
    let mut lines = BufReader::new(said.ok_or("the output is piped")?).lines();
    let mut told = |begin: &str| {
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        let rest = line.strip_prefix(begin).map(str::to_owned);
        rest.ok_or_else(|| format!("the server said {line:?} instead of {begin:?}"))
    };
    let (address, metrics) = (told("listening on ")?, told("metrics at ")?);
    for _ in 0..CALLS {
        output(Command::new(paths::homa()).args(["call", &address, "hello"]))?;
    }
    let calls = CALLS.to_string();
    let read = output(Command::new(PYTHON).args(["-c", READER, &metrics, &calls]))?;
    std::io::stdout()
        .write_all(read.as_bytes())
        .map_err(|error| error.to_string())
}
