//! `hindsight episodes show`: one episode in words and as a picture.

use anyhow::{Context, Result};
use clap::Args;
use hindsight::arm::Health;
use hindsight::episode::inspect::Figures;
use hindsight::episode::{Attachment, BusHealth, Episode, read};
use hindsight::kinematics::Kinematics;
use hindsight::safety::Interventions;
use hindsight::task::goal_distance_m;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::super::{Common, Finish, output};

const OBJECT: RGBColor = RGBColor(0xe6, 0x7e, 0x22);
const FINGERTIP: RGBColor = RGBColor(0x1f, 0x77, 0xb4);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Tell of one episode, and draw it
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Episode file
    file: PathBuf,
    /// File for the picture, SVG [default: none]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Show {
    /// Prints what the episode was, and draws paths, distance and joints.
    ///
    /// # Errors
    /// The file gives no episode, or the picture cannot be written.
    pub(super) fn run(&self, common: &Common) -> Result<Finish> {
        let recovered = read(&self.file)?;
        let episode = &recovered.episode;
        let figures = Figures::of(episode);
        output::say(common, &words(episode, &figures));
        for Attachment { name, media_type, bytes } in &recovered.attachments {
            output::say(common, &format!("attached: {name}, {media_type}, {} bytes", bytes.len()));
        }
        if let Some(BusHealth { health, .. }) = recovered.bus.last() {
            let Health { asked, lost, damaged, stale, restarts, temperature_max_c } = health;
            let hottest =
                if *temperature_max_c > 0 { format!(", at most {temperature_max_c} °C") } else { String::new() };
            output::say(
                common,
                &format!(
                    "arm: {asked} answers asked for, {lost} lost, {damaged} damaged; {stale} old measurements, \
                     {restarts} restarts{hottest}"
                ),
            );
        }
        if let Some(out) = &self.out {
            draw(out, episode)
                .with_context(|| format!("cannot draw {}; check the folder's rights and free space", out.display()))?;
            output::say(common, &format!("drawn in {}", out.display()));
        }
        output::finish(
            common,
            &json!({
                "start": episode.start,
                "attachments": recovered.attachments.iter().map(|attached| &attached.name).collect::<Vec<_>>(),
                "bus": recovered.bus,
                "figures": figures,
                "faults": episode.faults,
                "end": episode.end,
            }),
        );
        let is_whole = recovered.is_complete() && recovered.damage.is_none();
        Ok(if is_whole { Finish::Done } else { Finish::WithLoss })
    }
}

fn words(episode: &Episode, figures: &Figures) -> String {
    let start = &episode.start;
    let changed = episode.ticks.iter().fold(0, |all, tick| all | tick.interventions);
    let rules = Interventions::from_bits(changed as u16).to_string();
    let outcome = match (&episode.end, figures.success) {
        (None, _) => "cut off",
        (_, Some(true)) => "hit",
        (_, Some(false)) => "miss",
        (_, None) => "no whole step",
    };
    let mut text = format!(
        "{} on {} by {}, seed {}\n{outcome}, {:.1} cm from the goal after {} steps ({:.2} s at {:.1} Hz, {} gaps)\n\
         safety filter changed {} ticks{}{rules}",
        start.task,
        start.arm,
        start.policy,
        start.seed,
        100.0 * figures.final_distance_m.unwrap_or(f64::NAN),
        figures.steps,
        figures.length_s,
        figures.rate_hz.unwrap_or(f64::NAN),
        figures.gaps,
        figures.interventions,
        if rules.is_empty() { "" } else { ": " },
    );
    for fault in &episode.faults {
        text += &format!("\nfault: {}", fault.what);
    }
    text
}

fn draw(out: &Path, episode: &Episode) -> Result<()> {
    let root = SVGBackend::new(out, (1200, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((1, 3));
    draw_paths(&areas[0], episode)?;
    let begin_us = episode.ticks.first().map_or(0, |tick| tick.stamp_us);
    let seconds = |stamp_us: u64| stamp_us.saturating_sub(begin_us) as f64 * 1e-6;
    let distance: Vec<_> = episode
        .ticks
        .iter()
        .map(|tick| (seconds(tick.stamp_us), 100.0 * goal_distance_m(&tick.achieved_goal, &tick.desired_goal)))
        .collect();
    draw_lines(&areas[1], "distance to the goal, cm", &[distance])?;
    let joints = episode.ticks.iter().map(|tick| tick.joints.position_rad.len()).max().unwrap_or(0);
    let angles: Vec<Vec<_>> = (0..joints)
        .map(|joint| {
            let at = episode
                .ticks
                .iter()
                .filter_map(|tick| Some((seconds(tick.stamp_us), f64::from(*tick.joints.position_rad.get(joint)?))));
            at.collect()
        })
        .collect();
    draw_lines(&areas[2], "measured joints, rad", &angles)?;
    root.present()?;
    Ok(())
}

/// From above, seen from behind the base: x forward is up, y left is left.
fn draw_paths(area: &Area<'_>, episode: &Episode) -> Result<()> {
    let mut chart = ChartBuilder::on(area)
        .caption("puck (orange), fingertip (blue), goal", ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(0.20..-0.20, 0.06..0.42)?;
    chart.configure_mesh().x_desc("y, m").y_desc("x, m").light_line_style(TRANSPARENT).draw()?;
    let [goal_x, goal_y, _] = episode.start.goal.map(f64::from);
    let ring = (0..=24).map(|k| {
        let (sin, cos) = (f64::from(k) * std::f64::consts::TAU / 24.0).sin_cos();
        let radius_m = episode.start.success_radius_m;
        (goal_y + radius_m * sin, goal_x + radius_m * cos)
    });
    chart.draw_series(LineSeries::new(ring, BLACK.mix(0.5)))?;
    let object = episode.ticks.iter().filter_map(|tick| tick.object.map(|o| (o.position[1], o.position[0])));
    chart.draw_series(LineSeries::new(object, OBJECT.stroke_width(2)))?;
    if let Some(model) = super::model(&episode.start.arm)? {
        let kinematics = Kinematics::new(&model)?;
        let tip = episode.ticks.iter().map(|tick| {
            let [x, y, _] = kinematics.forward(&tick.joints.position_rad).position_m;
            (y, x)
        });
        chart.draw_series(LineSeries::new(tip, FINGERTIP.stroke_width(2)))?;
    }
    Ok(())
}

fn draw_lines(area: &Area<'_>, title: &str, lines: &[Vec<(f64, f64)>]) -> Result<()> {
    let points = || lines.iter().flatten();
    let end = points().map(|(x, _)| *x).fold(1e-3, f64::max);
    let (low, high) = points().fold((0.0_f64, 1e-3_f64), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..end, low..high)?;
    chart.configure_mesh().x_desc("s").light_line_style(TRANSPARENT).draw()?;
    for (index, line) in lines.iter().enumerate() {
        chart.draw_series(LineSeries::new(line.iter().copied(), Palette99::pick(index).stroke_width(1)))?;
    }
    Ok(())
}
