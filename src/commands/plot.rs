//! Pictures as SVG files, where a curve says more than a number.

use std::path::Path;

use anyhow::{Context, Result};
use indicatif::HumanCount;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

const BLUE: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const ORANGE: RGBColor = RGBColor(0xe6, 0x7e, 0x22);
const GREY: RGBColor = RGBColor(0x88, 0x88, 0x88);

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A success rate with its 95 % interval.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// What was measured.
    pub label: String,
    /// Success rate, 0..=1.
    pub rate: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
}

/// Where the object went in one episode, seen from above.
#[derive(Debug, Clone)]
pub(crate) struct Path2 {
    /// Places of the object, base frame x and y, m.
    pub object: Vec<(f64, f64)>,
    /// Where it was wanted, m.
    pub goal: (f64, f64),
    /// Whether it ended there.
    pub success: bool,
}

/// A measurement before and after learning.
pub(crate) struct Side<'a> {
    /// Title of the picture's half.
    pub title: &'a str,
    /// Episodes to draw: hits blue, misses orange with a line to the goal that was missed.
    pub paths: &'a [Path2],
}

/// Draws success rates as bars beside the object's paths before and after.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn before_and_after(file: &Path, bars: &[Bar], sides: [Side<'_>; 2], radius_m: f64) -> Result<()> {
    let root = SVGBackend::new(file, (1200, 420)).into_drawing_area();
    let draw = || -> Result<()> {
        root.fill(&WHITE)?;
        let areas = root.split_evenly((1, 3));
        draw_bars(&areas[0], bars)?;
        for (area, side) in areas[1..].iter().zip(&sides) {
            draw_paths(area, side, radius_m)?;
        }
        root.present()?;
        Ok(())
    };
    draw().with_context(|| format!("cannot draw {}; check the folder's rights and free space", file.display()))
}

fn draw_bars(area: &DrawingArea<SVGBackend<'_>, Shift>, bars: &[Bar]) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .caption("success at the last step, 95 % interval", ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(-0.6..bars.len() as f64 - 0.4, 0.0..1.0)?;
    let label = |x: &f64| {
        let index = x.round();
        let at = (x - index).abs() < 1e-6 && index >= 0.0;
        bars.get(index as usize).filter(|_| at).map(|bar| bar.label.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(bars.len() * 2 + 3)
        .x_label_formatter(&label)
        .y_label_formatter(&|y| format!("{:.0} %", 100.0 * y))
        .draw()?;
    for (index, bar) in bars.iter().enumerate() {
        let x = index as f64;
        let color = if index + 1 == bars.len() { ORANGE } else { BLUE };
        chart.draw_series([
            Rectangle::new([(x - 0.3, 0.0), (x + 0.3, bar.rate)], color.mix(0.8).filled()),
            Rectangle::new([(x - 0.01, bar.interval[0]), (x + 0.01, bar.interval[1])], BLACK.filled()),
        ])?;
        // Above what is drawn, or below where the picture ends.
        let y = if bar.interval[1] < 0.9 { bar.interval[1] + 0.05 } else { bar.interval[0] - 0.03 };
        chart.draw_series([Text::new(format!("{:.1} %", 100.0 * bar.rate), (x - 0.28, y), ("sans-serif", 15))])?;
    }
    Ok(())
}

fn draw_paths(area: &DrawingArea<SVGBackend<'_>, Shift>, side: &Side<'_>, radius_m: f64) -> Result<()> {
    // Seen from behind the base: x forward is up, y left is left.
    let mut chart = ChartBuilder::on(area)
        .caption(side.title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(0.20..-0.20, 0.06..0.42)?;
    chart.configure_mesh().x_desc("y, m").y_desc("x, m").light_line_style(TRANSPARENT).draw()?;
    for path in side.paths {
        let color = if path.success { BLUE } else { ORANGE };
        let (gx, gy) = path.goal;
        let ring = (0..=24).map(|k| {
            let angle = f64::from(k) * std::f64::consts::TAU / 24.0;
            (gy + radius_m * angle.sin(), gx + radius_m * angle.cos())
        });
        chart.draw_series(LineSeries::new(ring, GREY.mix(0.5)))?;
        chart.draw_series(LineSeries::new(path.object.iter().map(|&(x, y)| (y, x)), color.stroke_width(2)))?;
        let miss = path.object.last().filter(|_| !path.success).map(|&(x, y)| [(y, x), (gy, gx)]);
        chart.draw_series(miss.map(|line| PathElement::new(line, color.mix(0.4))))?;
        let last = path.object.last().map(|&(x, y)| Circle::new((y, x), 4, color.filled()));
        chart.draw_series(last)?;
    }
    Ok(())
}

/// Where points lie as seen from above: x and y of a cell's middle in the base frame, m, and how many are in it.
pub(crate) struct Cells<'a> {
    /// Title of the picture's half.
    pub title: &'a str,
    pub cells: Vec<([f64; 2], u64)>,
}

/// Draws side by side where points lie: squares of `cell_m`, the darker the more points are in them.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn spreads(file: &Path, sides: [Cells<'_>; 2], cell_m: f64) -> Result<()> {
    let root = SVGBackend::new(file, (860, 460)).into_drawing_area();
    let edges = |axis: usize| {
        let of = sides.iter().flat_map(|side| &side.cells).map(|(middle, _)| middle[axis]);
        let (low, high) = of.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        if low <= high { (low - 2.0 * cell_m, high + 2.0 * cell_m) } else { (0.0, 1.0) }
    };
    let ((near, far), (right, left)) = (edges(0), edges(1));
    let draw = || -> Result<()> {
        root.fill(&WHITE)?;
        for (area, side) in root.split_evenly((1, 2)).iter().zip(&sides) {
            // Seen from behind the base: x forward is up, y left is left.
            let mut chart = ChartBuilder::on(area)
                .caption(side.title, ("sans-serif", 16))
                .margin(12)
                .x_label_area_size(36)
                .y_label_area_size(48)
                .build_cartesian_2d(left..right, near..far)?;
            chart.configure_mesh().x_desc("y, m").y_desc("x, m").light_line_style(TRANSPARENT).draw()?;
            let most = side.cells.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
            let half = cell_m / 2.0;
            chart.draw_series(side.cells.iter().map(|([x, y], count)| {
                // A single point among thousands is still seen.
                let shade = 0.1 + 0.9 * (*count as f64 / most).sqrt();
                Rectangle::new([(y + half, x - half), (y - half, x + half)], BLUE.mix(shade).filled())
            }))?;
        }
        root.present()?;
        Ok(())
    };
    draw().with_context(|| format!("cannot draw {}; check the folder's rights and free space", file.display()))
}

/// One point of a learning curve.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CurvePoint {
    /// Environment steps so far.
    pub env_steps: f64,
    /// Time since the training began, s.
    pub elapsed_s: f64,
    /// Success rate in deterministic evaluation.
    pub success_rate: f64,
}

/// Axes for success over up to `end` environment steps.
fn over_steps<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, title: &str, end: f64, what: &str) -> Result<Chart<'a>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        // Half of the last number.
        .margin_right(32)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..end, 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc("environment steps")
        .x_label_formatter(&|&steps| HumanCount(steps as u64).to_string())
        .y_desc(what)
        .y_label_formatter(&|y| format!("{:.0} %", 100.0 * y))
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(chart)
}

/// Draws success over environment steps.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn learning_curve(file: &Path, title: &str, points: &[CurvePoint]) -> Result<()> {
    let root = SVGBackend::new(file, (720, 420)).into_drawing_area();
    let draw = || -> Result<()> {
        root.fill(&WHITE)?;
        let end = points.iter().map(|point| point.env_steps).fold(1.0, f64::max);
        let mut chart = over_steps(&root, title, end, "success at the last step")?;
        let line = points.iter().map(|point| (point.env_steps, point.success_rate));
        chart.draw_series(LineSeries::new(line, BLUE.stroke_width(2)).point_size(3))?;
        root.present()?;
        Ok(())
    };
    draw().with_context(|| format!("cannot draw {}; check the folder's rights and free space", file.display()))
}

/// Learning curves of several seeds.
pub(crate) struct Band {
    /// What was varied.
    pub label: String,
    /// Environment steps, and least, median and greatest success rate over the seeds.
    pub points: Vec<(f64, [f64; 3])>,
}

/// Draws medians as lines and the seeds' range as shades.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn bands(file: &Path, title: &str, bands: &[Band]) -> Result<()> {
    let root = SVGBackend::new(file, (820, 460)).into_drawing_area();
    let draw = || -> Result<()> {
        root.fill(&WHITE)?;
        let end = bands.iter().flat_map(|band| &band.points).map(|point| point.0).fold(1.0, f64::max);
        let mut chart = over_steps(&root, title, end, "success at the last step: median and range of seeds")?;
        for (index, band) in bands.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let low = band.points.iter().map(|(x, [low, _, _])| (*x, *low));
            let high = band.points.iter().rev().map(|(x, [_, _, high])| (*x, *high));
            chart.draw_series([Polygon::new(low.chain(high).collect::<Vec<_>>(), color.mix(0.15).filled())])?;
            let line = band.points.iter().map(|(x, [_, median, _])| (*x, *median));
            chart
                .draw_series(LineSeries::new(line, color.stroke_width(2)))?
                .label(band.label.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(GREY)
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw().with_context(|| format!("cannot draw {}; check the folder's rights and free space", file.display()))
}
