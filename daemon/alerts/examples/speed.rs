//! What the engine costs: `cargo run --release -p healthd-alerts --example speed`.
//!
//! Three routes, 10,000 checks: a quiet hour of flips with receivers that accept, the same while one receiver refuses all
//! day, and a storm of all of them with a notice each.

use healthd_alerts::{By, Config, Engine, Now, Outcome, Route, Standing};
use healthd_core::check::outcome::Verdict;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;
const CHECKS: usize = 10_000;

fn main() {
    for refuses in [false, true] {
        let mut world = World::new(By::None);
        world.refuses = refuses;
        let begun = Instant::now();
        // Thirty a second, and each problem lasts for twenty.
        for n in 0..100_000_usize {
            match n % 2 {
                0 => world.flip(n / 2 % CHECKS, Verdict::Critical),
                _ => world.flip((n / 2 + CHECKS - 300) % CHECKS, Verdict::Ok),
            }
            world.pass(SECOND / 30);
        }
        world.said("a flip", begun.elapsed() / 100_000);
    }
    let mut world = World::new(By::Check);
    let begun = Instant::now();
    for n in 0..CHECKS {
        world.flip(n, Verdict::Critical);
    }
    world.pass(60 * SECOND);
    for n in 0..CHECKS {
        world.flip(n, Verdict::Ok);
    }
    world.pass(60 * SECOND);
    world.said(
        "a check of a storm, up and down",
        begun.elapsed() / CHECKS as u32,
    );
}

struct World {
    engine: Engine,
    now: Now,
    names: Vec<String>,
    refuses: bool,
    deliveries: u64,
    records: u64,
}

impl World {
    fn new(by: By) -> World {
        let route = |name: &str| {
            Arc::new(Route {
                by: by.clone(),
                ..Route::new(name, "mail")
            })
        };
        let now = Now {
            mono: SECOND,
            wall: 1_800_000_000 * SECOND,
        };
        let mut engine = Engine::new(now.wall);
        let config = Config {
            routes: vec![route("a"), route("b"), route("c")],
            maintenance: Vec::new(),
        };
        engine.configure(config, now, &|_| None);
        let names = (0..CHECKS)
            .map(|n| format!("rack-{}/host-{n}", n % 40))
            .collect();
        World {
            engine,
            now,
            names,
            refuses: false,
            deliveries: 0,
            records: 0,
        }
    }

    fn flip(&mut self, n: usize, verdict: Verdict) {
        let standing = Standing {
            verdict,
            message: "connect: connection refused".into(),
            since: self.now.wall,
            labels: Arc::default(),
            was: Verdict::Pending,
            behind: None,
            flap: None,
        };
        self.engine.change(&self.names[n], standing, self.now);
    }

    fn pass(&mut self, ns: u64) {
        let end = self.now.mono + ns;
        loop {
            let output = self.engine.step(self.now);
            self.records += output.records.len() as u64;
            for delivery in &output.deliver {
                self.deliveries += 1;
                let outcome = match self.refuses && &*delivery.route == "a" {
                    true => Outcome::Refused {
                        reason: "404".into(),
                        retry_after: None,
                    },
                    false => Outcome::Accepted {
                        receipt: "250".into(),
                    },
                };
                self.engine.outcome(delivery.id, outcome, self.now);
            }
            if output.deliver.is_empty() {
                let next = output.next.unwrap_or(end).min(end);
                if next == self.now.mono || next == end && self.now.mono == end {
                    return;
                }
                self.now.wall += next - self.now.mono;
                self.now.mono = next;
                if next == end {
                    return;
                }
            }
        }
    }

    fn said(&self, what: &str, each: Duration) {
        let (deliveries, records) = (self.deliveries, self.records);
        let open = self.engine.report(self.now).notices.len();
        let who = if self.refuses {
            ", one receiver refuses"
        } else {
            ""
        };
        println!(
            "{what}{who}: {each:?}; {deliveries} deliveries, {records} records, {open} notices open"
        );
    }
}
