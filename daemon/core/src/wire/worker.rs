//! What the manager and a worker say to each other, over one SOCK_SEQPACKET pair a worker.
//!
//! A message holds any number of records; `frame.rs` has their shape. A worker is trusted no further than
//! this: bytes that are not a record mean that it is broken and must be replaced.

use super::asks::{LockAsk, MapAsk, MapReply};
use super::fanout::{FanToManager, FanToWorker};
use super::frame::{Get, Put, WireError};
use super::report::Report;
use super::sandbox::{Layers, Sandbox};
use crate::check::fault::Fault;
use crate::check::outcome::{Metric, Phase, Status};

/// Manager to worker.
#[derive(Clone, Debug, PartialEq)]
pub enum ToWorker {
    /// Load this plugin; the message carries the fd of its sealed copy.
    Load {
        plugin: u16,
        index: u32,
        name: String,
        file: String,
    },
    /// To be put on before the first plugin is loaded.
    Sandbox(Sandbox),
    /// All plugins have been named: initialise them, then say `Ready`.
    Start,
    /// The spec of a check, before its first run here; `epoch` tells it from an older one of the same id.
    Define(Define),
    Run(Run),
    /// What that run delivers; before it, with a sealed memfd in which the message is.
    Notice(Notice),
    /// Take a run back. Its result, `cancelled`, still comes, so that each dispatch has one end.
    Cancel {
        run_id: u64,
        attempt: u8,
    },
    /// The check is gone or changed: destroy the instance.
    Forget {
        check: u32,
        epoch: u32,
    },
    /// The answer to a `ToManager::Map`.
    Map(Box<MapReply>),
    /// The answer to a `ToManager::Lock`: 0, or -errno.
    Lock {
        ask: u64,
        error: i32,
    },
    /// No more runs will come: finish what there is, then say `Drained` and exit.
    Drain,
    Fan(FanToWorker),
    /// Measure what each call leaves behind (memory, descriptors), or stop doing so.
    Measure {
        on: bool,
    },
    /// Start programs only as far as the processors can serve them.
    Pace,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Define {
    pub check: u32,
    pub epoch: u32,
    pub plugin: u16,
    pub timeout_ns: u64,
    pub timeout_status: Status,
    /// A result may wait this long for others to travel with it.
    pub batch_ns: u64,
    pub name: String,
    pub config: String,
    /// Where in it secrets are (JSON pointers): they must be in nothing that the worker says.
    pub secrets: Vec<String>,
}

/// The head of a message that a run delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub run_id: u64,
    pub id: String,
    pub notice: String,
    pub kind: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub run_id: u64,
    pub check: u32,
    pub epoch: u32,
    /// 1, or 2 when a worker died with the first.
    pub attempt: u8,
    pub start_ns: u64,
    /// Status of the run before; 255: none. A result that differs is sent at once.
    pub last_status: u8,
    /// A client waits: send the result at once.
    pub urgent: bool,
}

/// Worker to manager.
#[derive(Clone, Debug, PartialEq)]
pub enum ToManager {
    /// This plugin cannot be used in this worker.
    LoadFailed {
        plugin: u16,
        reason: String,
    },
    Ready {
        threads: u32,
        /// Of its sandbox.
        layers: Layers,
    },
    Finished(Box<Finished>),
    /// Threads are stuck in plugin calls: replace this worker when its other runs are done.
    Unwell {
        reason: String,
    },
    Drained,
    Fan(FanToManager),
    /// The numbers of one of its plugins' caches.
    Cache(CacheNumbers),
    Map(Box<MapAsk>),
    Lock(Box<LockAsk>),
    /// What that ask holds, or waits for, is given back.
    Unlock {
        ask: u64,
    },
    /// The program of this run, which ends now, does not end: what the run holds alone is not free.
    ChildLivesOn {
        run_id: u64,
        pid: u32,
        /// We may not kill it; else it hangs in the kernel.
        forbidden: bool,
    },
    /// One of those has ended.
    ChildGone {
        pid: u32,
    },
    /// What a run has cost after its end was told: a call that was written off and has come back, a child
    /// that was killed.
    Billed {
        check: u32,
        epoch: u32,
        cpu_ns: u64,
        grew: Growth,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheNumbers {
    pub plugin: String,
    pub name: String,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub entries: u64,
}

/// What was there after a call, or many, more than before: kB of memory and descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub kb: i32,
    pub fds: i32,
}

impl Growth {
    pub fn add(&mut self, other: Growth) {
        self.kb = self.kb.saturating_add(other.kb);
        self.fds = self.fds.saturating_add(other.fds);
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The plugin returned a status.
    Returned,
    /// Not by the plugin's own word.
    Fault(Fault),
    /// Taken back by the manager.
    Cancelled,
}

impl Ending {
    const RETURNED: u8 = 0;
    /// No fault has this code.
    const CANCELLED: u8 = 64;

    fn code(self) -> u8 {
        match self {
            Ending::Returned => Self::RETURNED,
            Ending::Fault(fault) => fault as u8,
            Ending::Cancelled => Self::CANCELLED,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Ending> {
        match code {
            Self::RETURNED => Some(Ending::Returned),
            Self::CANCELLED => Some(Ending::Cancelled),
            code => Fault::from_code(code).map(Ending::Fault),
        }
    }

    pub fn fault(self) -> Option<Fault> {
        match self {
            Ending::Fault(fault) => Some(fault),
            Ending::Returned | Ending::Cancelled => None,
        }
    }

    /// It says nothing about the target, and changes no verdict.
    pub fn is_own(self) -> bool {
        self.fault().is_some_and(Fault::is_own)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub run_id: u64,
    pub check: u32,
    pub attempt: u8,
    pub status: Status,
    pub ending: Ending,
    pub started_ns: u64,
    pub finished_ns: u64,
    /// Between due and started.
    pub queue_ns: u64,
    pub cpu_ns: u64,
    /// Calls into the plugin, and those of them that blocked the reactor for too long.
    pub steps: u32,
    pub stalls: u32,
    /// So many of these were its own doing, and not that of a machine that did not let it run.
    pub blocked: u32,
    /// Known only while the worker measures.
    pub grew: Growth,
    pub message: String,
    pub detail: String,
    pub metrics: Vec<Metric>,
    pub labels: Vec<(String, String)>,
    pub phases: Vec<Phase>,
}

/// A `Finished` without what its run said, for who has that in [`Lists`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunEnd {
    pub run_id: u64,
    pub check: u32,
    pub attempt: u8,
    pub status: Status,
    pub ending: Ending,
    pub started_ns: u64,
    pub finished_ns: u64,
    pub queue_ns: u64,
    pub cpu_ns: u64,
    pub steps: u32,
    pub stalls: u32,
    pub blocked: u32,
    pub grew: Growth,
}

/// Metrics, labels and phases of a run, written as they go on the link while they are said: so each name is copied once,
/// and their room serves the next run.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    metrics: List,
    labels: List,
    phases: List,
}

#[derive(Clone, Debug, Default)]
struct List {
    count: u16,
    written: Vec<u8>,
}

mod tag {
    pub const LOAD: u8 = 1;
    pub const START: u8 = 2;
    pub const DEFINE: u8 = 3;
    pub const RUN: u8 = 4;
    pub const CANCEL: u8 = 5;
    pub const FORGET: u8 = 6;
    pub const DRAIN: u8 = 7;
    pub const MEASURE: u8 = 13;
    pub const PACE: u8 = 14;
    pub const NOTICE: u8 = 15;
    pub const SANDBOX: u8 = 16;
    pub const LOAD_FAILED: u8 = 64;
    pub const READY: u8 = 65;
    pub const FINISHED: u8 = 66;
    pub const DRAINED: u8 = 67;
    pub const UNWELL: u8 = 68;
    pub const MAP_REPLY: u8 = 20;
    pub const LOCK_REPLY: u8 = 21;
    pub const CACHE: u8 = 80;
    pub const MAP: u8 = 81;
    pub const LOCK: u8 = 82;
    pub const UNLOCK: u8 = 83;
    pub const BILLED: u8 = 73;
    pub const CHILD_LIVES_ON: u8 = 74;
    pub const CHILD_GONE: u8 = 75;
}

impl ToWorker {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ToWorker::Load {
                plugin,
                index,
                name,
                file,
            } => {
                Put::record(out, tag::LOAD)
                    .u16(*plugin)
                    .u32(*index)
                    .text(name)
                    .text(file);
            }
            ToWorker::Sandbox(sandbox) => sandbox.put(&mut Put::record(out, tag::SANDBOX)),
            ToWorker::Start => drop(Put::record(out, tag::START)),
            ToWorker::Define(d) => d.encode(out),
            ToWorker::Run(r) => r.encode(out),
            ToWorker::Cancel { run_id, attempt } => {
                Put::record(out, tag::CANCEL).u64(*run_id).u8(*attempt);
            }
            ToWorker::Forget { check, epoch } => {
                Put::record(out, tag::FORGET).u32(*check).u32(*epoch);
            }
            ToWorker::Map(reply) => reply.put(Put::record(out, tag::MAP_REPLY)),
            ToWorker::Lock { ask, error } => {
                Put::record(out, tag::LOCK_REPLY)
                    .u64(*ask)
                    .u32(error.cast_unsigned());
            }
            ToWorker::Drain => drop(Put::record(out, tag::DRAIN)),
            ToWorker::Fan(f) => f.encode(out),
            ToWorker::Measure { on } => drop(Put::record(out, tag::MEASURE).u8(u8::from(*on))),
            ToWorker::Notice(n) => {
                Put::record(out, tag::NOTICE)
                    .u64(n.run_id)
                    .text(&n.id)
                    .text(&n.notice)
                    .text(&n.kind);
            }
            ToWorker::Pace => drop(Put::record(out, tag::PACE)),
        }
    }

    pub fn decode(message: &mut &[u8]) -> Result<Option<ToWorker>, WireError> {
        let Some((tag, mut g)) = Get::record(message)? else {
            return Ok(None);
        };
        Ok(Some(match tag {
            tag::LOAD => ToWorker::Load {
                plugin: g.u16()?,
                index: g.u32()?,
                name: g.text()?.to_owned(),
                file: g.text()?.to_owned(),
            },
            tag::SANDBOX => ToWorker::Sandbox(Sandbox::get(&mut g)?),
            tag::START => ToWorker::Start,
            tag::DEFINE => ToWorker::Define(Define {
                check: g.u32()?,
                epoch: g.u32()?,
                plugin: g.u16()?,
                timeout_ns: g.u64()?,
                timeout_status: status(g.u8()?)?,
                batch_ns: g.u64()?,
                name: g.text()?.to_owned(),
                config: g.text()?.to_owned(),
                secrets: secrets(&mut g)?,
            }),
            tag::RUN => ToWorker::Run(Run {
                run_id: g.u64()?,
                check: g.u32()?,
                epoch: g.u32()?,
                attempt: g.u8()?,
                start_ns: g.u64()?,
                last_status: g.u8()?,
                urgent: g.u8()? != 0,
            }),
            tag::CANCEL => ToWorker::Cancel {
                run_id: g.u64()?,
                attempt: g.u8()?,
            },
            tag::FORGET => ToWorker::Forget {
                check: g.u32()?,
                epoch: g.u32()?,
            },
            tag::MAP_REPLY => ToWorker::Map(Box::new(MapReply::get(&mut g)?)),
            tag::LOCK_REPLY => ToWorker::Lock {
                ask: g.u64()?,
                error: g.u32()?.cast_signed(),
            },
            tag::DRAIN => ToWorker::Drain,
            tag::MEASURE => ToWorker::Measure { on: g.u8()? != 0 },
            tag::PACE => ToWorker::Pace,
            tag::NOTICE => ToWorker::Notice(Notice {
                run_id: g.u64()?,
                id: g.text()?.to_owned(),
                notice: g.text()?.to_owned(),
                kind: g.text()?.to_owned(),
            }),
            tag => match FanToWorker::decode(tag, &mut g)? {
                Some(f) => ToWorker::Fan(f),
                None => return Err(WireError::UnknownTag { tag }),
            },
        }))
    }
}

fn secrets(g: &mut Get<'_>) -> Result<Vec<String>, WireError> {
    (0..g.u32()?).map(|_| Ok(g.text()?.to_owned())).collect()
}

impl Define {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = Put::record(out, tag::DEFINE);
        put.u32(self.check)
            .u32(self.epoch)
            .u16(self.plugin)
            .u64(self.timeout_ns)
            .u8(self.timeout_status as u8)
            .u64(self.batch_ns)
            .text(&self.name)
            .text(&self.config)
            .u32(self.secrets.len() as u32);
        for place in &self.secrets {
            put.text(place);
        }
    }
}

impl Run {
    pub fn encode(&self, out: &mut Vec<u8>) {
        Put::record(out, tag::RUN)
            .u64(self.run_id)
            .u32(self.check)
            .u32(self.epoch)
            .u8(self.attempt)
            .u64(self.start_ns)
            .u8(self.last_status)
            .u8(u8::from(self.urgent));
    }
}

impl ToManager {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ToManager::LoadFailed { plugin, reason } => {
                Put::record(out, tag::LOAD_FAILED).u16(*plugin).text(reason);
            }
            ToManager::Ready { threads, layers } => {
                Put::record(out, tag::READY).u32(*threads).u8(layers.bits());
            }
            ToManager::Finished(f) => f.encode(out),
            ToManager::Unwell { reason } => drop(Put::record(out, tag::UNWELL).text(reason)),
            ToManager::Drained => drop(Put::record(out, tag::DRAINED)),
            ToManager::Map(ask) => ask.put(Put::record(out, tag::MAP)),
            ToManager::Lock(ask) => ask.put(Put::record(out, tag::LOCK)),
            ToManager::Unlock { ask } => drop(Put::record(out, tag::UNLOCK).u64(*ask)),
            ToManager::Fan(f) => f.encode(out),
            ToManager::Cache(c) => {
                Put::record(out, tag::CACHE)
                    .text(&c.plugin)
                    .text(&c.name)
                    .u64(c.hits)
                    .u64(c.misses)
                    .u64(c.evictions)
                    .u64(c.entries);
            }
            ToManager::ChildLivesOn {
                run_id,
                pid,
                forbidden,
            } => {
                Put::record(out, tag::CHILD_LIVES_ON)
                    .u64(*run_id)
                    .u32(*pid)
                    .u8(u8::from(*forbidden));
            }
            ToManager::ChildGone { pid } => drop(Put::record(out, tag::CHILD_GONE).u32(*pid)),
            ToManager::Billed {
                check,
                epoch,
                cpu_ns,
                grew,
            } => {
                let mut p = Put::record(out, tag::BILLED);
                grew.put(p.u32(*check).u32(*epoch).u64(*cpu_ns));
            }
        }
    }

    pub fn decode(message: &mut &[u8]) -> Result<Option<ToManager>, WireError> {
        Ok(Heard::decode(message)?.map(|heard| match heard {
            Heard::Finished(report) => ToManager::Finished(Box::new(report.into())),
            Heard::Else(message) => message,
        }))
    }
}

/// What a worker says, as the manager reads it: most of it are results, and their texts stay where they are.
pub enum Heard<'a> {
    Finished(Report<'a>),
    Else(ToManager),
}

impl<'a> Heard<'a> {
    pub fn decode(message: &mut &'a [u8]) -> Result<Option<Heard<'a>>, WireError> {
        let Some((tag, mut g)) = Get::record(message)? else {
            return Ok(None);
        };
        Ok(Some(Heard::Else(match tag {
            tag::FINISHED => return Ok(Some(Heard::Finished(Report::get(&mut g)?))),
            tag::LOAD_FAILED => ToManager::LoadFailed {
                plugin: g.u16()?,
                reason: g.text()?.to_owned(),
            },
            tag::READY => ToManager::Ready {
                threads: g.u32()?,
                layers: Layers::from_bits(g.u8()?),
            },
            tag::UNWELL => ToManager::Unwell {
                reason: g.text()?.to_owned(),
            },
            tag::DRAINED => ToManager::Drained,
            tag::MAP => ToManager::Map(Box::new(MapAsk::get(&mut g)?)),
            tag::LOCK => ToManager::Lock(Box::new(LockAsk::get(&mut g)?)),
            tag::UNLOCK => ToManager::Unlock { ask: g.u64()? },
            tag::CACHE => ToManager::Cache(CacheNumbers {
                plugin: g.text()?.to_owned(),
                name: g.text()?.to_owned(),
                hits: g.u64()?,
                misses: g.u64()?,
                evictions: g.u64()?,
                entries: g.u64()?,
            }),
            tag::CHILD_LIVES_ON => ToManager::ChildLivesOn {
                run_id: g.u64()?,
                pid: g.u32()?,
                forbidden: g.u8()? != 0,
            },
            tag::CHILD_GONE => ToManager::ChildGone { pid: g.u32()? },
            tag::BILLED => ToManager::Billed {
                check: g.u32()?,
                epoch: g.u32()?,
                cpu_ns: g.u64()?,
                grew: Growth::get(&mut g)?,
            },
            tag => match FanToManager::decode(tag, &mut g)? {
                Some(f) => ToManager::Fan(f),
                None => return Err(WireError::UnknownTag { tag }),
            },
        })))
    }
}

impl Finished {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut p = Put::record(out, tag::FINISHED);
        self.end().put(&mut p);
        p.text(&self.message).text(&self.detail);
        p.u16(count(self.metrics.len()));
        for m in &self.metrics {
            let values = [m.value, m.warn, m.crit, m.min, m.max];
            let values = values.map(|v| v.unwrap_or(f64::NAN));
            put_metric(&mut p, &m.name, &m.unit, m.counter, values);
        }
        p.u16(count(self.labels.len()));
        for (k, v) in &self.labels {
            p.text(k).text(v);
        }
        p.u16(count(self.phases.len()));
        for phase in &self.phases {
            p.text(&phase.name).u64(phase.at_ns);
        }
    }

    fn end(&self) -> RunEnd {
        RunEnd {
            run_id: self.run_id,
            check: self.check,
            attempt: self.attempt,
            status: self.status,
            ending: self.ending,
            started_ns: self.started_ns,
            finished_ns: self.finished_ns,
            queue_ns: self.queue_ns,
            cpu_ns: self.cpu_ns,
            steps: self.steps,
            stalls: self.stalls,
            blocked: self.blocked,
            grew: self.grew,
        }
    }
}

impl Growth {
    fn put<'p, 'a>(self, p: &'p mut Put<'a>) -> &'p mut Put<'a> {
        p.u32(self.kb as u32).u32(self.fds as u32)
    }

    pub(super) fn get(g: &mut Get<'_>) -> Result<Growth, WireError> {
        Ok(Growth {
            kb: g.u32()? as i32,
            fds: g.u32()? as i32,
        })
    }
}

pub(super) fn status(code: u8) -> Result<Status, WireError> {
    Status::from_code(code).ok_or(WireError::BadValue { what: "a status" })
}

impl RunEnd {
    /// A whole `Finished`.
    pub fn encode(&self, message: &str, detail: &str, items: &Lists, out: &mut Vec<u8>) {
        let mut p = Put::record(out, tag::FINISHED);
        self.put(&mut p);
        p.text(message).text(detail);
        for list in [&items.metrics, &items.labels, &items.phases] {
            p.u16(list.count).parts(&list.written);
        }
    }

    fn put(&self, p: &mut Put<'_>) {
        p.u64(self.run_id)
            .u32(self.check)
            .u8(self.attempt)
            .u8(self.status as u8)
            .u8(self.ending.code())
            .u64(self.started_ns)
            .u64(self.finished_ns)
            .u64(self.queue_ns)
            .u64(self.cpu_ns)
            .u32(self.steps)
            .u32(self.stalls)
            .u32(self.blocked);
        self.grew.put(p);
    }
}

/// Value, warn, crit, min, max; what is not finite is not there.
fn put_metric(p: &mut Put<'_>, name: &str, unit: &str, counter: bool, values: [f64; 5]) {
    p.text(name).text(unit).u8(u8::from(counter));
    for v in values {
        p.f64(v);
    }
}

impl Lists {
    pub fn metric(&mut self, name: &str, unit: &str, counter: bool, values: [f64; 5]) {
        put_metric(&mut self.metrics.more(), name, unit, counter, values);
    }

    pub fn label(&mut self, key: &str, value: &str) {
        self.labels.more().text(key).text(value);
    }

    pub fn phase(&mut self, name: &str, at_ns: u64) {
        self.phases.more().text(name).u64(at_ns);
    }

    pub fn metrics(&self) -> usize {
        usize::from(self.metrics.count)
    }

    pub fn labels(&self) -> usize {
        usize::from(self.labels.count)
    }

    pub fn phases(&self) -> usize {
        usize::from(self.phases.count)
    }

    pub fn last_phase(&self) -> Option<&str> {
        let mut rest = Get::of(&self.phases.written);
        std::iter::from_fn(|| {
            let name = rest.text().ok()?;
            rest.u64().ok()?;
            Some(name)
        })
        .last()
    }

    /// For the next run, with the room that is there, up to so many bytes of each kind.
    pub fn clear(&mut self, kept: usize) {
        for list in [&mut self.metrics, &mut self.labels, &mut self.phases] {
            list.count = 0;
            list.written.clear();
            list.written.shrink_to(kept);
        }
    }
}

impl List {
    /// The worker caps its lists.
    fn more(&mut self) -> Put<'_> {
        self.count += 1;
        Put::part(&mut self.written)
    }
}

fn count(n: usize) -> u16 {
    u16::try_from(n).expect("the worker caps its lists")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fanout::{ChunkRun, Ended, How, Tally, Work};
    use crate::wire::sandbox::{OpenPath, Profile};

    fn finished() -> Finished {
        Finished {
            run_id: 7,
            check: 3,
            attempt: 1,
            status: Status::Critical,
            ending: Ending::Fault(Fault::Timeout),
            started_ns: 1,
            finished_ns: 2,
            queue_ns: 3,
            cpu_ns: 4,
            steps: 5,
            stalls: 6,
            blocked: 5,
            grew: Growth { kb: 7, fds: -8 },
            message: "timeout after 5s in phase connect".into(),
            detail: "more".into(),
            metrics: vec![Metric {
                name: "time".into(),
                value: Some(1.5),
                unit: "s".into(),
                warn: None,
                crit: Some(2.0),
                min: Some(0.0),
                max: None,
                counter: true,
            }],
            labels: vec![("k".into(), "v".into())],
            phases: vec![Phase {
                name: "connect".into(),
                at_ns: 9,
            }],
        }
    }

    fn work() -> Work {
        Work {
            kind: 1,
            index: 2,
            count: 3,
            from: 4,
            to: 5,
            deadline_ns: 6,
        }
    }

    fn ended() -> Ended {
        Ended {
            how: How::Died,
            code: -7,
            cpu_ns: 5,
            output: true,
            message: "SIGSEGV".into(),
        }
    }

    fn all() -> (Vec<ToWorker>, Vec<ToManager>) {
        let define = Define {
            check: 3,
            epoch: 1,
            plugin: 2,
            timeout_ns: 5,
            timeout_status: Status::Warning,
            batch_ns: 6,
            name: "web".into(),
            config: "{}".into(),
            secrets: vec!["/url".into(), String::new()],
        };
        let run = Run {
            run_id: 7,
            check: 3,
            epoch: 1,
            attempt: 2,
            start_ns: 8,
            last_status: 255,
            urgent: true,
        };
        (
            vec![
                ToWorker::Load {
                    plugin: 1,
                    index: 0,
                    name: "http".into(),
                    file: "/x.so".into(),
                },
                ToWorker::Sandbox(Sandbox {
                    profile: Profile::Compute,
                    forced: true,
                    looks_around: true,
                    paths: vec![OpenPath {
                        path: "/srv".into(),
                        write: true,
                    }],
                }),
                ToWorker::Start,
                ToWorker::Define(define),
                ToWorker::Run(run),
                ToWorker::Cancel {
                    run_id: 7,
                    attempt: 1,
                },
                ToWorker::Forget { check: 3, epoch: 1 },
                ToWorker::Pace,
                ToWorker::Drain,
                ToWorker::Fan(FanToWorker::Crew { workers: 2 }),
                ToWorker::Fan(FanToWorker::Ask { fan: 7, helper: 1 }),
                ToWorker::Fan(FanToWorker::Chunk(ChunkRun {
                    id: 9,
                    run_id: 7,
                    check: 3,
                    epoch: 1,
                    work: work(),
                    input: true,
                })),
                ToWorker::Fan(FanToWorker::Stop { id: 9, begun: true }),
                ToWorker::Fan(FanToWorker::Ended {
                    fan: 7,
                    index: 2,
                    end: ended(),
                }),
                ToWorker::Measure { on: true },
            ],
            vec![
                ToManager::LoadFailed {
                    plugin: 1,
                    reason: "no".into(),
                },
                ToManager::Ready {
                    threads: 2,
                    layers: Layers::from_bits(5),
                },
                ToManager::Finished(Box::new(finished())),
                ToManager::Unwell {
                    reason: "stuck".into(),
                },
                ToManager::Drained,
                ToManager::Map(Box::new(MapAsk {
                    ask: 4,
                    op: super::super::asks::MapOp::Set,
                    map: "http/m".into(),
                    key: "k".into(),
                    value: vec![0, 255],
                    expected: Some(0),
                    ttl_ns: 7,
                })),
                ToManager::Lock(Box::new(LockAsk {
                    ask: 5,
                    run_id: 7,
                    timeout_ns: 8,
                    names: vec!["http/a".into(), "*/b".into()],
                })),
                ToManager::Unlock { ask: 5 },
                ToManager::Fan(FanToManager::Wants {
                    fan: 7,
                    run_id: 8,
                    attempt: 1,
                }),
                ToManager::Fan(FanToManager::Given {
                    fan: 7,
                    helper: 1,
                    work: work(),
                    input: true,
                }),
                ToManager::Fan(FanToManager::NoneLeft { fan: 7, helper: 1 }),
                ToManager::Fan(FanToManager::Done {
                    id: 9,
                    end: ended(),
                }),
                ToManager::Fan(FanToManager::Idle { fan: 7 }),
                ToManager::Fan(FanToManager::Closed {
                    fan: 7,
                    run_id: 8,
                    tally: Tally {
                        chunks: 4,
                        own: 3,
                        away: 1,
                        again: 1,
                    },
                }),
                ToManager::Cache(CacheNumbers {
                    plugin: "http".into(),
                    name: "tokens".into(),
                    hits: 9,
                    misses: 1,
                    evictions: 2,
                    entries: 3,
                }),
                ToManager::ChildLivesOn {
                    run_id: 1 << 40,
                    pid: 7,
                    forbidden: true,
                },
                ToManager::ChildGone { pid: 7 },
                ToManager::Billed {
                    check: 3,
                    epoch: 1,
                    cpu_ns: 9,
                    grew: Growth { kb: -1, fds: 2 },
                },
            ],
        )
    }

    #[test]
    fn what_is_sent_arrives() {
        let (to_worker, to_manager) = all();
        let mut bytes = Vec::new();
        to_worker.iter().for_each(|m| m.encode(&mut bytes));
        let mut rest = &bytes[..];
        let got: Vec<_> =
            std::iter::from_fn(|| ToWorker::decode(&mut rest).expect("valid")).collect();
        assert_eq!(got, to_worker);
        bytes.clear();
        to_manager.iter().for_each(|m| m.encode(&mut bytes));
        let mut rest = &bytes[..];
        let got: Vec<_> =
            std::iter::from_fn(|| ToManager::decode(&mut rest).expect("valid")).collect();
        assert_eq!(got, to_manager);
    }

    #[test]
    fn what_is_written_while_it_is_said_is_the_same() {
        let f = finished();
        let mut items = Lists::default();
        // What was there before is gone.
        items.metric("old", "", true, [1.0; 5]);
        items.label("old", "");
        items.phase("old", 1);
        items.clear(64);
        assert_eq!(items.last_phase(), None);
        for m in &f.metrics {
            let values = [m.value, m.warn, m.crit, m.min, m.max];
            let values = values.map(|v| v.unwrap_or(f64::NAN));
            items.metric(&m.name, &m.unit, m.counter, values);
        }
        f.labels.iter().for_each(|(k, v)| items.label(k, v));
        f.phases.iter().for_each(|p| items.phase(&p.name, p.at_ns));
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        f.encode(&mut whole);
        f.end().encode(&f.message, &f.detail, &items, &mut pieces);
        assert_eq!(pieces, whole);
        assert_eq!(items.last_phase(), Some("connect"));
    }

    #[test]
    fn half_a_message_is_an_error_at_every_cut() {
        let (to_worker, to_manager) = all();
        for message in &to_worker {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for cut in 1..bytes.len() {
                assert!(
                    ToWorker::decode(&mut &bytes[..cut]).is_err(),
                    "{message:?} cut at {cut}"
                );
            }
        }
        for message in &to_manager {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for cut in 1..bytes.len() {
                assert!(
                    ToManager::decode(&mut &bytes[..cut]).is_err(),
                    "{message:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_changed_byte_is_never_a_panic() {
        let (_, to_manager) = all();
        let mut bytes = Vec::new();
        to_manager.iter().for_each(|m| m.encode(&mut bytes));
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let mut rest = &broken[..];
                while let Ok(Some(_)) = ToManager::decode(&mut rest) {}
            }
        }
    }
}
