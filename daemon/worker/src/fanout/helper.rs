//! Chunks of other workers' runs: they wait until no run is on the thread, and go one at a time.

use super::Worked;
use crate::active::{Active, State};
use crate::reactor::{MS, Reactor, Timer, key};
use crate::run_lane::What;
use crate::verdict::End;
use healthd_abi as abi;
use healthd_core::check::fault::Fault;
use healthd_core::wire::fanout::{ChunkRun, Ended, FanToManager, How, Work};
use healthd_core::wire::worker::{Ending, Run, ToManager};
use healthd_loader::Results;
use healthd_sys::clock;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A chunk that was cancelled and does not come back is written off after this.
const GRACE_NS: u64 = 2000 * MS;
/// Of a chunk's message: it is a line.
const MAX_MESSAGE: usize = 2048;

/// What makes a run of `Reactor::active` a chunk of somebody else's.
pub struct ChunkJob {
    /// The manager's number for it.
    pub id: u64,
    pub work: Work,
    pub input: Option<Arc<OwnedFd>>,
    /// Handed to the thread.
    pub begun: bool,
    pub cancelled: bool,
}

impl Reactor {
    pub(crate) fn accept_chunk(&mut self, chunk: ChunkRun, input: Option<OwnedFd>) {
        if chunk.input && input.is_none() {
            let end = Ended {
                code: abi::E_RESOURCES,
                message: "the input of a chunk did not arrive: no free descriptor".into(),
                ..Ended::without_a_word(How::Done)
            };
            self.chunk_done_says(chunk.id, end, None);
            return;
        }
        let stamp = self.next_stamp;
        self.next_stamp = self.next_stamp.wrapping_add(1) & 0x3fff_ffff;
        let run = Run {
            run_id: chunk.run_id,
            check: chunk.check,
            epoch: chunk.epoch,
            attempt: 1,
            start_ns: clock::monotonic_ns(),
            last_status: 255,
            urgent: true,
        };
        let mut active = Active::new(stamp, run);
        active.chunk = Some(ChunkJob {
            id: chunk.id,
            work: chunk.work,
            input: input.map(Arc::new),
            begun: false,
            cancelled: false,
        });
        let at = self.active.insert(active);
        self.chunks.push_back(key(at, stamp));
    }

    /// Runs go before chunks: the next chunk begins when nothing is on the thread, or waits for it.
    pub(crate) fn let_chunks_in(&mut self) {
        while !self.chunks.is_empty() && !self.thread_in_use() {
            let Some(key) = self.chunks.pop_front() else {
                return;
            };
            self.begin(key, clock::monotonic_ns());
        }
    }

    fn thread_in_use(&self) -> bool {
        self.active
            .iter()
            .any(|(_, a)| matches!(a.state, State::Job(_)))
    }

    pub(crate) fn chunk_of(&self, key: u64) -> Option<What> {
        let active = self.find(key).map(|at| &self.active[at])?;
        let chunk = active.chunk.as_ref()?;
        let instance = self.ready_instance(active.run.check)?;
        Some(What::Chunk {
            instance,
            work: chunk.work,
            input: chunk.input.clone(),
        })
    }

    pub(crate) fn stop_chunk(&mut self, id: u64, begun: bool) {
        let found = self
            .active
            .iter()
            .find(|(_, a)| a.chunk.as_ref().is_some_and(|c| c.id == id))
            .map(|(at, a)| (at, key(at, a.stamp)));
        let Some((at, key)) = found else { return };
        let job = match &self.active[at].state {
            State::Job(info) => Some(info.clone()),
            _ => None,
        };
        match (job, begun) {
            (None, _) => self.end_early(key, End::cancelled()),
            (Some(_), false) => {}
            // The instance that is being made is not this chunk's alone: it ends when that is there.
            (Some(info), true) if info.is_create => {
                if let Some(chunk) = &mut self.active[at].chunk {
                    chunk.cancelled = true;
                }
            }
            // It is asked to come back, and has a moment for it.
            (Some(info), true) => {
                let by = clock::monotonic_ns() + GRACE_NS;
                if let Some(chunk) = &mut self.active[at].chunk {
                    chunk.cancelled = true;
                    chunk.work.deadline_ns = chunk.work.deadline_ns.min(by);
                }
                info.cancel.cancel();
                let timer = self.wheel.insert(by.div_ceil(MS), Timer::Deadline(key));
                if let Some(old) = self.active[at].timer.replace(timer) {
                    self.wheel.cancel(old);
                }
            }
        }
    }

    /// A thread has come back from a chunk.
    pub(crate) fn chunk_back(&mut self, key: u64, epoch: u32, worked: Worked) {
        let Some(at) = self.find(key) else { return };
        let active = self.remove_active(at);
        if worked.code == abi::E_PANIC {
            self.drop_instance(active.run.check, epoch);
        }
        let Some(chunk) = active.chunk else { return };
        let how = if chunk.cancelled && worked.code != abi::OK {
            How::Cancelled
        } else {
            How::Done
        };
        let end = Ended {
            how,
            code: worked.code,
            cpu_ns: worked.cpu_ns,
            output: worked.output.is_some(),
            message: capped(worked.message),
        };
        self.chunk_done_says(chunk.id, end, worked.output.map(Arc::new));
    }

    /// The host ended it: it never began, was taken back, or is not back in time.
    pub(crate) fn chunk_ended(&mut self, chunk: &ChunkJob, end: &End, said: Results, cpu_ns: u64) {
        let how = match end.ending {
            _ if !chunk.begun => How::Returned,
            Ending::Cancelled => How::Cancelled,
            _ if chunk.cancelled => How::Cancelled,
            _ => How::Done,
        };
        let code = match end.ending {
            Ending::Fault(fault) if fault.is_own() => abi::E_RESOURCES,
            Ending::Fault(Fault::Overrun | Fault::Timeout) | Ending::Cancelled => abi::E_CANCELLED,
            Ending::Fault(_) | Ending::Returned => abi::E_INTERNAL,
        };
        let message = match said.message.is_empty() {
            true => end.why.clone(),
            false => format!("{}: {}", end.why, said.message),
        };
        let end = Ended {
            how,
            code,
            cpu_ns,
            output: false,
            message: capped(message),
        };
        self.chunk_done_says(chunk.id, end, None);
    }

    fn chunk_done_says(&mut self, id: u64, end: Ended, output: Option<Arc<OwnedFd>>) {
        let message = ToManager::Fan(FanToManager::Done { id, end });
        self.outbox.say_with(&message, output);
    }
}

fn capped(mut text: String) -> String {
    text.truncate(healthd_core::text::cut(&text, MAX_MESSAGE).len());
    text
}
