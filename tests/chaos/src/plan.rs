//! What is done to the daemon, in which order: a function of the seed alone.
//!
//! Rounds of every kind of step once, each round in its own order; so any run of a few minutes has met them all.

use crate::random::Random;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    KillWorker {
        nth: u64,
    },
    KillAllWorkers,
    StopWorker {
        nth: u64,
        ms: u64,
    },
    KillManager,
    /// Killed while it applies a reload.
    KillManagerInReload {
        after_us: u64,
    },
    KillWorkerInReload {
        nth: u64,
        after_us: u64,
    },
    /// SIGSTOP, and SIGCONT before anybody takes offence.
    StopManager {
        ms: u64,
    },
    /// SIGSTOP until it is replaced.
    SilenceManager,
    StopSupervisor {
        ms: u64,
    },
    /// SIGKILL, and a new start as a service manager would do it.
    KillSupervisor,
    /// SIGTERM, and a new start.
    RestartService,
    StopAll {
        ms: u64,
    },
    Hangup,
    AddChecks {
        n: u64,
    },
    RemoveChecks,
    Pool {
        workers: u64,
    },
    BadConfig {
        kind: &'static str,
    },
    /// A bad file on disk, and the manager dies.
    BadConfigAndManagerDeath,
    Upgrade {
        nth: u64,
    },
    BadPlugin {
        variant: &'static str,
    },
    Misbehave {
        how: &'static str,
    },
    Pause {
        n: u64,
    },
    RunAll,
    FillState,
    FillRuntime {
        nth: u64,
    },
    FewFds {
        role: &'static str,
        ms: u64,
    },
    LittleMemory {
        role: &'static str,
        ms: u64,
    },
    Clock {
        seconds: i64,
    },
    Hostile {
        kind: &'static str,
    },
    /// Who may only look asks and asks.
    Readers {
        n: u64,
    },
    /// Servers answer as no server should.
    Servers {
        how: &'static str,
    },
    /// Plugins try what no plugin may.
    Attack {
        times: u64,
    },
    /// Checks are bad for a while, and people are to be told.
    Outage {
        checks: u64,
        /// What receivers do meanwhile.
        how: &'static str,
        /// So often notifiers are killed.
        kills: u64,
    },
}

pub const BAD_CONFIGS: [&str; 5] = ["syntax", "key", "type", "plugin", "gone"];
pub const BAD_PLUGINS: [&str; 11] = [
    "MAGIC",
    "FLAG",
    "NO_LANE",
    "CTOR_CRASH",
    "CTOR_HANG",
    "CTOR_EXIT",
    "INIT_CRASH",
    "INIT_FAIL",
    "garbage",
    "empty",
    "removed",
];
pub const MISBEHAVIOURS: [&str; 20] = [
    "segv",
    "abort",
    "bus",
    "ill",
    "fpe",
    "stack",
    "kill",
    "exit",
    "fork",
    "rubbish",
    "huge",
    "stall",
    "hang",
    "create",
    "step",
    "destroy",
    "panic",
    "panic-step",
    "leak",
    "fd-leak",
];
pub const RECEIVERS: [&str; 5] = ["accept", "refuse", "busy", "swallow", "hang"];
pub const HOSTILE: [&str; 6] = ["garbage", "long", "crowd", "deaf", "half", "flood"];

impl Step {
    pub fn kind(&self) -> &'static str {
        match self {
            Step::KillWorker { .. } => "kill a worker",
            Step::KillAllWorkers => "kill all workers",
            Step::StopWorker { .. } => "stop a worker",
            Step::KillManager => "kill the manager",
            Step::KillManagerInReload { .. } => "kill the manager in a reload",
            Step::KillWorkerInReload { .. } => "kill a worker in a reload",
            Step::StopManager { .. } => "stop the manager for a while",
            Step::SilenceManager => "stop the manager for good",
            Step::StopSupervisor { .. } => "stop the supervisor",
            Step::KillSupervisor => "kill the supervisor",
            Step::RestartService => "restart the service",
            Step::StopAll { .. } => "stop every process",
            Step::Hangup => "reload without a change",
            Step::AddChecks { .. } => "add checks",
            Step::RemoveChecks => "remove checks",
            Step::Pool { .. } => "change the pool",
            Step::BadConfig { .. } => "bad config",
            Step::BadConfigAndManagerDeath => "bad config and the manager dies",
            Step::Upgrade { .. } => "new plugin bytes",
            Step::BadPlugin { .. } => "broken plugin",
            Step::Misbehave { .. } => "misbehaving plugin",
            Step::Pause { .. } => "pause and resume",
            Step::RunAll => "run everything now",
            Step::FillState => "fill the state disk",
            Step::FillRuntime { .. } => "fill the runtime disk",
            Step::FewFds { .. } => "few descriptors",
            Step::LittleMemory { .. } => "little memory",
            Step::Clock { .. } => "step the wall clock",
            Step::Hostile { .. } => "hostile clients",
            Step::Readers { .. } => "hostile readers",
            Step::Servers { .. } => "hostile servers",
            Step::Attack { .. } => "hostile plugins",
            Step::Outage { .. } => "an outage that people are told of",
        }
    }

    /// How much later than its interval a check may run once the fault is over: what the daemon needs to notice,
    /// replace and go on, by its own limits. The machine's slack comes on top.
    pub fn allowance(&self) -> Duration {
        let s = match self {
            // Noticed at once; a start takes milliseconds.
            Step::KillWorker { .. } | Step::KillAllWorkers | Step::KillWorkerInReload { .. } => 1,
            // A silent worker has four seconds, and the looks at it are a quarter apart.
            Step::StopWorker { .. } => 6,
            // A start of everything; what the supervisor waits before it comes on top.
            Step::KillManager
            | Step::KillManagerInReload { .. }
            | Step::BadConfigAndManagerDeath
            | Step::SilenceManager
            | Step::KillSupervisor
            | Step::RestartService => 4,
            Step::StopManager { .. } | Step::StopSupervisor { .. } => 2,
            // Everybody is granted a full beat after a gap.
            Step::StopAll { .. } => 6,
            Step::Hangup
            | Step::AddChecks { .. }
            | Step::RemoveChecks
            | Step::Pool { .. }
            | Step::BadConfig { .. }
            | Step::Upgrade { .. }
            | Step::Pause { .. }
            | Step::RunAll
            | Step::Clock { .. } => 2,
            // Starts of workers that fail are tried again later and later.
            Step::BadPlugin { .. } | Step::FillRuntime { .. } | Step::LittleMemory { .. } => 10,
            // A blocked reactor is found after a second and a quarter; a wedged worker after four.
            Step::Misbehave { .. } => 6,
            Step::FillState => 2,
            Step::FewFds { .. } => 6,
            Step::Hostile { .. } | Step::Readers { .. } | Step::Attack { .. } => 3,
            // A run that is under way has its time.
            Step::Servers { .. } => 4,
            // The manager may have been killed in it.
            Step::Outage { .. } => 4,
        };
        Duration::from_secs(s)
    }
}

/// Without end: the caller stops when its time is over.
pub struct Plan {
    random: Random,
    round: Vec<Step>,
    turn: usize,
    misbehaviours: Vec<&'static str>,
    variants: Vec<&'static str>,
    manners: Vec<&'static str>,
}

impl Plan {
    pub fn new(seed: u64) -> Plan {
        Plan {
            random: Random::new(seed),
            round: Vec::new(),
            turn: 0,
            misbehaviours: Vec::new(),
            variants: Vec::new(),
            manners: Vec::new(),
        }
    }

    fn next_of(
        list: &mut Vec<&'static str>,
        all: &[&'static str],
        random: &mut Random,
    ) -> &'static str {
        if list.is_empty() {
            list.extend(all);
            random.shuffle(list);
        }
        list.pop().unwrap_or(all[0])
    }

    fn next_round(&mut self) {
        let r = &mut self.random;
        let role = |r: &mut Random| r.one_of(&["worker io", "worker exec", "manager"]);
        let mut round = vec![
            Step::KillWorker { nth: r.next() },
            Step::KillAllWorkers,
            Step::StopWorker {
                nth: r.next(),
                ms: r.between(200, 7000),
            },
            Step::KillManagerInReload {
                after_us: r.between(0, 60_000),
            },
            Step::KillWorkerInReload {
                nth: r.next(),
                after_us: r.between(0, 60_000),
            },
            Step::StopManager {
                ms: r.between(200, 4000),
            },
            Step::StopSupervisor {
                ms: r.between(200, 4000),
            },
            Step::StopAll {
                ms: r.between(200, 5000),
            },
            Step::Hangup,
            Step::AddChecks {
                n: r.between(1, 30),
            },
            Step::RemoveChecks,
            Step::Pool {
                workers: r.between(1, 5),
            },
            Step::BadConfig {
                kind: r.one_of(&BAD_CONFIGS),
            },
            Step::Upgrade { nth: r.next() },
            Step::Pause { n: r.below(4) },
            Step::RunAll,
            Step::FillState,
            Step::FillRuntime { nth: r.next() },
            Step::FewFds {
                role: role(r),
                ms: r.between(500, 3000),
            },
            Step::LittleMemory {
                role: role(r),
                ms: r.between(500, 3000),
            },
            Step::Clock {
                seconds: r.one_of(&[-86_400, -3600, -30, 30, 3600, 86_400]),
            },
            Step::Hostile {
                kind: r.one_of(&HOSTILE),
            },
            Step::Readers { n: r.between(2, 8) },
            Step::Servers {
                how: Self::next_of(&mut self.manners, &crate::hostile::MANNERS, r),
            },
            Step::Attack {
                times: r.between(1, 20),
            },
        ];
        for _ in 0..2 {
            round.push(Step::Outage {
                checks: r.between(1, crate::people::CHECKS),
                how: r.one_of(&RECEIVERS),
                kills: r.below(3),
            });
        }
        for _ in 0..2 {
            let variant = Self::next_of(&mut self.variants, &BAD_PLUGINS, r);
            round.push(Step::BadPlugin { variant });
        }
        for _ in 0..4 {
            let how = Self::next_of(&mut self.misbehaviours, &MISBEHAVIOURS, r);
            round.push(Step::Misbehave { how });
        }
        // One of these a round: each costs a start of everything.
        round.push(match self.turn % 5 {
            0 => Step::KillManager,
            1 => Step::KillSupervisor,
            2 => Step::BadConfigAndManagerDeath,
            3 => Step::SilenceManager,
            _ => Step::RestartService,
        });
        r.shuffle(&mut round);
        self.round = round;
        self.turn += 1;
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.round.is_empty() {
            self.next_round();
        }
        self.round.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_seed_is_a_list_of_steps() {
        let steps = |seed| Plan::new(seed).take(500).collect::<Vec<_>>();
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn a_run_of_half_an_hour_meets_every_kind() {
        let steps: Vec<Step> = Plan::new(1).take(300).collect();
        let kinds: HashSet<&str> = steps.iter().map(Step::kind).collect();
        assert_eq!(kinds.len(), 33, "{kinds:?}");
        let how: HashSet<&str> = (steps.iter())
            .filter_map(|s| match s {
                Step::Misbehave { how } => Some(*how),
                _ => None,
            })
            .collect();
        assert_eq!(how.len(), MISBEHAVIOURS.len());
    }
}
