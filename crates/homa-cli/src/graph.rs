//! Graphs as SVG: slowdown by message size, lines over numbers, bars side by side.

use plotters::prelude::*;

use crate::failure::Failure;

const SIZE_PIXELS: (u32, u32) = (760, 360);

const COLORS: [RGBColor; 6] = [
    RED,
    BLUE,
    RGBColor(0, 140, 60),
    RGBColor(200, 120, 0),
    RGBColor(130, 60, 160),
    BLACK,
];

/// A line of a graph: its name and its points.
pub(crate) type Line = (String, Vec<(f64, f64)>);

/// How an axis of values runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// Evenly, from nothing on.
    Linear,
    /// By powers of ten, from this value on.
    Log(f64),
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log(least) => (value.max(least) / least).log10(),
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Linear => format!("{place:.2}"),
            Self::Log(least) if place.fract().abs() < 1e-6 => {
                format!("{}", least * 10_f64.powf(place))
            }
            Self::Log(_) => String::new(),
        }
    }
}

/// An error of the library as ours.
fn failure(error: impl core::fmt::Display) -> Failure {
    Failure::Work(format!("cannot draw the graph: {error}"))
}

/// Lines over bins of message sizes, which end at `sizes`. Bins hold equally many messages and
/// stand equally far apart, so that distance along the axis is share of messages, as in the papers
/// on Homa. The axis of slowdowns goes from 1 to `highest`.
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn slowdown_graph(
    lines: &[Line],
    sizes: &[usize],
    highest: f64,
) -> Result<String, Failure> {
    draw(lines, sizes, highest).map_err(failure)
}

/// Lines over numbers; both axes begin at nothing.
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn line_graph(lines: &[Line], x: &str, y: &str) -> Result<String, Failure> {
    draw_lines(lines, x, y).map_err(failure)
}

/// For each category a bar of each series, side by side. A series has a value for each category.
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn bar_graph(
    categories: &[String],
    series: &[(String, Vec<f64>)],
    (x, y): (&str, &str),
    scale: Scale,
) -> Result<String, Failure> {
    draw_bars(categories, series, (x, y), scale).map_err(failure)
}

/// The share of messages that took no longer than a latency in microseconds, as lines of points
/// (latency, share).
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn latency_graph(lines: &[Line]) -> Result<String, Failure> {
    draw_latency(lines).map_err(failure)
}

fn draw_latency(lines: &[Line]) -> Result<String, Box<dyn core::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        area.fill(&WHITE)?;
        let latencies = lines
            .iter()
            .flat_map(|(_, points)| points)
            .map(|point| point.0);
        let (low, high) = latencies.fold((f64::MAX, 1.0_f64), |(low, high), latency| {
            (low.min(latency), high.max(latency))
        });
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d((low.min(high) * 0.8..high * 1.5).log_scale(), 0.0..1.02)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("latency of short messages, µs")
            .y_desc("share")
            .draw()?;
        for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
            let color = *color;
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    color.stroke_width(2),
                ))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn draw(
    lines: &[Line],
    sizes: &[usize],
    highest: f64,
) -> Result<String, Box<dyn core::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        area.fill(&WHITE)?;
        let right = sizes.len().saturating_sub(1).max(1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(-0.3..right + 0.3, (1.0..highest).log_scale())?;
        let label = |at: &f64| {
            let size = (at.fract() == 0.0)
                .then(|| sizes.get(*at as usize))
                .flatten();
            size.map(usize::to_string).unwrap_or_default()
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(sizes.len().max(1))
            .x_label_formatter(&label)
            .y_label_formatter(&|slowdown| format!("{slowdown}"))
            .x_desc("message size, bytes (equal distances hold equally many messages)")
            .y_desc("slowdown")
            .draw()?;
        for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
            let series = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            chart
                .draw_series(series)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_lines(lines: &[Line], x: &str, y: &str) -> Result<String, Box<dyn core::error::Error>> {
    let most = |of: fn(&(f64, f64)) -> f64| {
        let points = lines.iter().flat_map(|(_, points)| points);
        points.map(of).fold(1e-3, f64::max) * 1.1
    };
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(x)
            .y_desc(y)
            .draw()?;
        for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
            let series = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            chart
                .draw_series(series)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn draw_bars(
    categories: &[String],
    series: &[(String, Vec<f64>)],
    (x, y): (&str, &str),
    scale: Scale,
) -> Result<String, Box<dyn core::error::Error>> {
    let values = series.iter().flat_map(|(_, values)| values);
    let top = values.map(|&value| scale.place(value)).fold(1e-3, f64::max) * 1.15;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.5..categories.len() as f64 - 0.5, 0.0..top)?;
        let category = |at: &f64| {
            let whole = at.fract() == 0.0 && *at >= 0.0;
            let name = whole.then(|| categories.get(*at as usize)).flatten();
            name.cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .x_labels(2 * categories.len() + 1)
            .x_label_formatter(&category)
            .y_label_formatter(&|place| scale.label(*place))
            .x_desc(x)
            .y_desc(y)
            .draw()?;
        let width = 0.8 / series.len().max(1) as f64;
        for ((number, (name, values)), color) in
            series.iter().enumerate().zip(COLORS.iter().cycle())
        {
            let bars = values.iter().enumerate().map(|(place, &value)| {
                let left = place as f64 - 0.4 + width * number as f64;
                let corners = [(left, 0.0), (left + 0.95 * width, scale.place(value))];
                Rectangle::new(corners, color.filled())
            });
            chart.draw_series(bars)?.label(name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 4), (x + 12, y + 4)], color.filled())
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
