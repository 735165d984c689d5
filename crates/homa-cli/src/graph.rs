//! Graphs as SVG: slowdown by message size, lines over numbers, bars side by side.

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
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

type Drawn<T = ()> = Result<T, Box<dyn core::error::Error>>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

type Chart<'a, X, Y> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>;

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
    picture(|area| draw_slowdown(area, lines, sizes, highest))
}

/// Lines over numbers; both axes begin at nothing.
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn line_graph(lines: &[Line], x: &str, y: &str) -> Result<String, Failure> {
    picture(|area| draw_numbers(area, lines, x, y))
}

/// The share of messages that took no longer than a latency in microseconds, as lines of points
/// (latency, share).
///
/// # Errors
/// The graph cannot be drawn.
pub(crate) fn latency_graph(lines: &[Line]) -> Result<String, Failure> {
    picture(|area| draw_latency(area, lines))
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
    picture(|area| draw_bars(area, categories, series, (x, y), scale))
}

/// What is drawn on a white area, as SVG.
fn picture(draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, Failure> {
    let mut svg = String::new();
    let drawn = || -> Drawn {
        let area = SVGBackend::with_string(&mut svg, SIZE_PIXELS).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        Ok(area.present()?)
    };
    drawn().map_err(|error| Failure::Work(format!("cannot draw the graph: {error}")))?;
    Ok(svg)
}

fn draw_slowdown(area: &Area<'_>, lines: &[Line], sizes: &[usize], highest: f64) -> Drawn {
    let right = sizes.len().saturating_sub(1).max(1) as f64;
    let mut chart = ChartBuilder::on(area)
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
    draw_lines(&mut chart, lines, SeriesLabelPosition::UpperLeft)
}

fn draw_numbers(area: &Area<'_>, lines: &[Line], x: &str, y: &str) -> Drawn {
    let most = |of: fn(&(f64, f64)) -> f64| {
        let points = lines.iter().flat_map(|(_, points)| points);
        points.map(of).fold(1e-3, f64::max) * 1.1
    };
    let (right, top) = (most(|point| point.0), most(|point| point.1));
    let mut chart = ChartBuilder::on(area)
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
    draw_lines(&mut chart, lines, SeriesLabelPosition::LowerRight)
}

fn draw_latency(area: &Area<'_>, lines: &[Line]) -> Drawn {
    let latencies = lines
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.0);
    let (low, high) = latencies.fold((f64::MAX, 1.0_f64), |(low, high), latency| {
        (low.min(latency), high.max(latency))
    });
    let mut chart = ChartBuilder::on(area)
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
    draw_lines(&mut chart, lines, SeriesLabelPosition::LowerRight)
}

fn draw_bars(
    area: &Area<'_>,
    categories: &[String],
    series: &[(String, Vec<f64>)],
    (x, y): (&str, &str),
    scale: Scale,
) -> Drawn {
    let values = series.iter().flat_map(|(_, values)| values);
    let top = values.map(|&value| scale.place(value)).fold(1e-3, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
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
    for ((number, (name, values)), color) in series.iter().enumerate().zip(COLORS.iter().cycle()) {
        let bars = values.iter().enumerate().map(|(place, &value)| {
            let left = place as f64 - 0.4 + width * number as f64;
            let corners = [(left, 0.0), (left + 0.95 * width, scale.place(value))];
            Rectangle::new(corners, color.filled())
        });
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], color.filled()));
    }
    name_series(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Each line in a colour of its own, with its name in a box.
fn draw_lines<'a, X, Y>(
    chart: &mut Chart<'a, X, Y>,
    lines: &[Line],
    names_at: SeriesLabelPosition,
) -> Drawn
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
        let series = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        chart
            .draw_series(series)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    name_series(chart, names_at)
}

fn name_series<'a, X: Ranged, Y: Ranged>(
    chart: &mut Chart<'a, X, Y>,
    position: SeriesLabelPosition,
) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
