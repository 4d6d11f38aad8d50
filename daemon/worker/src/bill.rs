//! What a run costs, settled once a turn.
//!
//! Reading a thread's CPU clock is a system call, and takes longer than many a step. So the reactor reads it
//! once a turn, and shares that time out among the short steps of the turn by the wall time of each; after a
//! long one, where it does not matter, it is read at once. What a call leaves behind is measured only while the
//! manager asks for it, since that costs more still.

use crate::outbox::Outbox;
use crate::reactor::Reactor;
use healthd_core::wire::worker::{Growth, RunEnd, ToManager};
use healthd_loader::Results;
use healthd_sys::clock;
use healthd_sys::usage::{Gauge, Usage};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A step that took so long has the clock read for itself.
const LONG_NS: u64 = 250_000;

/// Of one run, up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bill {
    pub cpu_ns: u64,
    /// Wall time of its steps in this turn: becomes CPU time at the turn's end.
    unsettled_ns: u64,
    pub steps: u32,
    pub stalls: u32,
    pub blocked: u32,
    pub grew: Growth,
}

impl Bill {
    /// A step has come back.
    pub fn step(&mut self, turn: &mut Turn, took_ns: u64, grew: Growth) {
        self.steps = self.steps.saturating_add(1);
        self.grew.add(grew);
        if took_ns < LONG_NS {
            self.unsettled_ns += took_ns;
            turn.short_ns += took_ns;
        } else {
            self.cpu_ns += turn.long(took_ns);
        }
    }

    /// A call on a thread of its own has come back.
    pub fn call(&mut self, cpu_ns: u64, grew: Growth) {
        self.steps = self.steps.saturating_add(1);
        self.cpu_ns += cpu_ns;
        self.grew.add(grew);
    }
}

/// The reactor's turn under way.
#[derive(Default)]
pub struct Turn {
    /// The thread's CPU clock up to which all is billed.
    cpu_before: u64,
    /// Wall time of its short and of its long steps.
    short_ns: u64,
    long_ns: u64,
    /// Runs that were stepped, also those that have ended since.
    pub(crate) stepped: Vec<u64>,
    /// Results, until it is known what they cost.
    pub(crate) ended: Vec<Ended>,
}

pub(crate) struct Ended {
    pub key: u64,
    pub end: RunEnd,
    pub said: Results,
    unsettled_ns: u64,
    pub leave_by: u64,
}

impl Turn {
    pub fn stepped(&mut self, key: u64) {
        self.stepped.push(key);
    }

    /// CPU time of a long step that has just come back.
    fn long(&mut self, took_ns: u64) -> u64 {
        self.long_ns += took_ns;
        let since = clock::thread_cpu_ns() - self.cpu_before;
        let used = since.saturating_sub(self.short_ns).min(took_ns);
        self.cpu_before += used;
        used
    }

    pub fn ended(&mut self, key: u64, end: RunEnd, said: Results, bill: &Bill, leave_by: u64) {
        self.ended.push(Ended {
            key,
            end,
            said,
            unsettled_ns: bill.unsettled_ns,
            leave_by,
        });
    }
}

impl Reactor {
    /// The end of a turn that took `turn_ns`: each step gets its share, and results are on their way.
    pub(crate) fn settle(&mut self, turn_ns: u64) {
        let cpu = clock::thread_cpu_ns();
        let used = cpu - std::mem::replace(&mut self.turn.cpu_before, cpu);
        let turn_ns = turn_ns.saturating_sub(std::mem::take(&mut self.turn.long_ns));
        self.turn.short_ns = 0;
        let share = |wall: u64| {
            // The thread may have been kept from its core, and then wall time is more than it used.
            let part = u128::from(wall) * u128::from(used.min(turn_ns));
            (part / u128::from(turn_ns.max(1))) as u64
        };
        let mut stepped = std::mem::take(&mut self.turn.stepped);
        for key in stepped.drain(..) {
            if let Some(at) = self.find(key) {
                let bill = &mut self.active[at].bill;
                bill.cpu_ns += share(std::mem::take(&mut bill.unsettled_ns));
            }
        }
        // Kept for the room that it has.
        self.turn.stepped = stepped;
        for mut ended in self.turn.ended.drain(..) {
            ended.end.cpu_ns += share(ended.unsettled_ns);
            self.outbox.result(&ended.end, &ended.said, ended.leave_by);
            self.spare.said(ended.said);
        }
    }
}

/// What comes after a run's end was told.
pub fn late(outbox: &mut Outbox, (check, epoch): (u32, u32), cpu_ns: u64, grew: Growth) {
    if cpu_ns > 0 || grew != Growth::default() {
        outbox.say(&ToManager::Billed {
            check,
            epoch,
            cpu_ns,
            grew,
        });
    }
}

static MEASURING: AtomicBool = AtomicBool::new(false);
static GAUGE: OnceLock<Option<Gauge>> = OnceLock::new();

pub fn measure(on: bool) {
    MEASURING.store(on, Ordering::Relaxed);
}

/// Before a call; None: it is not asked for.
pub fn look() -> Option<Usage> {
    if !MEASURING.load(Ordering::Relaxed) {
        return None;
    }
    let gauge = GAUGE.get_or_init(|| Gauge::of(None).ok());
    gauge.as_ref()?.read().ok()
}

/// After it.
pub fn grown_since(before: Option<Usage>) -> Growth {
    let (Some(before), Some(after)) = (before, before.and_then(|_| look())) else {
        return Growth::default();
    };
    let less = |a: u64, b: u64| i32::try_from(a as i64 - b as i64).unwrap_or(i32::MAX);
    Growth {
        kb: less(after.rss_kb, before.rss_kb),
        fds: less(after.fds, before.fds),
    }
}
