//! A worker that holds too much, or has done enough, makes room for another before it hurts (`replacement.rs`).
//! Only one that grows faster than it can drain is killed, at its limit: then its runs go elsewhere.

use crate::director::{Chore, Manager};
use crate::fleet::chunks::FDS_A_PARENT;
use crate::fleet::slots::SlotState;
use crate::rollout::worker_plan::settings;
use crate::time::MS;
use healthd_core::config::Limits;
use healthd_core::text::field;
use healthd_core::wire::maps::{Entry, worker_header as h};
use healthd_core::wire::supervisor::WorkerClass;
use healthd_core::wire::worker::{Growth, ToWorker};
use healthd_sys::clock;
use healthd_sys::usage::{Gauge, Usage};
use healthd_units::size;

/// From this part of a limit on a worker is replaced...
const SOFT: (u64, u64) = (3, 4);
/// ...from this on without much waiting...
const URGENT: (u64, u64) = (7, 8);
/// ...if it has grown by this part of the limit since it came up...
const GROWTH: u64 = 8;
/// ...and from this on its calls are measured, so that it is known whose they are.
const SUSPICIOUS: (u64, u64) = (1, 2);
/// One that reaches its limit sooner has the next replacement wait: first so long, then twice as long...
const SHORT_LIFE_NS: u64 = 60_000 * MS;
const PAUSE_FIRST_NS: u64 = 1_000 * MS;
const PAUSE_LAST_NS: u64 = 300_000 * MS;
const FDS_A_CHUNK: u64 = 2;
/// One whose memory could pass its limit and fall again unseen is looked at so often: while it grows fast...
const CLOSELY_EVERY_NS: u64 = 20 * MS;
const FAST_NS: u64 = 250 * MS;
/// ...and after its peak was above the limit between two looks.
const PEAKED_NS: u64 = 60_000 * MS;

/// How quickly the workers of a pool are replaced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    /// When the last was.
    last_ns: u64,
    pause_ns: u64,
}

impl Backoff {
    /// A worker is to go that lived so long. Some: the pause after the next, when it has just become longer
    /// than the least.
    pub fn replaced(&mut self, life_ns: u64, now: u64) -> Option<u64> {
        self.last_ns = now;
        if life_ns >= SHORT_LIFE_NS {
            self.pause_ns = 0;
            return None;
        }
        let first = self.pause_ns == 0;
        self.pause_ns = (self.pause_ns * 2).clamp(PAUSE_FIRST_NS, PAUSE_LAST_NS);
        first.then_some(self.pause_ns)
    }

    /// Who would else reach the limit need not wait for long.
    fn allows(&self, urgent: bool, now: u64) -> bool {
        let pause = match urgent {
            true => self.pause_ns.min(PAUSE_FIRST_NS),
            false => self.pause_ns,
        };
        self.last_ns == 0 || now.saturating_sub(self.last_ns) >= pause
    }
}

/// What a look at a worker's use says.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Fine,
    /// It is worth knowing whose calls do it.
    Suspicious,
    /// Another is to take its place.
    Soft {
        why: String,
        /// The limit is near, and it grows.
        urgent: bool,
    },
    /// It has to go at once.
    Hard(String),
}

/// Threads beside those of its lanes: nobody needs so many, and a machine has some ten thousand.
const MAX_THREADS: u64 = 512;

/// `fresh`: what it held when it had just come up. A limit below that cannot be kept by another worker either,
/// so only growth makes it pressing.
fn judge(limits: &Limits, open_files: u64, explained: Usage, fresh: Usage, used: Usage) -> Finding {
    let reached = |n: u64, limit: u64, (part, of): (u64, u64)| limit > 0 && n >= limit / of * part;
    let max_kb = limits.max_rss / 1024;
    // What runs in flight need is no leak.
    let fds = used.fds.saturating_sub(explained.fds);
    let threads = used.threads.saturating_sub(explained.threads);
    let max_fds = match limits.max_fds {
        0 => open_files,
        n => n,
    };
    let rss = || {
        format!(
            "{} of memory, max_rss is {}",
            megabytes(used.rss_kb),
            size::show(limits.max_rss)
        )
    };
    let files = || match limits.max_fds {
        0 => format!(
            "{} open descriptors, the system allows {open_files}",
            used.fds
        ),
        n => format!("{} open descriptors, max_fds is {n}", used.fds),
    };
    let crowd = || {
        format!(
            "{} threads, {} of them its own, and {MAX_THREADS} more are allowed",
            used.threads, explained.threads
        )
    };
    let grows_kb = used.rss_kb.saturating_sub(fresh.rss_kb) >= max_kb / GROWTH;
    let grows_fds = used.fds.saturating_sub(fresh.fds) >= max_fds / GROWTH;
    if reached(used.rss_kb, max_kb, (1, 1)) && grows_kb {
        Finding::Hard(rss())
    } else if limits.max_fds > 0 && reached(fds, max_fds, (1, 1)) && grows_fds {
        Finding::Hard(files())
    } else if reached(threads, MAX_THREADS, (1, 1)) {
        Finding::Hard(crowd())
    } else if reached(used.rss_kb, max_kb, SOFT) {
        let urgent = grows_kb && reached(used.rss_kb, max_kb, URGENT);
        Finding::Soft { why: rss(), urgent }
    } else if reached(fds, max_fds, SOFT) {
        let urgent = grows_fds && reached(fds, max_fds, URGENT);
        Finding::Soft {
            why: files(),
            urgent,
        }
    } else if reached(threads, MAX_THREADS, SOFT) {
        let urgent = reached(threads, MAX_THREADS, URGENT);
        Finding::Soft {
            why: crowd(),
            urgent,
        }
    } else if reached(used.rss_kb, max_kb, SUSPICIOUS) || reached(fds, max_fds, SUSPICIOUS) {
        Finding::Suspicious
    } else {
        Finding::Fine
    }
}

/// For how long a worker that was seen like this is to be looked at closely.
fn closely(limits: &Limits, fresh: Usage, before: Usage, used: Usage) -> Option<u64> {
    let max_kb = limits.max_rss / 1024;
    if max_kb == 0 {
        return None;
    }
    // What it held as it came up is no sign of a call that takes too much.
    let has_peaked = used.peak_kb >= max_kb
        && used.peak_kb > before.peak_kb
        && used.peak_kb.saturating_sub(fresh.peak_kb) >= max_kb / GROWTH;
    let is_fast = used.rss_kb.saturating_sub(before.rss_kb) > max_kb / 32;
    match has_peaked {
        true => Some(PEAKED_NS),
        false => is_fast.then_some(FAST_NS),
    }
}

fn megabytes(kb: u64) -> String {
    format!("{} MiB", kb / 1024)
}

impl Manager {
    fn limits(&self, class: WorkerClass) -> Limits {
        settings(&self.model.pool, class).limits
    }

    /// Looks at what each worker holds.
    pub(super) fn look_at_use(&mut self, now: u64) {
        let slots: Vec<u32> = self.fleet.slots.keys().copied().collect();
        for slot in slots {
            self.look_at_use_of(slot, now);
            if let Some(s) = self.fleet.slots.get_mut(&slot) {
                s.process.held.at_look = s.process.held.usage;
            }
        }
    }

    fn look_at_use_of(&mut self, slot: u32, now: u64) {
        let outputs = if self.is_parent(slot) {
            FDS_A_PARENT
        } else {
            0
        };
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if !matches!(s.state, SlotState::Ready | SlotState::Draining)
            || s.process.condemned.as_ref().is_some_and(|c| c.killed)
        {
            return;
        }
        // One that is gone has its death told.
        if s.open_gauge().is_err() {
            return;
        }
        let Some(Ok(used)) = s.process.held.gauge.as_ref().map(Gauge::read) else {
            return;
        };
        let before = std::mem::replace(&mut s.process.held.usage, used);
        let fresh = *s.process.held.fresh.get_or_insert(used);
        let head = s.process.view.as_ref().and_then(|v| v.header().ok());
        let explained = Usage {
            fds: s.work.runs.len() as u64 * s.spec.class.row().fds_a_run
                + s.work.chunks.len() as u64 * FDS_A_CHUNK
                + outputs,
            threads: head.map_or(0, |head| head[h::THREADS]),
            ..Usage::default()
        };
        let class = s.spec.class;
        let limits = self.limits(class);
        let open_files = self.fleet.supervisor.open_files;
        let finding = judge(&limits, open_files, explained, fresh, used);
        if let Some(time) = closely(&limits, fresh, before, used) {
            self.look_closely(slot, now + time);
        }
        self.measure(slot, finding != Finding::Fine);
        match finding {
            Finding::Hard(why) => self.fence(slot, &why),
            Finding::Soft { why, urgent } => self.recycle(slot, &why, urgent, now),
            Finding::Suspicious | Finding::Fine => self.recycle_if_worn(slot, &limits, now),
        }
    }

    /// From now on its memory is looked at so often that no call takes it above its limit and back unseen.
    pub(super) fn look_closely(&mut self, slot: u32, until_ns: u64) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        let pid = s.process.pid;
        match &mut s.process.held.closely_until_ns {
            Some(until) => *until = until_ns.max(*until),
            none => {
                *none = Some(until_ns);
                let at = (clock::monotonic_ns() + CLOSELY_EVERY_NS) / MS;
                self.clockwork
                    .chores
                    .insert(at, Chore::LookClosely { slot, pid });
            }
        }
    }

    pub fn look_again(&mut self, slot: u32, pid: u32, now: u64) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        if s.process.pid != pid {
            return;
        }
        // Its lines say whose calls are in progress; if it has none yet, none is.
        let _ = s.open_view(&self.args.runtime_dir);
        let until = s.process.held.closely_until_ns.take().unwrap_or(0);
        // Who runs alone is under suspicion until that run is over.
        let is_suspect = s.group.solo().is_some() && !s.work.runs.is_empty();
        if until > now || is_suspect {
            self.look_closely(slot, until);
            self.look_at_use_of(slot, now);
        }
    }

    fn measure(&mut self, slot: u32, on: bool) {
        if let Some(s) = self.fleet.slots.get_mut(&slot)
            && s.process.held.measuring != on
            && let Some(link) = &mut s.process.link
        {
            s.process.held.measuring = on;
            link.queue(&ToWorker::Measure { on });
        }
    }

    /// It has had its number of runs. Each a little earlier or later, so that not all go at once.
    fn recycle_if_worn(&mut self, slot: u32, limits: &Limits, now: u64) {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return;
        };
        let spread = u64::from(s.process.pid).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let enough = limits.max_runs - spread % (limits.max_runs / 8 + 1);
        if limits.max_runs > 0 && s.process.held.sent >= enough {
            let why = format!(
                "{} runs, max_runs is {}",
                s.process.held.sent, limits.max_runs
            );
            self.recycle(slot, &why, false, now);
        }
    }

    /// Has another take its place as soon as that is ready, if this is a time for it.
    fn recycle(&mut self, slot: u32, why: &str, urgent: bool, now: u64) {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return;
        };
        let Some(pool) = s.pool() else { return };
        let (class, name) = (pool.class, s.pool_name());
        let pace = self.fleet.backoffs.get(&pool).copied().unwrap_or_default();
        if !pace.allows(urgent, now) || !self.start_replacement(slot, why) {
            return;
        }
        let life_ns = now.saturating_sub(
            self.fleet
                .slots
                .get(&slot)
                .map_or(0, |s| s.process.started_ns),
        );
        let pace = self.fleet.backoffs.entry(pool).or_default();
        if let Some(pause) = pace.replaced(life_ns, now) {
            log::warn!(
                "workers do not last: the next are replaced less and less often until one does  class={} workers=\"{name}\" lived={} pause={} why=\"{why}\" help=\"raise the limit in [pool.{}], or see `healthctl plugins --cost` for who takes so much\"",
                class.as_str(),
                crate::time::span(life_ns),
                crate::time::span(pause),
                class.as_str(),
            );
        }
    }

    /// It grows faster than it can drain.
    fn fence(&mut self, slot: u32, why: &str) {
        self.blame_calls_in_progress(slot);
        self.condemn(slot, why.to_owned(), None);
        if let Some(s) = self.fleet.slots.get_mut(&slot) {
            if let Some(c) = &mut s.process.condemned {
                c.fence = true;
            }
            s.succession.note = format!("was replaced at once: {why}");
        }
    }

    /// Calls that have not come back are measured by nobody else: what came up since the last look is theirs, and where one
    /// check runs alone all that its worker has taken since it came up.
    fn blame_calls_in_progress(&mut self, slot: u32) {
        let Some(s) = self.fleet.slots.get(&slot) else {
            return;
        };
        let held = &s.process.held;
        let before = match (s.group.solo(), held.fresh) {
            (Some(_), Some(fresh)) => fresh,
            _ => held.at_look,
        };
        let calls: Vec<u32> = s
            .process
            .view
            .iter()
            .flat_map(|v| v.lines())
            .filter(|l| l.entry != Entry::Idle && l.check != u32::MAX)
            .map(|l| l.check)
            .collect();
        let share = |now: u64, before: u64| {
            let part = now.saturating_sub(before) / (calls.len() as u64).max(1);
            i32::try_from(part).unwrap_or(i32::MAX)
        };
        let grew = Growth {
            kb: share(s.process.held.usage.rss_kb, before.rss_kb),
            fds: share(s.process.held.usage.fds, before.fds),
        };
        for id in calls {
            if let Some(check) = self.checks.get(id) {
                log::warn!(
                    "in a call while its worker grew (a suspicion)  check={} plugin={} slot={slot} grew_kb={}",
                    field(&check.spec.name),
                    check.spec.plugin,
                    grew.kb
                );
                let epoch = check.identity.epoch;
                self.books
                    .charge_late(&mut self.checks, (id, epoch), 0, grew);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(mb: u64, fds: u64) -> Usage {
        Usage {
            rss_kb: mb * 1024,
            fds,
            ..Usage::default()
        }
    }

    #[test]
    fn threads_that_are_not_its_own_have_a_limit_too() {
        let with = |threads| Usage {
            threads,
            ..Usage::default()
        };
        let say = |n| judge(&Limits::default(), 1000, with(64), with(3), with(n));
        assert_eq!(say(64 + 300), Finding::Fine);
        assert!(matches!(say(64 + 384), Finding::Soft { urgent: false, .. }));
        assert!(matches!(say(64 + 448), Finding::Soft { urgent: true, .. }));
        assert!(matches!(say(64 + 512), Finding::Hard(_)));
    }

    #[test]
    fn before_the_limit_another_takes_over_and_at_it_the_worker_goes() {
        let limits = Limits {
            max_rss: 100 << 20,
            max_fds: 100,
            max_runs: 0,
            ..Limits::default()
        };
        let say = |fds, u| match judge(&limits, 1000, used(0, fds), Usage::default(), u) {
            Finding::Fine => 0,
            Finding::Suspicious => 1,
            Finding::Soft { urgent: false, .. } => 2,
            Finding::Soft { urgent: true, .. } => 3,
            Finding::Hard(_) => 4,
        };
        for (mb, fds, explained, what) in [
            (49, 49, 0, 0),
            (50, 0, 0, 1),
            (74, 0, 0, 1),
            (75, 0, 0, 2),
            (87, 0, 0, 2),
            (88, 0, 0, 3),
            (99, 0, 0, 3),
            (100, 0, 0, 4),
            (0, 50, 0, 1),
            (0, 75, 0, 2),
            (0, 100, 0, 4),
            // A hundred sockets of fifty runs are no leak.
            (0, 110, 100, 0),
            (75, 100, 0, 4),
        ] {
            assert_eq!(
                say(explained, used(mb, fds)),
                what,
                "{mb} {fds} {explained}"
            );
        }
    }

    #[test]
    fn no_limit_is_no_limit_and_the_system_has_one_for_descriptors() {
        let none = Limits {
            max_rss: 0,
            max_fds: 0,
            max_runs: 0,
            ..Limits::default()
        };
        let say = |u| judge(&none, 1000, Usage::default(), Usage::default(), u);
        assert_eq!(say(used(1 << 20, 10)), Finding::Fine);
        assert!(matches!(say(used(0, 800)), Finding::Soft { .. }));
        // No more can be opened, so nothing is gained by killing it.
        assert!(matches!(say(used(0, 1000)), Finding::Soft { .. }));
    }

    #[test]
    fn what_grows_fast_or_was_above_the_limit_unseen_is_looked_at_closely() {
        let limits = Limits {
            max_rss: 64 << 20,
            ..Limits::default()
        };
        let seen = |rss: u64, peak: u64| Usage {
            rss_kb: rss << 10,
            peak_kb: peak << 10,
            ..Usage::default()
        };
        let fresh = seen(10, 12);
        let say = |before, used| closely(&limits, fresh, before, used);
        assert_eq!(say(fresh, fresh), None);
        assert_eq!(say(fresh, seen(12, 12)), None);
        assert_eq!(say(fresh, seen(13, 13)), Some(FAST_NS));
        assert_eq!(say(fresh, seen(10, 60)), None, "it was below the limit");
        assert_eq!(say(fresh, seen(10, 64)), Some(PEAKED_NS));
        assert_eq!(say(seen(10, 64), seen(10, 64)), None, "that is known");
        // It came up like that.
        let high = seen(10, 100);
        assert_eq!(closely(&limits, high, high, seen(10, 101)), None);
        let none = Limits {
            max_rss: 0,
            ..limits
        };
        assert_eq!(closely(&none, fresh, fresh, seen(900, 900)), None);
    }

    #[test]
    fn a_limit_that_a_fresh_worker_is_above_kills_nobody() {
        let limits = Limits {
            max_rss: 100 << 20,
            max_fds: 0,
            max_runs: 0,
            ..Limits::default()
        };
        let say = |mb| judge(&limits, 1000, Usage::default(), used(150, 10), used(mb, 10));
        assert!(matches!(say(155), Finding::Soft { urgent: false, .. }));
        assert!(matches!(say(170), Finding::Hard(_)));
    }

    #[test]
    fn who_does_not_last_is_replaced_less_and_less_often() {
        let mut pace = Backoff::default();
        assert!(pace.allows(false, 0));
        assert_eq!(pace.replaced(0, 1), Some(PAUSE_FIRST_NS));
        assert_eq!(pace.replaced(0, 1), None, "said once");
        assert!(!pace.allows(false, 2 * PAUSE_FIRST_NS));
        assert!(pace.allows(false, 1 + 2 * PAUSE_FIRST_NS));
        for _ in 0..20 {
            pace.replaced(0, 1);
        }
        assert!(!pace.allows(false, PAUSE_LAST_NS));
        assert!(pace.allows(false, PAUSE_LAST_NS + 1));
        assert!(!pace.allows(true, PAUSE_FIRST_NS));
        assert!(pace.allows(true, PAUSE_FIRST_NS + 1));
        assert_eq!(pace.replaced(SHORT_LIFE_NS, 7), None);
        assert!(pace.allows(false, 7));
    }
}
