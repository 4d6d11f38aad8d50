//! `alerts replay`: what a config would have sent, had it been in force while this happened. Every receiver accepts.

use crate::check::Standing;
use crate::delivery::{Kind, Outcome};
use crate::engine::Engine;
use crate::route::Config;
use crate::time::{MINUTE, Now};
use std::sync::Arc;

/// A verdict that was reached, or (`standing` is None) a check that was removed.
#[derive(Clone, Debug)]
pub struct Flip {
    /// CLOCK_REALTIME, ns.
    pub at: u64,
    pub name: String,
    pub standing: Option<Standing>,
}

/// A message that would have been sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub at: u64,
    pub route: Arc<str>,
    pub kind: Kind,
    pub notice: u64,
    pub checks: Vec<Arc<str>>,
}

/// The flips in their order, and on to `until` (CLOCK_REALTIME, ns).
pub fn replay(flips: &[Flip], config: Config, until: u64) -> Vec<Sent> {
    let start = flips.first().map_or(until, |flip| flip.at);
    let mut clock = Clock { start, now: start };
    let mut engine = Engine::new(start);
    engine.configure(config, clock.time(), &|_| None);
    let mut sent = Vec::new();
    for flip in flips {
        clock.run_to(&mut engine, flip.at, &mut sent);
        match &flip.standing {
            Some(standing) => engine.change(&flip.name, standing.clone(), clock.time()),
            None => engine.removed(&flip.name, clock.time()),
        }
    }
    clock.run_to(&mut engine, until, &mut sent);
    sent
}

struct Clock {
    start: u64,
    now: u64,
}

impl Clock {
    /// One clock for both: the history has no steps in it.
    fn time(&self) -> Now {
        Now {
            mono: self.now - self.start + 10 * MINUTE,
            wall: self.now,
        }
    }

    fn run_to(&mut self, engine: &mut Engine, until: u64, sent: &mut Vec<Sent>) {
        loop {
            let output = engine.step(self.time());
            let mut any = false;
            for delivery in output.deliver {
                any = true;
                sent.push(Sent {
                    at: self.now,
                    route: delivery.route,
                    kind: delivery.kind,
                    notice: delivery.notice,
                    checks: delivery.checks.into_iter().map(|line| line.name).collect(),
                });
                let receipt = String::new();
                engine.outcome(delivery.id, Outcome::Accepted { receipt }, self.time());
            }
            if any {
                continue;
            }
            let ahead = |mono: u64| {
                self.now
                    .saturating_add(mono.saturating_sub(self.time().mono))
            };
            match output.next.map(ahead) {
                Some(next) if next <= until && next > self.now => self.now = next,
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }
}
