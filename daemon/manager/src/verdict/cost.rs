//! What checks and plugins cost: CPU, time, waits, hangs, and what they leave behind.
//!
//! Counted since this manager's start. A plugin's account outlives reloads and generations.

use healthd_core::check::fault::Fault;
use healthd_core::wire::control::{Cost, PluginCost};
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::{Ending, Growth};
use std::collections::BTreeMap;

/// Of a check, or of all checks of a plugin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub cpu_ns: u64,
    pub wall_ns: u64,
    pub queue_ns: u64,
    /// Calls into the plugin.
    pub steps: u64,
    pub runs: u64,
    pub grew_kb: i64,
    pub grew_fds: i32,
    /// Calls that were not back at their deadline, each with a thread written off.
    pub overruns: u32,
    /// Calls that blocked a reactor.
    pub stalls: u32,
    /// Workers that died of it.
    pub crashes: u32,
}

impl Tally {
    pub(super) fn finished(&mut self, f: &Report<'_>) {
        // A worker may say anything.
        add(&mut self.cpu_ns, f.cpu_ns);
        add(
            &mut self.wall_ns,
            f.finished_ns.saturating_sub(f.started_ns),
        );
        add(&mut self.queue_ns, f.queue_ns);
        add(&mut self.steps, u64::from(f.steps));
        self.runs += 1;
        self.stalls = self.stalls.saturating_add(f.stalls);
        self.overruns += u32::from(f.ending == Ending::Fault(Fault::Overrun));
        self.grew(f.grew);
    }

    pub fn grew(&mut self, grew: Growth) {
        self.grew_kb = self.grew_kb.saturating_add(i64::from(grew.kb));
        self.grew_fds = self.grew_fds.saturating_add(grew.fds);
    }

    pub fn shown(&self) -> Cost {
        Cost {
            runs: self.runs,
            cpu_ms: ms(self.cpu_ns),
            wall_ms: ms(self.wall_ns),
            queue_ms: ms(self.queue_ns),
            steps: self.steps,
            overruns: u64::from(self.overruns),
            stalls: u64::from(self.stalls),
            crashes: u64::from(self.crashes),
            grew_kb: self.grew_kb,
            grew_fds: i64::from(self.grew_fds),
        }
    }
}

/// Wall times of a plugin's runs, by size: four steps for each doubling, from 1 us to some hours.
#[derive(Clone, Debug)]
pub struct Walls([u32; Walls::STEPS]);

impl Default for Walls {
    fn default() -> Walls {
        Walls([0; Walls::STEPS])
    }
}

impl Walls {
    const STEPS: usize = 4 * 34;

    pub(super) fn add(&mut self, ns: u64) {
        let us = (ns / 1000).max(1);
        let octave = us.ilog2();
        let quarter = if octave >= 2 {
            (us >> (octave - 2)) & 3
        } else {
            0
        };
        let place = (4 * octave as usize + quarter as usize).min(Walls::STEPS - 1);
        self.0[place] = self.0[place].saturating_add(1);
    }

    /// That below which this part of the runs lies, in ms; None: there were none.
    fn quantile(&self, part: f64) -> Option<f64> {
        let total: u64 = self.0.iter().map(|n| u64::from(*n)).sum();
        let wanted = (total as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let place = self.0.iter().position(|n| {
            seen += u64::from(*n);
            seen >= wanted
        })?;
        let lower = 2f64.powi(place as i32 / 4) * (1.0 + (place % 4) as f64 / 4.0);
        // The middle of the step, which is a quarter of its octave wide.
        let middle = lower + 2f64.powi(place as i32 / 4) / 8.0;
        Some(middle.round() / 1e3)
    }
}

#[derive(Clone, Debug, Default)]
pub struct PluginTally {
    pub tally: Tally,
    pub(super) walls: Walls,
}

/// By the plugin's name.
#[derive(Debug, Default)]
pub struct Costs(BTreeMap<String, PluginTally>);

impl Costs {
    pub fn of(&mut self, plugin: &str) -> &mut PluginTally {
        if !self.0.contains_key(plugin) {
            self.0.insert(plugin.to_owned(), PluginTally::default());
        }
        self.0.get_mut(plugin).expect("just seen to")
    }

    pub fn shown(&self, plugin: &str, stuck_threads: u64) -> PluginCost {
        let all = self.0.values().map(|p| p.tally.cpu_ns as f64).sum::<f64>();
        let none = PluginTally::default();
        let p = self.0.get(plugin).unwrap_or(&none);
        PluginCost {
            cost: p.tally.shown(),
            cpu_share: (all > 0.0).then(|| rounded(p.tally.cpu_ns as f64 / all)),
            wall_p50_ms: p.walls.quantile(0.5),
            wall_p99_ms: p.walls.quantile(0.99),
            stuck_threads,
        }
    }
}

pub(super) fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

fn ms(ns: u64) -> f64 {
    rounded(ns as f64 / 1e6)
}

/// Six digits behind the point: the ns of a ms.
fn rounded(n: f64) -> f64 {
    (n * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_the_truth() {
        let mut walls = Walls::default();
        assert_eq!(walls.quantile(0.5), None);
        for ms in 1..=1000 {
            walls.add(ms * 1_000_000);
        }
        for (part, truth) in [(0.5, 500.0), (0.99, 990.0), (0.01, 10.0)] {
            let found = walls.quantile(part).expect("there are some");
            assert!((found / truth - 1.0).abs() < 0.2, "{part}: {found}");
        }
        let mut walls = Walls::default();
        walls.add(0);
        assert!(walls.quantile(0.5).is_some_and(|ms| ms < 0.01));
        walls.add(u64::MAX);
        assert!(walls.quantile(1.0).is_some_and(|ms| ms > 1e6));
    }
}
