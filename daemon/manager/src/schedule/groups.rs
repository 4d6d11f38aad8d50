//! `exclusive` and `max_parallel`: a run waits for its turn in its groups here, before any worker hears of it.
//!
//! What is in a group is a run on its way: from the moment it may be sent until its end is told, whatever
//! becomes of its worker in between.

use crate::director::Manager;
use crate::time;
use healthd_core::check::fault::Fault;
use healthd_core::check::semaphore::Want;
use healthd_core::config::Group;
use healthd_sys::clock;

impl Manager {
    /// True: its run may go to a worker now. False: it stands in line, since `due_ns`.
    pub(super) fn enter_groups(&mut self, id: u32, due_ns: u64) -> bool {
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        if check.spec.groups.is_empty() {
            return true;
        }
        let want = |g: &Group| Want {
            place: g.key().into(),
            most: g.most,
        };
        let wants = check.spec.groups.iter().map(want).collect();
        // A run begins only when the one before has ended, and then it has left.
        let entered = self.schedule.groups.enter(id, wants, clock::monotonic_ns());
        debug_assert!(entered.is_ok(), "a run that never left its groups");
        if entered == Ok(false) {
            check.stage.wait(due_ns);
            check.stage.set_in_line(true);
            return false;
        }
        true
    }

    /// Its run is over, or waits no longer.
    pub fn leave_groups(&mut self, id: u32) {
        self.schedule.groups.leave(id);
        if let Some(check) = self.checks.get_mut(id) {
            check.stage.set_in_line(false);
        }
    }

    /// A reload has changed it, perhaps its groups: what waits goes to the end of the lines it belongs to now.
    pub fn line_up_anew(&mut self, id: u32) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let (Some(waiting), Some(target)) = (check.stage.waiting(), check.target) else {
            return;
        };
        let (since, was_in_line) = (waiting.since_ns, waiting.in_line);
        self.leave_groups(id);
        if self.enter_groups(id, since) && was_in_line {
            self.schedule.enqueue(target.pool, id);
        }
    }

    /// Those whose turn has come wait for a worker from here on; whose interval is over has waited for nothing.
    pub(super) fn admit_to_groups(&mut self) {
        if self.schedule.groups.is_empty() {
            return;
        }
        let now = clock::monotonic_ns();
        // One that is too late leaves at once, and so lets in the next.
        loop {
            let admitted = self.schedule.groups.admit(now);
            if admitted.is_empty() {
                return;
            }
            for id in admitted {
                let stood = self.clockwork.stood;
                let Some(check) = self.checks.get_mut(id) else {
                    self.schedule.groups.leave(id);
                    continue;
                };
                check.stage.set_in_line(false);
                let late = check.comes_too_late(stood, now);
                match check.target {
                    Some(target) if !late => self.schedule.enqueue(target.pool, id),
                    Some(_) => self.turn_too_late(id, None),
                    None => self.leave_queue(id),
                }
            }
        }
    }

    /// Says it of those that stand in line longer than their interval, rather than let them look fresh.
    pub fn expire_lines(&mut self, now: u64) {
        let late = |(id, _): &(u32, u64)| {
            self.checks
                .get(*id)
                .is_some_and(|c| c.comes_too_late(self.clockwork.stood, now))
        };
        let overdue: Vec<(u32, u64)> = self.schedule.groups.waiting().filter(late).collect();
        for (id, _) in overdue {
            let obstacle = self.schedule.groups.obstacle(id);
            self.turn_too_late(id, obstacle);
        }
    }

    fn turn_too_late(&mut self, id: u32, obstacle: Option<(std::sync::Arc<str>, Vec<u32>)>) {
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let interval = time::span(check.interval_ns());
        let (place, inside) = obstacle.map_or((None, Vec::new()), |(p, i)| (Some(p), i));
        let group = check
            .spec
            .groups
            .iter()
            .find(|g| place.as_deref().is_none_or(|p| *p == *g.key()));
        let Some(group) = group else { return };
        let (fault, what) = match group.is_block {
            false => (
                Fault::Exclusive,
                format!("its turn in group `{}`", group.name),
            ),
            true => (
                Fault::MaxParallel,
                format!("its turn among the {} of `{}`", group.most, group.name),
            ),
        };
        let mut text = format!("{what} did not come within its interval of {interval}");
        if !inside.is_empty() {
            text.push_str("; in there: ");
            text.push_str(&self.who_runs(&inside));
        }
        self.own_fault(id, fault, &text);
    }

    /// "web/a for 1.2 s (worker 0), web/b and 3 more".
    fn who_runs(&self, ids: &[u32]) -> String {
        let now = clock::monotonic_ns();
        let named: Vec<String> = ids
            .iter()
            .take(SHOWN)
            .filter_map(|id| {
                if let Some(check) = self.fleet.leftovers.check_of(*id) {
                    return Some(format!("a process of {check} that does not end"));
                }
                let check = self.checks.get(*id)?;
                let name = &check.spec.name;
                let Some(f) = check.stage.flight() else {
                    return Some(format!("{name}, which waits for a worker"));
                };
                let since = time::span(now.saturating_sub(f.due_ns));
                Some(format!("{name} for {since} (worker {})", f.slot))
            })
            .collect();
        let more = match ids.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        named.join(", ") + &more
    }

    /// For `why`: what a check in line waits for.
    pub fn why_in_line(&self, id: u32) -> Option<String> {
        self.checks.get(id).filter(|c| c.stage.is_in_line())?;
        let (place, inside) = self.schedule.groups.obstacle(id)?;
        Some(format!(
            "its turn in {place} has not come; in there: {}",
            self.who_runs(&inside)
        ))
    }
}

/// The most checks that a message names.
const SHOWN: usize = 3;
