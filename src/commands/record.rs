//! Where episodes are recorded, and what their files say beside what happened.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use firmware_bridge::JointLimits;
use hindsight::episode::{Attachment, EpisodeStart, Folder};
use hindsight::task::Region;
use serde_json::json;

use super::rig::{RigArgs, Setup};

/// Where episodes are recorded, and what their files say about arm, policy and program.
pub(super) struct Record {
    pub folder: Folder,
    pub label: EpisodeStart,
    /// Files to keep within each episode's.
    pub attachments: Vec<Attachment>,
}

impl Record {
    /// Of episodes on `rig` into the folder `out`; `acts` says who acts, in its policy and metadata.
    ///
    /// # Errors
    /// The folder takes no files, or the calibration cannot be read.
    pub(super) fn new(out: &Path, rig: &RigArgs, setup: &Setup, acts: EpisodeStart) -> Result<Self> {
        let mut label = EpisodeStart {
            arm: rig.arm.name().into(),
            software: concat!("hindsight ", env!("CARGO_PKG_VERSION")).into(),
            ..acts
        };
        label.metadata.extend(metadata(rig, setup)?);
        let attachments = attachments(rig, setup)?;
        Ok(Self { folder: Folder::create_to_record(out)?, label, attachments })
    }
}

/// What somebody needs who reads an episode years later: the arm's description, what ties its servos' ticks to angles,
/// and the task's numbers.
fn attachments(rig: &RigArgs, setup: &Setup) -> Result<Vec<Attachment>> {
    let file = |name: &str, media_type: &str, bytes: Vec<u8>| Attachment {
        name: name.into(),
        media_type: media_type.into(),
        bytes,
    };
    let mut files = vec![file(&format!("{}.urdf", rig.arm.name()), "application/xml", rig.arm.urdf().into())];
    if let Some(calibration) = &rig.calibration {
        let bytes = std::fs::read(calibration).with_context(|| format!("cannot read {}", calibration.display()))?;
        files.push(file("calibration.json", "application/json", bytes));
    }
    let (task, limits) = (&setup.task, setup.model.limits());
    let region = |region: &Region| json!({ "lower_m": region.lower, "upper_m": region.upper });
    let limit = |limit: &JointLimits| json!({ "lower_rad": limit.lower_rad, "upper_rad": limit.upper_rad, "velocity_rad_s": limit.velocity_rad_s });
    let settings = json!({
        "task": task.kind.name(),
        "goals": region(&task.goals),
        "objects": task.objects.as_ref().map(region),
        "success_radius_m": task.success_radius_m,
        "limits": limits.iter().map(limit).collect::<Vec<_>>(),
    });
    files.push(file("settings.json", "application/json", serde_json::to_vec_pretty(&settings)?));
    Ok(files)
}

/// What else is worth keeping with an episode.
fn metadata(rig: &RigArgs, setup: &Setup) -> Result<BTreeMap<String, String>> {
    let place = if rig.is_simulated() { "simulator" } else { "port" };
    let mut metadata = BTreeMap::from([("place".to_owned(), place.to_owned())]);
    if rig.is_simulated() {
        metadata.insert("arm_params".into(), params(&setup.drawn)?);
        metadata.insert("twin_params".into(), params(&setup.twin)?);
    }
    Ok(metadata)
}

fn params(params: &sim::SimParams) -> Result<String> {
    serde_json::to_string(params).context("cannot write the simulated arm's parameters")
}
