//! Chunks of a run's work on their way between workers: which worker gets one, and the account of each.
//!
//! The run's own worker (the parent) keeps the chunks; when another cpu worker of its generation has time, the
//! parent is asked for one. Input and output pass through as fds that are never looked into. A dispatch of a
//! chunk ends as finished or lost, in accounts of its own beside those of the runs.

use healthd_core::wire::control::RunFanout;
use healthd_core::wire::fanout::Tally;
use std::collections::{BTreeMap, BTreeSet};

/// A helper has one chunk on its thread and one that waits behind it.
pub(super) const CHUNKS_A_HELPER: usize = 2;
/// Outputs that a parent may hold, each by an fd; see the worker's window.
pub const FDS_A_PARENT: u64 = 140;
/// A run has one fan-out open at a time; more than this from one worker is no run's doing.
pub(super) const FANS_A_SLOT: usize = 16;

/// Every fan-out that is open and wants help, by the slot of its run and the worker's number for it.
#[derive(Default)]
pub struct Fans {
    pub(super) open: BTreeMap<(u32, u64), OpenFan>,
    pub(super) next_chunk: u64,
    /// Who was served last, so that each has its turn.
    pub(super) served: (u32, u64),
}

pub(super) struct OpenFan {
    pub(super) run_id: u64,
    pub(super) check: u32,
    pub(super) wants: bool,
    /// Helpers for which it was asked and has not answered.
    pub(super) asked: Vec<u32>,
    /// Answers to come for helpers that have died meanwhile.
    pub(super) void: u32,
    /// Helpers that gave a chunk back unasked: they cannot run it.
    pub(super) avoided: BTreeSet<u32>,
}

/// A chunk that a helper has.
pub struct ChunkOut {
    pub(super) parent: u32,
    pub(super) fan: u64,
    pub(super) index: u32,
    pub(super) run_id: u64,
    pub(super) check: u32,
    pub sent_ns: u64,
    /// It was asked back.
    pub(super) stopping: bool,
}

/// What became of a slot's chunks: `dispatched = finished + in flight + lost`, as with runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkAccounts {
    pub dispatched: u64,
    pub finished: u64,
    /// Its worker died or was replaced, it was taken back, or its run ended first.
    pub lost: u64,
    /// Run by the parent itself: never dispatched.
    pub own: u64,
}

impl ChunkAccounts {
    pub fn add(&mut self, other: &ChunkAccounts) {
        self.dispatched += other.dispatched;
        self.finished += other.finished;
        self.lost += other.lost;
        self.own += other.own;
    }
}

/// What a run's fan-outs came to, for who asks about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunChunks {
    pub tally: Tally,
    /// In other workers.
    pub cpu_ns: u64,
    /// Workers that died of a chunk.
    pub killed: u32,
}

impl RunChunks {
    pub fn shown(&self) -> Option<RunFanout> {
        (self.tally.chunks > 0).then(|| RunFanout {
            chunks: self.tally.chunks.into(),
            own: self.tally.own.into(),
            elsewhere: self.tally.away.into(),
            again: self.tally.again.into(),
            elsewhere_cpu_ms: self.cpu_ns as f64 / 1e6,
        })
    }
}
