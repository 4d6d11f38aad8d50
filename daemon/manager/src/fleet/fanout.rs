//! A run on several workers: who wants help, who gives it, and what becomes of chunks when a worker dies.

use super::chunks::{CHUNKS_A_HELPER, ChunkOut, FANS_A_SLOT, OpenFan, RunChunks};
use crate::director::Manager;
use crate::fleet::slots::{Slot, SlotState};
use healthd_core::wire::fanout::{
    ChunkRun, E_RESOURCES, Ended, FanToManager, FanToWorker, How, Tally, Work,
};
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl Manager {
    /// A cpu worker says something about chunks.
    pub(super) fn fan_says(&mut self, slot: u32, message: FanToManager, fd: Option<OwnedFd>) {
        match message {
            FanToManager::Wants {
                fan,
                run_id,
                attempt,
            } => self.fan_wants(slot, fan, run_id, attempt),
            FanToManager::Given {
                fan,
                helper,
                work,
                input,
            } => self.chunk_given(slot, fan, helper, work, input, fd),
            FanToManager::NoneLeft { fan, helper } => {
                if let Some(open) = self.fleet.fans.open.get_mut(&(slot, fan)) {
                    open.wants = false;
                }
                self.answered(slot, fan, helper);
            }
            FanToManager::Done { id, end } => self.chunk_done(slot, id, end, fd),
            FanToManager::Idle { fan } => self.stop_chunks(slot, Some(fan), false),
            FanToManager::Closed { fan, run_id, tally } => {
                self.fan_closed(slot, fan, run_id, tally);
            }
        }
    }

    fn fan_wants(&mut self, slot: u32, fan: u64, run_id: u64, attempt: u8) {
        let Some(check) = self
            .fleet
            .slots
            .get(&slot)
            .and_then(|s| s.work.runs.get(&run_id))
        else {
            return;
        };
        let check = *check;
        let in_flight = self.checks.get(check).and_then(|c| c.stage.flight());
        if in_flight.is_none_or(|f| f.run_id != run_id || f.attempt != attempt) {
            return;
        }
        let many = self
            .fleet
            .fans
            .open
            .range((slot, 0)..=(slot, u64::MAX))
            .count();
        match self.fleet.fans.open.get_mut(&(slot, fan)) {
            Some(open) => open.wants = true,
            None if many >= FANS_A_SLOT => {
                self.condemn(slot, "it opens fan-outs without an end".into(), None);
            }
            None => {
                let open = OpenFan {
                    run_id,
                    check,
                    wants: true,
                    asked: Vec::new(),
                    void: 0,
                    avoided: BTreeSet::new(),
                };
                self.fleet.fans.open.insert((slot, fan), open);
            }
        }
    }

    /// Asks who wants help for as many chunks as other workers have room for. Called in each turn.
    pub fn spread_chunks(&mut self) {
        while self.fleet.fans.open.values().any(|f| f.wants) {
            let next = |range: &mut dyn Iterator<Item = (&(u32, u64), &OpenFan)>| {
                range
                    .filter(|(_, f)| f.wants)
                    .find_map(|(key, f)| Some((*key, self.helper_for(*key, f)?)))
            };
            let after = (
                std::ops::Bound::Excluded(self.fleet.fans.served),
                std::ops::Bound::Unbounded,
            );
            let found = next(&mut self.fleet.fans.open.range(after))
                .or_else(|| next(&mut self.fleet.fans.open.range(..=self.fleet.fans.served)));
            let Some((key, helper)) = found else { return };
            self.fleet.fans.served = key;
            if let Some(s) = self.fleet.slots.get_mut(&helper) {
                s.work.asked += 1;
            }
            if let Some(open) = self.fleet.fans.open.get_mut(&key) {
                open.asked.push(helper);
            }
            let (slot, fan) = key;
            self.tell_fan(slot, FanToWorker::Ask { fan, helper }, None);
        }
    }

    /// The least busy worker that can take a chunk: no parent itself, and not full of runs, which go first.
    fn helper_for(&self, (parent, _): (u32, u64), fan: &OpenFan) -> Option<u32> {
        let parent_slot = self.fleet.slots.get(&parent)?;
        // A solo worker's check runs alone, with all that belongs to it; and others have not loaded its plugin.
        let pool = parent_slot.pool().filter(|p| p.class.row().fans_out);
        pool?;
        let generation = parent_slot.spec.generation;
        let check = self.checks.get(fan.check)?;
        let same = |f: &crate::schedule::stage::InFlight| {
            f.run_id == fan.run_id && f.epoch == check.identity.epoch
        };
        check.stage.flight().filter(|f| same(f))?;
        self.fleet
            .slots
            .values()
            .filter(|s| {
                s.pool() == pool
                    && s.spec.generation == generation
                    && s.state == SlotState::Ready
                    && s.process.link.is_some()
                    && s.work.chunks.len() + s.work.asked < CHUNKS_A_HELPER
                    && s.work.runs.len() < 2
                    && s.spec.slot != parent
                    && !fan.avoided.contains(&s.spec.slot)
                    && !self.is_parent(s.spec.slot)
            })
            .min_by_key(|s| s.work.runs.len() + s.work.chunks.len() + s.work.asked)
            .map(|s| s.spec.slot)
    }

    pub(super) fn is_parent(&self, slot: u32) -> bool {
        let of_slot = (slot, 0)..=(slot, u64::MAX);
        self.fleet.fans.open.range(of_slot).next().is_some()
    }

    /// True: it was asked for this helper, which still waits.
    fn answered(&mut self, slot: u32, fan: u64, helper: u32) -> bool {
        let Some(open) = self.fleet.fans.open.get_mut(&(slot, fan)) else {
            // It was closed meanwhile, and its asks with it.
            return false;
        };
        if let Some(at) = open.asked.iter().position(|h| *h == helper) {
            open.asked.swap_remove(at);
            if let Some(s) = self.fleet.slots.get_mut(&helper) {
                s.work.asked = s.work.asked.saturating_sub(1);
            }
            return true;
        }
        match open.void.checked_sub(1) {
            Some(void) => open.void = void,
            None => self.condemn(slot, "it gives chunks that nobody asked for".into(), None),
        }
        false
    }

    fn chunk_given(
        &mut self,
        slot: u32,
        fan: u64,
        helper: u32,
        mut work: Work,
        input: bool,
        fd: Option<OwnedFd>,
    ) {
        let index = work.index;
        let wanted = self.answered(slot, fan, helper);
        let Some(open) = self.fleet.fans.open.get(&(slot, fan)) else {
            return;
        };
        let (check_id, run_id) = (open.check, open.run_id);
        if input && fd.is_none() {
            let end = Ended {
                code: E_RESOURCES,
                message: "the input of a chunk did not arrive: the manager has no descriptor left"
                    .into(),
                ..Ended::without_a_word(How::Done)
            };
            return self.tell_fan(slot, FanToWorker::Ended { fan, index, end }, None);
        }
        let now = clock::monotonic_ns();
        let check = self.checks.get(check_id);
        let check = check.filter(|c| {
            let flight = c.stage.flight();
            flight.is_some_and(|f| f.run_id == run_id && f.epoch == c.identity.epoch)
        });
        let ready = self
            .fleet
            .slots
            .get_mut(&helper)
            .filter(|s| wanted && s.state == SlotState::Ready);
        let (Some(check), Some(s)) = (check, ready) else {
            let end = Ended::without_a_word(How::Returned);
            return self.tell_fan(slot, FanToWorker::Ended { fan, index, end }, None);
        };
        let Some(link) = &mut s.process.link else {
            return;
        };
        work.deadline_ns = work
            .deadline_ns
            .min(now.saturating_add(crate::check::ns(check.spec.timeout)));
        self.fleet.fans.next_chunk += 1;
        let id = self.fleet.fans.next_chunk;
        let chunk = ChunkRun {
            id,
            run_id,
            check: check_id,
            epoch: check.identity.epoch,
            work,
            input,
        };
        link.define(check_id, check.identity.epoch, || check.define(check_id));
        link.queue_with(&ToWorker::Fan(FanToWorker::Chunk(chunk)), fd.map(Arc::new));
        s.accounts.chunks.dispatched += 1;
        let out = ChunkOut {
            parent: slot,
            fan,
            index,
            run_id,
            check: check_id,
            sent_ns: now,
            stopping: false,
        };
        s.work.chunks.insert(id, out);
    }

    fn chunk_done(&mut self, slot: u32, id: u64, end: Ended, fd: Option<OwnedFd>) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        let Some(out) = s.work.chunks.remove(&id) else {
            s.accounts.late += 1;
            return;
        };
        match end.how {
            How::Done => s.accounts.chunks.finished += 1,
            How::Returned | How::Cancelled | How::Died => s.accounts.chunks.lost += 1,
        }
        let Some(open) = self.fleet.fans.open.get_mut(&(out.parent, out.fan)) else {
            return;
        };
        if end.how == How::Returned && !out.stopping {
            open.avoided.insert(slot);
        }
        // Only a worker's death is a death, and the supervisor tells of it.
        let how = match end.how {
            How::Died => How::Cancelled,
            how => how,
        };
        if let Some(chunks) = self.run_chunks(out.check) {
            chunks.cpu_ns = chunks.cpu_ns.saturating_add(end.cpu_ns);
        }
        let message = FanToWorker::Ended {
            fan: out.fan,
            index: out.index,
            end: Ended { how, ..end },
        };
        self.tell_fan(out.parent, message, fd);
    }

    fn run_chunks(&mut self, check: u32) -> Option<&mut RunChunks> {
        let flight = self.checks.get_mut(check)?.stage.flight_mut()?;
        Some(&mut flight.chunks)
    }

    fn fan_closed(&mut self, slot: u32, fan: u64, run_id: u64, tally: Tally) {
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        let Some(check) = s.work.runs.get(&run_id).copied() else {
            return;
        };
        s.accounts.chunks.own += u64::from(tally.own);
        if let Some(chunks) = self.run_chunks(check) {
            let t = &mut chunks.tally;
            t.chunks = t.chunks.saturating_add(tally.chunks);
            t.own = t.own.saturating_add(tally.own);
            t.away = t.away.saturating_add(tally.away);
            t.again = t.again.saturating_add(tally.again);
        }
        self.close_fan(slot, fan);
    }

    fn close_fan(&mut self, slot: u32, fan: u64) {
        if let Some(open) = self.fleet.fans.open.remove(&(slot, fan)) {
            for helper in open.asked {
                if let Some(s) = self.fleet.slots.get_mut(&helper) {
                    s.work.asked = s.work.asked.saturating_sub(1);
                }
            }
        }
        self.stop_chunks(slot, Some(fan), true);
    }

    /// Takes the chunks of a parent back: those not begun, or all.
    fn stop_chunks(&mut self, parent: u32, fan: Option<u64>, begun: bool) {
        for s in self.fleet.slots.values_mut() {
            let Some(link) = &mut s.process.link else {
                continue;
            };
            for (id, out) in &mut s.work.chunks {
                let of_it = out.parent == parent && fan.is_none_or(|fan| fan == out.fan);
                if of_it && (begun || !out.stopping) {
                    out.stopping = true;
                    link.queue(&ToWorker::Fan(FanToWorker::Stop { id: *id, begun }));
                }
            }
        }
    }

    fn tell_fan(&mut self, slot: u32, message: FanToWorker, fd: Option<OwnedFd>) {
        if let Some(link) = self
            .fleet
            .slots
            .get_mut(&slot)
            .and_then(|s| s.process.link.as_mut())
        {
            link.queue_with(&ToWorker::Fan(message), fd.map(Arc::new));
        }
    }

    /// How many share the work, for a worker that starts.
    pub(super) fn crew_of(&self, slot: u32) -> Option<FanToWorker> {
        let s = self.fleet.slots.get(&slot)?;
        let spec = &s.spec;
        if !spec.class.row().fans_out {
            return None;
        }
        let workers = match s.pool() {
            None => 1,
            pool => {
                let of_crew = |o: &&Slot| o.pool() == pool && o.spec.generation == spec.generation;
                self.fleet.slots.values().filter(of_crew).count() as u32
            }
        };
        Some(FanToWorker::Crew { workers })
    }

    /// The chunk that a worker's thread is in, as far as we know: it takes them in order, so the oldest.
    pub(super) fn chunk_on_the_thread(&self, slot: u32) -> Option<(u64, u32)> {
        let out = self.fleet.slots.get(&slot)?.work.chunks.values().next()?;
        Some((out.run_id, out.check))
    }

    /// A cpu worker has died: its own fan-outs end, and the chunks that it had are begun elsewhere.
    /// `in_a_run`: it died in a run, so no chunk died with it. `blame`: a chunk did it, for certain.
    pub(super) fn chunks_of_the_dead(
        &mut self,
        slot: u32,
        in_a_run: bool,
        blame: Option<&str>,
        story: &str,
    ) {
        let fans: Vec<u64> = self
            .fleet
            .fans
            .open
            .range((slot, 0)..=(slot, u64::MAX))
            .map(|((_, fan), _)| *fan)
            .collect();
        for fan in fans {
            self.close_fan(slot, fan);
        }
        self.stop_chunks(slot, None, true);
        for open in self.fleet.fans.open.values_mut() {
            let before = open.asked.len();
            open.asked.retain(|h| *h != slot);
            open.void += (before - open.asked.len()) as u32;
            // The next worker there may do what this one could not.
            open.avoided.remove(&slot);
        }
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return;
        };
        s.work.asked = 0;
        let chunks = std::mem::take(&mut s.work.chunks);
        s.accounts.chunks.lost += chunks.len() as u64;
        for (nth, out) in chunks.into_values().enumerate() {
            let end = if nth == 0 && !in_a_run {
                if blame.is_some()
                    && let Some(chunks) = self.run_chunks(out.check)
                {
                    chunks.killed += 1;
                }
                Ended {
                    message: blame.unwrap_or(story).to_owned(),
                    ..Ended::without_a_word(How::Died)
                }
            } else {
                Ended::without_a_word(How::Returned)
            };
            let message = FanToWorker::Ended {
                fan: out.fan,
                index: out.index,
                end,
            };
            self.tell_fan(out.parent, message, None);
        }
    }

    /// Chunks that a worker has forgotten: their parents have ended long ago, or wait for ever.
    pub(super) fn forgotten_chunk(&self, slot: u32, now: u64, least_ns: u64) -> bool {
        self.fleet.slots.get(&slot).is_some_and(|s| {
            s.work.chunks.values().any(|out| {
                let timeout = self
                    .checks
                    .get(out.check)
                    .map_or(0, |c| crate::check::ns(c.spec.timeout));
                let since = self.clockwork.stood.since(out.sent_ns);
                now.saturating_sub(since) > timeout.saturating_mul(2).max(least_ns)
            })
        })
    }
}
