//! What changes while a run's budget is spent.

use super::hyper::Hyper;

/// Share of a budget over which a run turns from its critics to imitation, and over which exploration falls.
const TURN: f64 = 0.03;
/// Share of a budget by which exploration falls earlier.
const EARLIER: f64 = 0.02;

/// Where a run stands between its beginning and its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    /// Factor on all learning rates, in 0..=1.
    pub(crate) rates: f64,
    /// Factor on [`Hyper::epsilon`] and [`Hyper::sigma`], in 0..=1.
    pub(crate) exploration: f32,
    /// How much of the actor's loss is imitation, in 0..=1; the rest is the critics'.
    pub(crate) imitation: f32,
}

impl Schedule {
    /// A run without a budget: nothing changes.
    pub(crate) const STEADY: Self = Self { rates: 1.0, exploration: 1.0, imitation: 0.0 };

    /// When `spent` of the budget is. Rates stay for the first half and then fall linearly to
    /// [`Hyper::final_rate_share`], exploration likewise to [`Hyper::final_exploration_share`]. Imitation takes over from
    /// [`Hyper::imitate_from`] on. Exploration falls to nothing before: an end that was due to a random action says little
    /// about the actions that led there. That goals are missed is variety enough.
    pub(crate) fn at(spent: f64, hyper: &Hyper) -> Self {
        let late = (2.0 * spent - 1.0).clamp(0.0, 1.0);
        let since = |from: f64| ((spent - from) / TURN).clamp(0.0, 1.0) as f32;
        let (quieted, turned) = match hyper.imitate_from {
            from if from >= 1.0 => (0.0, 0.0),
            from if from <= 0.0 => (1.0, 1.0),
            from => (since(from - EARLIER), since(from)),
        };
        let falling = |to: f64| 1.0 - late * (1.0 - to);
        Self {
            rates: falling(hyper.final_rate_share),
            exploration: falling(hyper.final_exploration_share) as f32 * (1.0 - quieted),
            imitation: turned,
        }
    }

    /// Whether nobody asks the critics any more; they then learn nothing either.
    pub(crate) fn critics_rest(self) -> bool {
        self.imitation >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_fall_over_the_second_half_of_the_budget() {
        let hyper = Hyper { final_rate_share: 0.1, ..Hyper::default() };
        for (spent, share) in [(0.0, 1.0), (0.5, 1.0), (0.75, 0.55), (1.0, 0.1), (1.2, 0.1)] {
            let schedule = Schedule::at(spent, &hyper);
            assert!((schedule.rates - share).abs() < 1e-12, "{spent}");
            assert_eq!(Schedule { rates: 1.0, ..schedule }, Schedule::STEADY);
        }
    }

    #[test]
    fn exploration_falls_with_the_learning_rates_where_it_shall() {
        let hyper = Hyper { final_exploration_share: 0.2, ..Hyper::default() };
        for (spent, share) in [(0.0, 1.0), (0.5, 1.0), (0.75, 0.6), (1.0, 0.2), (1.2, 0.2)] {
            assert!((Schedule::at(spent, &hyper).exploration - share).abs() < 1e-6, "{spent}");
        }
        let imitating = Hyper { imitate_from: 0.4, ..hyper };
        assert_eq!(Schedule::at(0.75, &imitating).exploration, 0.0);
    }

    #[test]
    fn exploration_falls_before_imitation_takes_over() {
        let at = |from, spent| {
            let Schedule { exploration, imitation, .. } =
                Schedule::at(spent, &Hyper { imitate_from: from, ..Hyper::default() });
            [exploration, imitation].map(|share| (share * 1e4).round() / 1e4)
        };
        assert_eq!(at(0.4, 0.38), [1.0, 0.0]);
        assert_eq!(at(0.4, 0.4), [0.3333, 0.0]);
        assert_eq!(at(0.4, 0.41), [0.0, 0.3333]);
        assert_eq!(at(0.4, 0.43), [0.0, 1.0]);
        assert_eq!(at(0.4, 1.0), [0.0, 1.0]);
        assert_eq!(at(0.0, 0.0), [0.0, 1.0]);
        assert_eq!(at(1.0, 1.0), [1.0, 0.0]);
        let rest = |spent| Schedule::at(spent, &Hyper { imitate_from: 0.4, ..Hyper::default() }).critics_rest();
        assert!(rest(0.431) && !rest(0.429));
    }
}
