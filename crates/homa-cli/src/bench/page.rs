//! The report as a page: a bar for each variant, the table, the ratios.

use core::fmt::Write as _;

use super::report::{Report, Row};
use crate::page::{document, escape, paragraph};

const BAR_PIXELS: u32 = 18;
const ROW_PIXELS: u32 = 28;
const LABEL_PIXELS: u32 = 190;
const GRAPH_PIXELS: f64 = 460.0;
const WIDTH_PIXELS: u32 = 760;

/// Colours of Homa, and of everything else.
const COLOURS: [&str; 2] = ["#b3261e", "#7f9bb3"];

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut body = paragraph(&report.method());
    let _ = writeln!(body, "<h2>{}</h2>", escape(report.unit()));
    body += &graph(report.rows());
    body += &table(report);
    body += &ratios(report);
    document(&format!("homa bench {}", report.bench()), &body)
}

/// Medians as bars, ranges as lines across their ends.
fn graph(rows: &[Row]) -> String {
    let highest = rows.iter().map(|row| row.figure_max);
    let scale = GRAPH_PIXELS / highest.fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW_PIXELS * rows.len() as u32;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH_PIXELS} {height}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"13\">\n"
    );
    for (row, top) in rows.iter().zip((0..).step_by(ROW_PIXELS as usize)) {
        let colour = COLOURS[usize::from(!row.variant.starts_with("homa"))];
        let middle = top + BAR_PIXELS / 2;
        let [width, low, high] =
            [row.figure, row.figure_min, row.figure_max].map(|figure| figure * scale);
        let at = |width: f64| f64::from(LABEL_PIXELS) + width;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL_PIXELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR_PIXELS}\" \
             fill=\"{colour}\"/>\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#222\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.3}</text>",
            LABEL_PIXELS - 8,
            middle + 4,
            row.variant,
            at(low),
            at(high),
            at(high) + 8.0,
            middle + 4,
            row.figure,
        );
    }
    svg + "</svg>\n"
}

fn table(report: &Report) -> String {
    let mut table = format!(
        "<table>\n<tr><th>variant<th>{}<th>lowest<th>highest<th>p99 µs<th>CPU s per {}, client\
         <th>server</tr>\n",
        escape(report.unit()),
        escape(report.work())
    );
    for row in report.rows() {
        let _ = writeln!(
            table,
            "<tr><td>{}<td>{:.3}<td>{:.3}<td>{:.3}<td>{:.1}<td>{:.2}<td>{:.2}</tr>",
            row.variant,
            row.figure,
            row.figure_min,
            row.figure_max,
            row.p99_us,
            row.client_cpu_s,
            row.server_cpu_s
        );
    }
    table + "</table>\n"
}

fn ratios(report: &Report) -> String {
    let mut table = "<h2>Ratios within a round</h2>\n<table>\n\
                     <tr><th>ratio<th>median<th>lowest<th>highest</tr>\n"
        .to_owned();
    for (key, ratio, [low, high]) in report.ratios() {
        let _ = writeln!(
            table,
            "<tr><td>{}<td>{ratio:.3}<td>{low:.3}<td>{high:.3}</tr>",
            escape(key)
        );
    }
    table + "</table>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn the_page_shows_every_variant_and_ratio_and_needs_nothing_from_elsewhere() {
        let page = page(&example());
        for expected in ["homa_spin", "udp_spin", "homa_spin/udp_spin", "<td>1.500"] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert_eq!(page.matches("<rect").count(), 2);
        // The name of the SVG name space is no address that is fetched.
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in ["http", "src=", "href=", "url(", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
