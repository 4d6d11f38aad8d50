//! A worker has died: what it had sent is taken, its accounts are closed, the culprit is sentenced, and the rest runs
//! again elsewhere.

use crate::director::{Manager, Phase};
use crate::fleet::descriptors::is_lack;
use crate::fleet::pool_key::PoolKey;
use crate::fleet::postmortem::{Blame, Cause, Dead, Postmortem};
use crate::fleet::slots::{Condemned, Slot, SlotState, Solo};
use crate::fleet::worker_inbox::loading;
use crate::journal::Fact;
use crate::rollout::plugins::Told;
use crate::schedule::stage::InFlight;
use healthd_core::check::fault::Fault;
use healthd_core::wire::events::EventKind;
use healthd_core::wire::supervisor::Death;
use healthd_scoreboard::worker_map::{self, WorkerView};
use healthd_sys::clock;
use std::collections::HashMap;

/// SIGKILL may come from outside (a person, the kernel out of memory): only so many in a row while a plugin
/// was loaded speak against it.
const KILLS: u32 = 3;

impl Manager {
    /// The supervisor declares a worker dead: drain what it had sent, name the culprit, send the rest again. `left`: a
    /// process of it does not end, so what its runs held alone is not free.
    pub fn worker_died(
        &mut self,
        slot: u32,
        pid: u32,
        death: &Death,
        left: bool,
        buffer: &mut [u8],
    ) {
        if self
            .fleet
            .slots
            .get(&slot)
            .is_none_or(|s| s.process.pid != pid)
        {
            // Of a generation, or a solo worker, that was given up before we had heard of this worker. It may have made its map since.
            worker_map::remove(&self.args.runtime_dir, slot, pid);
            return;
        }
        // What it sent before its death is still there.
        self.receive_from(slot, buffer, usize::MAX);
        let left_behind = match self.fleet.slots.get(&slot).map(|s| s.work.runs.clone()) {
            Some(runs) if left => self.leave_behind(slot, pid, &runs),
            _ => Vec::new(),
        };
        if !left {
            self.worker_buried(slot, pid);
        }
        self.unlock_slot(slot);
        let dir = self.args.runtime_dir.clone();
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        // Their descriptors are free for its map: it may have died before anybody had to look at that.
        s.process.link = None;
        s.process.held.gauge = None;
        let lacks = s.open_view(&dir).is_err_and(|e| is_lack(&e));
        let was = std::mem::replace(&mut s.state, SlotState::Dead);
        s.accounts.restarts += 1;
        let condemned = s.process.condemned.take();
        let view = s.process.view.take();
        let runs = std::mem::take(&mut s.work.runs);
        let generation = s.spec.generation;
        let solo = s.group.solo();
        match &condemned {
            // By our own hand, or by its own.
            Some(_) => s.accounts.lost_replaced += runs.len() as u64,
            None => s.accounts.lost_worker_died += runs.len() as u64,
        }
        if lacks {
            self.clockwork
                .lacks_descriptors("the map of a worker that died");
        }
        if was == SlotState::Starting {
            self.died_while_starting(slot, view.as_ref(), death, condemned.as_ref());
        }
        let oom = match death {
            Death::Signaled { signal, .. } if *signal == libc::SIGKILL && condemned.is_none() => {
                self.fleet.oom.has_struck(clock::monotonic_ns())
            }
            _ => None,
        };
        let mut accused = runs.clone();
        accused.extend(self.chunk_on_the_thread(slot));
        let mut cause = self.postmortem().attribute(&Dead {
            slot,
            pid,
            death,
            view: view.as_ref(),
            condemned: condemned.as_ref(),
            runs: &accused,
            oom,
        });
        if let Some(solo) = solo.filter(|_| condemned.is_none()) {
            cause = self.was_solo(solo, cause, &runs);
        }
        let retiring = self.leaves_its_slot(slot);
        // One that was to end anyway.
        let retired = generation < self.rollout.generation
            || retiring
            || self.phase == Phase::Stopping
            || (solo.is_some() && condemned.is_some());
        if was != SlotState::Starting && !(retired && runs.is_empty()) {
            self.tell_death(slot, pid, death, runs.len(), &cause);
        }
        let of_a_run = matches!(&cause, Cause::Culprit(blame) if runs.contains_key(&blame.run_id));
        let blame = match &cause {
            Cause::Culprit(blame) if !of_a_run => Some(blame.message.as_str()),
            _ => None,
        };
        let story = format!("worker in slot {slot} (pid {pid}) died: {death}");
        self.chunks_of_the_dead(slot, of_a_run, blame, &story);
        if let Some(s) = self.fleet.slots.get(&slot) {
            s.remove_map(&dir);
        }
        let pool = match solo {
            Some(solo) => self
                .rollout
                .plugins
                .get(usize::from(solo.plugin))
                .map(|p| p.pool),
            None => {
                let pool = self.fleet.slots.get(&slot).and_then(Slot::pool);
                pool.map(PoolKey::of_plugins)
            }
        };
        let told = Told::of(&cause, death, &runs);
        let objection = self.canary_died(slot, &told.how);
        for (run_id, id) in runs {
            let check = self.checks.get_mut(id);
            let Some(flight) = check.and_then(|c| c.stage.land(|f| f.run_id == run_id)) else {
                continue;
            };
            if self.checks.get(id).is_some_and(|c| c.removed) {
                self.forget(id);
                continue;
            }
            match &cause {
                Cause::Culprit(blame) if blame.run_id == run_id => {
                    self.end_by_crash(id, Some(flight), blame);
                }
                _ if self.phase == Phase::Stopping => self.publish(id),
                _ => {
                    let suspected =
                        matches!(&cause, Cause::Suspects { runs, .. } if runs.contains(&run_id));
                    if suspected {
                        self.suspect(id, false);
                    }
                    let end = match &condemned {
                        Some(c) => format!("was replaced: {}", c.reason),
                        None => format!("died: {death}"),
                    };
                    if left_behind.contains(&id) {
                        let text = format!(
                            "its worker {end}, and a process that it left behind does not end"
                        );
                        self.no_word(id, Fault::WorkerDied, &text, Some(flight));
                        self.publish(id);
                        continue;
                    }
                    let why = format!("its worker (slot {slot}, pid {pid}) {end}");
                    let is_again = flight.attempt > 1;
                    self.run_elsewhere(id, flight, why, &end);
                    // Twice in a call in which its worker grew until it had to go.
                    if is_again && condemned.as_ref().is_some_and(|c| c.fence) && suspected {
                        self.hold_check(id, "twice its worker grew to its limit in a call of it");
                    }
                }
            }
        }
        // One that ends anyway, as its generation does, takes nobody with it.
        if let Cause::Late { check, blame } = &cause
            && condemned.is_none()
        {
            log::warn!("{}", blame.message);
            let why = "something that it left behind has killed a worker";
            self.hold_culprit(*check, blame, why);
        }
        if solo.is_some() {
            self.retire_slot(slot);
            self.tell_slots();
        } else if retiring {
            self.settle_retired(slot);
        } else if generation < self.rollout.generation {
            self.retire_slot(slot);
        } else {
            self.publish_slot(slot);
        }
        if let Some(pool) = pool.filter(|_| was != SlotState::Starting) {
            self.trial_death(generation, pool, &told);
        }
        if let Some(objection) = objection {
            self.refuse_coming(objection);
        }
        self.generation_progress();
    }

    fn postmortem(&self) -> Postmortem<'_> {
        Postmortem {
            fleet: &self.fleet,
            checks: &self.checks,
        }
    }

    fn tell_death(&mut self, slot: u32, pid: u32, death: &Death, in_flight: usize, cause: &Cause) {
        let name = |run_id: &u64| {
            let of_run =
                |c: &&crate::check::Check| c.stage.flight().is_some_and(|f| f.run_id == *run_id);
            self.checks
                .iter()
                .find(of_run)
                .map_or("?", |c| c.spec.name.as_str())
        };
        let mut culprit = "";
        let (whose, why) = match cause {
            Cause::Culprit(blame) => {
                culprit = name(&blame.run_id);
                (culprit.to_owned(), blame.short.clone())
            }
            Cause::Late { check, blame } => {
                culprit = self
                    .checks
                    .get(*check)
                    .map_or("?", |c| c.spec.name.as_str());
                (
                    culprit.to_owned(),
                    format!("{}, after its run", blame.short),
                )
            }
            Cause::Suspects {
                runs,
                what,
                by_itself,
            } if !runs.is_empty() => {
                let names: Vec<&str> = runs.iter().take(8).map(name).collect();
                let more = if runs.len() > names.len() { ",..." } else { "" };
                let suspects = format!("unknown suspects={}{more}", names.join(","));
                (suspects, what.clone())
            }
            Cause::Suspects { what, .. } | Cause::Nobody { what: Some(what) } => {
                ("none".to_owned(), what.clone())
            }
            Cause::Nobody { what: None } => ("none".to_owned(), String::new()),
        };
        let quoted = match why.is_empty() {
            true => String::new(),
            false => format!(" why=\"{why}\""),
        };
        let fact = Fact::new(EventKind::WorkerDied)
            .check(culprit)
            .slot(slot)
            .pid(pid)
            .cause(death)
            .why(why)
            .fields(format!(
                "slot={slot} pid={pid} death={death} in_flight={in_flight} culprit={whose}{quoted}"
            ));
        self.books.journal.record(fact);
    }

    /// A victim of a worker's death: once more, or, if that was the second, no verdict.
    fn run_elsewhere(&mut self, id: u32, flight: InFlight, why: String, end: &str) {
        if !self.send_again(id, &flight, why) {
            let text = format!("two workers ended during this run; the last {end}");
            self.no_word(id, Fault::WorkerDied, &text, Some(flight));
        }
        self.publish(id);
    }

    /// Whoever killed a solo worker, it was the one in it. SIGKILL alone may still come from somebody else, once.
    fn was_solo(&mut self, solo: Solo, cause: Cause, runs: &HashMap<u64, u32>) -> Cause {
        let Cause::Suspects {
            what, by_itself, ..
        } = cause
        else {
            return cause;
        };
        let Some(id) = solo.check else {
            return Cause::Nobody { what: Some(what) };
        };
        let run_id = runs.keys().copied().next();
        let guilty = by_itself || (run_id.is_some() && self.suspect(id, true));
        if !guilty {
            return Cause::Nobody { what: Some(what) };
        }
        let plugin = self
            .checks
            .get(id)
            .map_or("?".to_owned(), |c| c.spec.plugin.clone());
        let blame = Blame {
            run_id: run_id.unwrap_or(0),
            message: format!(
                "{what} in plugin `{plugin}`: its worker died, and only this check was in it"
            ),
            short: format!("{what} while it ran alone"),
            stalled: false,
            plugin,
        };
        match run_id {
            Some(_) => Cause::Culprit(blame),
            None => Cause::Late { check: id, blame },
        }
    }

    /// A plugin that kills a starting worker is left out of the next start.
    fn died_while_starting(
        &mut self,
        slot: u32,
        view: Option<&WorkerView>,
        death: &Death,
        condemned: Option<&Condemned>,
    ) {
        let solo = self.fleet.slots.get(&slot).and_then(|s| s.group.solo());
        let Some((view, line)) = view.and_then(|v| Some((v, loading(Some(v))?))) else {
            let words = self
                .fleet
                .slots
                .get(&slot)
                .and_then(|s| s.process.last_words.as_deref());
            let why = condemned.map(|c| c.reason.as_str()).or(words);
            let words = why.unwrap_or("unknown");
            let fact = Fact::new(EventKind::WorkerDied)
                .titled("worker died before it was ready")
                .level(log::Level::Error)
                .slot(slot)
                .cause(death)
                .why(format!("before it was ready: {words}"))
                .fields(format!("slot={slot} death={death} why=\"{words}\""));
            let why = why.map(str::to_owned);
            self.books.journal.record(fact);
            if solo.is_some() && condemned.is_none_or(|c| c.killed) {
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                self.solo_failed(
                    slot,
                    &format!("it ended with {death} before it was ready{why}"),
                );
            }
            return;
        };
        let what = self.describe(slot, &line);
        if condemned.is_none()
            && matches!(death, Death::Signaled { signal, .. } if *signal == libc::SIGKILL)
            && let Some(s) = self.fleet.slots.get_mut(&slot)
        {
            s.loaded.killed_loading += 1;
            let guilty = match solo {
                Some(p) => p.check.is_some_and(|id| self.suspect(id, true)),
                None => s.loaded.killed_loading >= KILLS,
            };
            if !guilty {
                log::warn!("worker was killed while it started  slot={slot} in=\"{what}\"");
                return;
            }
        }
        let reason = match condemned {
            Some(c) => format!("a starting worker had to be killed: {}", c.reason),
            None => {
                let crash = view.crash();
                let place = crash.as_ref().map_or(String::new(), |crash| {
                    self.postmortem()
                        .place(slot, view, None, (crash.pc, &crash.trace))
                        .text(" at ", " called from ")
                });
                let words = crash.and_then(|c| c.words);
                let words = words.map_or(String::new(), |w| format!(" ({w})"));
                format!("it killed a starting worker: {death}{words} in {what}{place}")
            }
        };
        if let Some(solo) = solo {
            return self.killed_while_starting(solo, reason);
        }
        self.leave_out(slot, line.plugin, reason, "plugin left out");
    }

    /// The plugin loads in the pool's workers, and has killed the solo worker of one check in `init` or before: that one is held.
    fn killed_while_starting(&mut self, solo: Solo, reason: String) {
        let Some(id) = solo.check else { return };
        let Some(check) = self.checks.get(id) else {
            return;
        };
        let waits = check.stage.waiting().is_some();
        let blame = Blame {
            run_id: 0,
            plugin: check.spec.plugin.clone(),
            short: reason.clone(),
            message: reason,
            stalled: false,
        };
        match waits {
            true => self.end_by_crash(id, None, &blame),
            false => self.hold_culprit(id, &blame, "its solo worker died while it started"),
        }
    }
}
