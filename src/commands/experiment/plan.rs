//! What an experiment's TOML file says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use hindsight::env::ChildSpec;
use hindsight::env::varied::{Goals, Reward};
use hindsight::learn::Hyper;
use hindsight::task::TaskKind;
use serde::Deserialize;
use toml::Table;

use crate::commands::world::WorldArgs;

/// Variants of one training, to be compared over the same seeds and with the same budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    title: String,
    task: Option<TaskKind>,
    env: Option<String>,
    seeds: Vec<u64>,
    env_steps: u64,
    episodes: u64,
    #[serde(default)]
    hyper: Table,
    variant: Vec<VariantFile>,
    figure: Vec<Figure>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    name: String,
    #[serde(default)]
    goals: Goals,
    #[serde(default)]
    reward: Reward,
    #[serde(default)]
    hyper: Table,
}

/// A picture of some variants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figure {
    /// The picture's file, without `.svg`.
    pub(super) file: String,
    /// What it shows.
    pub(super) title: String,
    /// Names of its variants.
    pub(super) variants: Vec<String>,
}

/// One way to learn.
#[derive(Debug)]
pub(super) struct Variant {
    /// Its name, also in its runs' files.
    pub(super) name: String,
    /// What is desired.
    pub(super) goals: Goals,
    /// What is rewarded while learning.
    pub(super) reward: Reward,
    /// All hyper-parameters: the preset's, over them the experiment's, over them the variant's.
    pub(super) hyper: Hyper,
}

/// A checked experiment.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) title: String,
    pub(super) world: WorldArgs,
    pub(super) seeds: Vec<u64>,
    /// Environment steps of each run.
    pub(super) env_steps: u64,
    /// Episodes of each evaluation at a run's end.
    pub(super) episodes: u64,
    pub(super) variants: Vec<Variant>,
    pub(super) figures: Vec<Figure>,
}

impl Plan {
    /// Reads and checks an experiment's file.
    ///
    /// # Errors
    /// It is no TOML, names something that does not exist, or a hyper-parameter is out of range.
    pub(super) fn from_toml(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let env = file.env.as_deref().map(str::parse::<ChildSpec>).transpose().map_err(anyhow::Error::msg)?;
        if file.task.is_some() == env.is_some() {
            bail!("expected either task or env");
        }
        if file.seeds.is_empty() || file.env_steps == 0 || file.episodes == 0 {
            bail!("seeds, env-steps and episodes: expected at least one of each");
        }
        let world = WorldArgs { task: file.task, env };
        let common = world.preset().hyper.changed(&file.hyper.to_string())?;
        let variant = |variant: VariantFile| {
            let changed = common.changed(&variant.hyper.to_string());
            let hyper = changed.with_context(|| format!("variant {}", variant.name))?;
            Ok(Variant { name: variant.name, goals: variant.goals, reward: variant.reward, hyper })
        };
        let variants = file.variant.into_iter().map(variant).collect::<Result<Vec<_>>>()?;
        let mut names = BTreeSet::new();
        for Variant { name, .. } in &variants {
            if !names.insert(name.as_str()) || !is_file_name(name) {
                bail!("variant {name:?}: expected a name of its own of letters, digits, - and _");
            }
        }
        for figure in &file.figure {
            if !is_file_name(&figure.file) {
                bail!("figure {:?}: expected a name of letters, digits, - and _", figure.file);
            }
            if let Some(unknown) = figure.variants.iter().find(|name| !names.contains(name.as_str())) {
                bail!("figure {}: there is no variant {unknown}", figure.file);
            }
        }
        Ok(Self {
            title: file.title,
            world,
            seeds: file.seeds,
            env_steps: file.env_steps,
            episodes: file.episodes,
            variants,
            figures: file.figure,
        })
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindsight::learn::presets::Preset;
    use hindsight::learn::{Relabel, Strategy};

    const TEXT: &str = r#"
        title = "t"
        task = "push"
        seeds = [0, 1]
        env-steps = 100
        episodes = 5
        hyper = { moved_weight = 1.0 }
        [[variant]]
        name = "plain"
        hyper = { relabel = { strategy = "future", k = 0 } }
        [[variant]]
        name = "final"
        goals = "one"
        reward = "shaped"
        hyper = { relabel = { strategy = "final", k = 8 }, tau = 0.5 }
        [[figure]]
        file = "all"
        title = "All"
        variants = ["plain", "final"]
    "#;

    #[test]
    fn a_variant_has_the_presets_then_the_experiments_then_its_own_hyper_parameters() {
        let plan = Plan::from_toml(TEXT).unwrap();
        let [plain, last] = &plan.variants[..] else { panic!("{plan:?}") };
        assert_eq!(plain.hyper.hidden, Preset::of_task(TaskKind::Push).hyper.hidden);
        assert_eq!((plain.hyper.moved_weight, plain.hyper.relabel), (1.0, Relabel::NONE));
        assert_eq!((plain.goals, plain.reward), (Goals::Many, Reward::Sparse));
        assert_eq!(last.hyper.relabel, Relabel { strategy: Strategy::Final, k: 8 });
        assert_eq!((last.hyper.tau, last.hyper.moved_weight), (0.5, 1.0));
        assert_eq!((last.goals, last.reward), (Goals::One, Reward::Shaped));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (from, to, word) in [
            ("task = \"push\"", "", "task or env"),
            ("seeds = [0, 1]", "seeds = []", "seeds"),
            ("name = \"final\"", "name = \"plain\"", "plain"),
            ("name = \"final\"", "name = \"../final\"", "../final"),
            ("\"final\"]", "\"finale\"]", "finale"),
            ("tau = 0.5", "tau = 5.0", "tau"),
            ("tau = 0.5", "taw = 0.5", "taw"),
            ("goals = \"one\"", "goal = \"one\"", "goal"),
        ] {
            let error = Plan::from_toml(&TEXT.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{to}: {error:#}");
        }
    }
    #[test]
    fn the_plans_of_the_documentation_are_plans() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/paper");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let plans: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "toml")).collect();
        assert!(plans.len() >= 3, "{plans:?}");
        for file in plans {
            let plan = Plan::from_toml(&std::fs::read_to_string(&file).unwrap());
            assert!(plan.as_ref().is_ok_and(|plan| plan.seeds.len() >= 3), "{}: {plan:?}", file.display());
        }
    }
}
