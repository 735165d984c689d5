//! The report as one self-contained page: graphs of slowdown by message size, and the table.

use core::fmt::Write as _;

use super::protocol::Protocol;
use super::report::{Report, Row};
use crate::failure::Failure;
use crate::graph::slowdown_graph;
use crate::page::{document, paragraph};

/// The page.
///
/// # Errors
/// A graph cannot be drawn.
pub(crate) fn page(report: &Report) -> Result<String, Failure> {
    let title = format!("Homa and TCP, workload {}", report.workload);
    let mut body = paragraph(&report.method());
    let (p99, p50) = (
        graph(report, |row| row.slowdown_p99)?,
        graph(report, |row| row.slowdown_p50)?,
    );
    let _ = write!(
        body,
        "<h2>Slowdown, 99th percentile</h2>\n{p99}\n<h2>Slowdown, median</h2>\n{p50}\n"
    );
    table(&mut body, report);
    body += &paragraph(&report.conclusions());
    Ok(document(&title, &body))
}

fn table(body: &mut String, report: &Report) {
    body.push_str(
        "<table>\n<tr><th>protocol<th>bytes, up to<th>count<th>p50 µs<th>p99 µs\
         <th>slowdown p50<th>slowdown p99</tr>\n",
    );
    for row in &report.rows {
        let _ = writeln!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{:.1}<td>{:.1}<td>{:.2}<td>{:.2}</tr>",
            row.protocol,
            row.size_max,
            row.count,
            row.p50_us,
            row.p99_us,
            row.slowdown_p50,
            row.slowdown_p99
        );
    }
    body.push_str("</table>\n");
}

/// One figure by message size. The bins hold equally many messages and stand equally far apart, so
/// that distance along the axis is share of messages, as in the papers on Homa.
fn graph(report: &Report, figure: fn(&Row) -> f64) -> Result<String, Failure> {
    let lines = Protocol::ALL.map(|protocol| {
        let rows = report
            .rows_of(protocol)
            .enumerate()
            .filter(|(_, row)| row.count > 0);
        let points: Vec<(f64, f64)> = rows
            .map(|(index, row)| (index as f64, figure(row).max(1.0)))
            .collect();
        (protocol.to_string(), points)
    });
    let highest = lines
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.1);
    // The legend stands above the lines.
    let highest = highest.fold(10.0, f64::max) * 5.0;
    let sizes: Vec<usize> = report
        .totals
        .first()
        .map(|total| {
            report
                .rows_of(total.protocol)
                .map(|row| row.size_max)
                .collect()
        })
        .unwrap_or_default();
    slowdown_graph(&lines, &sizes, highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::report::tests::example;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&example()).unwrap();
        // The name of the SVG name space is no address that is fetched.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in [
            "http", "src=", "href=", "url(", "@import", "<script", "<link",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_page_has_both_graphs_with_both_protocols() {
        let page = page(&example()).unwrap();
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("</svg>").count(), 2);
        assert!(page.matches("Homa").count() > 4 && page.matches("TCP").count() > 4);
        assert!(page.contains("1000000"));
    }

    #[test]
    fn a_name_cannot_break_out_of_its_place() {
        let mut report = example();
        report.workload = "<b>&\"x".into();
        let page = page(&report).unwrap();
        assert!(!page.contains("<b>"));
        assert!(page.contains("workload &lt;b&gt;&amp;&quot;x"));
    }
}
