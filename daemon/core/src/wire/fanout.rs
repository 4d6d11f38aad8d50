//! The records of a fan-out: how chunks of one run's work travel from its worker to others and back.
//!
//! The worker with the run (the parent) keeps the chunks. The manager asks it for one when another worker has
//! time; input and output are fds that travel with the record, and the manager never looks into them.

use super::frame::{Get, Put, WireError};

/// Tags of the records; see `worker.rs` for the others.
pub(super) mod tag {
    pub const CREW: u8 = 30;
    pub const ASK: u8 = 31;
    pub const CHUNK: u8 = 32;
    pub const STOP: u8 = 33;
    pub const ENDED: u8 = 34;
    pub const WANTS: u8 = 90;
    pub const GIVEN: u8 = 91;
    pub const NONE_LEFT: u8 = 92;
    pub const DONE: u8 = 93;
    pub const IDLE: u8 = 94;
    pub const CLOSED: u8 = 95;
}

/// Manager to worker.
#[derive(Clone, Debug, PartialEq)]
pub enum FanToWorker {
    /// So many workers share this class's work.
    Crew { workers: u32 },
    /// To the parent: give a chunk for the worker in slot `helper`.
    Ask { fan: u64, helper: u32 },
    /// To a helper; the input travels with it.
    Chunk(ChunkRun),
    /// To a helper: take it back if it has not begun; if it has, leave it or (`begun`) cancel it.
    Stop { id: u64, begun: bool },
    /// To the parent: a chunk that was given has ended; the output travels with it.
    Ended { fan: u64, index: u32, end: Ended },
}

/// Worker to manager.
#[derive(Clone, Debug, PartialEq)]
pub enum FanToManager {
    /// This run has chunks for others.
    Wants { fan: u64, run_id: u64, attempt: u8 },
    /// The answer to `Ask`; the input travels with it.
    Given {
        fan: u64,
        helper: u32,
        work: Work,
        input: bool,
    },
    /// The answer to `Ask` when there is none.
    NoneLeft { fan: u64, helper: u32 },
    /// From a helper; the output travels with it.
    Done { id: u64, end: Ended },
    /// The parent has nothing left to do itself: what others have not begun, it takes back.
    Idle { fan: u64 },
    /// It is over; what is still away is cancelled.
    Closed { fan: u64, run_id: u64, tally: Tally },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub kind: u32,
    pub index: u32,
    pub count: u32,
    pub from: u64,
    pub to: u64,
    /// CLOCK_MONOTONIC: its parent's.
    pub deadline_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRun {
    /// Of this dispatch, given by the manager.
    pub id: u64,
    pub run_id: u64,
    pub check: u32,
    pub epoch: u32,
    pub work: Work,
    pub input: bool,
}

/// The ABI's code for a machine that lacks something; neither side of this link asks the plugin for it.
pub const E_RESOURCES: i32 = -6;

/// How a chunk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub how: How,
    /// What `chunk` returned, if it did.
    pub code: i32,
    pub cpu_ns: u64,
    pub output: bool,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum How {
    /// It has run to its end, good or bad.
    Done = 0,
    /// It was not begun, and its parent has it again.
    Returned = 1,
    Cancelled = 2,
    /// Its worker died with it.
    Died = 3,
}

impl How {
    fn from_code(code: u8) -> Option<How> {
        [How::Done, How::Returned, How::Cancelled, How::Died]
            .get(usize::from(code))
            .copied()
    }
}

/// What became of the chunks of a fan-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In how many chunks the work was cut.
    pub chunks: u32,
    /// Done in the parent's own worker, and in others.
    pub own: u32,
    pub away: u32,
    /// Died with a worker, and begun again.
    pub again: u32,
}

impl Ended {
    pub fn without_a_word(how: How) -> Ended {
        Ended {
            how,
            code: 0,
            cpu_ns: 0,
            output: false,
            message: String::new(),
        }
    }

    fn put(&self, p: &mut Put<'_>) {
        p.u8(self.how as u8)
            .u32(self.code as u32)
            .u64(self.cpu_ns)
            .u8(u8::from(self.output))
            .text(&self.message);
    }

    fn get(g: &mut Get<'_>) -> Result<Ended, WireError> {
        Ok(Ended {
            how: How::from_code(g.u8()?).ok_or(WireError::BadValue {
                what: "a chunk's end",
            })?,
            code: g.u32()? as i32,
            cpu_ns: g.u64()?,
            output: g.u8()? != 0,
            message: g.text()?.to_owned(),
        })
    }
}

impl Work {
    fn put(&self, p: &mut Put<'_>) {
        p.u32(self.kind)
            .u32(self.index)
            .u32(self.count)
            .u64(self.from)
            .u64(self.to)
            .u64(self.deadline_ns);
    }

    fn get(g: &mut Get<'_>) -> Result<Work, WireError> {
        Ok(Work {
            kind: g.u32()?,
            index: g.u32()?,
            count: g.u32()?,
            from: g.u64()?,
            to: g.u64()?,
            deadline_ns: g.u64()?,
        })
    }
}

impl FanToWorker {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FanToWorker::Crew { workers } => drop(Put::record(out, tag::CREW).u32(*workers)),
            FanToWorker::Ask { fan, helper } => {
                Put::record(out, tag::ASK).u64(*fan).u32(*helper);
            }
            FanToWorker::Chunk(c) => {
                let mut p = Put::record(out, tag::CHUNK);
                p.u64(c.id)
                    .u64(c.run_id)
                    .u32(c.check)
                    .u32(c.epoch)
                    .u8(u8::from(c.input));
                c.work.put(&mut p);
            }
            FanToWorker::Stop { id, begun } => {
                Put::record(out, tag::STOP).u64(*id).u8(u8::from(*begun));
            }
            FanToWorker::Ended { fan, index, end } => {
                let mut p = Put::record(out, tag::ENDED);
                p.u64(*fan).u32(*index);
                end.put(&mut p);
            }
        }
    }

    /// None: not one of these tags.
    pub(super) fn decode(tag: u8, g: &mut Get<'_>) -> Result<Option<FanToWorker>, WireError> {
        Ok(Some(match tag {
            tag::CREW => FanToWorker::Crew { workers: g.u32()? },
            tag::ASK => FanToWorker::Ask {
                fan: g.u64()?,
                helper: g.u32()?,
            },
            tag::CHUNK => FanToWorker::Chunk(ChunkRun {
                id: g.u64()?,
                run_id: g.u64()?,
                check: g.u32()?,
                epoch: g.u32()?,
                input: g.u8()? != 0,
                work: Work::get(g)?,
            }),
            tag::STOP => FanToWorker::Stop {
                id: g.u64()?,
                begun: g.u8()? != 0,
            },
            tag::ENDED => FanToWorker::Ended {
                fan: g.u64()?,
                index: g.u32()?,
                end: Ended::get(g)?,
            },
            _ => return Ok(None),
        }))
    }
}

impl FanToManager {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FanToManager::Wants {
                fan,
                run_id,
                attempt,
            } => {
                Put::record(out, tag::WANTS)
                    .u64(*fan)
                    .u64(*run_id)
                    .u8(*attempt);
            }
            FanToManager::Given {
                fan,
                helper,
                work,
                input,
            } => {
                let mut p = Put::record(out, tag::GIVEN);
                p.u64(*fan).u32(*helper).u8(u8::from(*input));
                work.put(&mut p);
            }
            FanToManager::NoneLeft { fan, helper } => {
                Put::record(out, tag::NONE_LEFT).u64(*fan).u32(*helper);
            }
            FanToManager::Done { id, end } => {
                let mut p = Put::record(out, tag::DONE);
                p.u64(*id);
                end.put(&mut p);
            }
            FanToManager::Idle { fan } => drop(Put::record(out, tag::IDLE).u64(*fan)),
            FanToManager::Closed { fan, run_id, tally } => {
                Put::record(out, tag::CLOSED)
                    .u64(*fan)
                    .u64(*run_id)
                    .u32(tally.chunks)
                    .u32(tally.own)
                    .u32(tally.away)
                    .u32(tally.again);
            }
        }
    }

    /// None: not one of these tags.
    pub(super) fn decode(tag: u8, g: &mut Get<'_>) -> Result<Option<FanToManager>, WireError> {
        Ok(Some(match tag {
            tag::WANTS => FanToManager::Wants {
                fan: g.u64()?,
                run_id: g.u64()?,
                attempt: g.u8()?,
            },
            tag::GIVEN => FanToManager::Given {
                fan: g.u64()?,
                helper: g.u32()?,
                input: g.u8()? != 0,
                work: Work::get(g)?,
            },
            tag::NONE_LEFT => FanToManager::NoneLeft {
                fan: g.u64()?,
                helper: g.u32()?,
            },
            tag::DONE => FanToManager::Done {
                id: g.u64()?,
                end: Ended::get(g)?,
            },
            tag::IDLE => FanToManager::Idle { fan: g.u64()? },
            tag::CLOSED => FanToManager::Closed {
                fan: g.u64()?,
                run_id: g.u64()?,
                tally: Tally {
                    chunks: g.u32()?,
                    own: g.u32()?,
                    away: g.u32()?,
                    again: g.u32()?,
                },
            },
            _ => return Ok(None),
        }))
    }
}
