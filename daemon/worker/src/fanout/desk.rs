//! The reactor's side of the fan-outs of this worker's runs: it speaks for them to the manager.

use super::Worked;
use super::parent::Fan;
use crate::reactor::Reactor;
use crate::services::shared;
use healthd_abi as abi;
use healthd_core::wire::fanout::{Ended, FanToManager, FanToWorker, How};
use healthd_core::wire::worker::ToManager;
use healthd_sys::clock;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a run's thread says of its fan-out.
pub enum News {
    Open(Arc<Fan>),
    /// There is something for others again.
    Wants(u64),
    Idle(u64),
    Closed(Arc<Fan>),
}

/// The fan-outs that are open.
#[derive(Default)]
pub struct Desk {
    open: BTreeMap<u64, Arc<Fan>>,
}

impl Reactor {
    pub(crate) fn fan_news(&mut self, news: News) {
        match news {
            News::Open(fan) => {
                // Its run may have been written off meanwhile.
                if self.find(fan.key).is_none() {
                    fan.tell(|book| book.close());
                    return;
                }
                self.desk.open.insert(fan.id, fan.clone());
                // For one chunk, or with one worker, nobody else is needed.
                if fan.cut.count > 1
                    && shared().crew.load(Ordering::Relaxed) > 1
                    && fan.book().begins_to_want()
                {
                    self.wants(&fan);
                }
            }
            News::Wants(id) => {
                if let Some(fan) = self.desk.open.get(&id).cloned() {
                    self.wants(&fan);
                }
            }
            News::Idle(fan) => {
                if self.desk.open.contains_key(&fan) {
                    self.say_fan(FanToManager::Idle { fan });
                }
            }
            News::Closed(fan) => {
                if self.desk.open.remove(&fan.id).is_some() {
                    self.closed(&fan);
                }
            }
        }
    }

    /// Its run has its result: whatever its thread still does, its chunks are not wanted any more.
    pub(crate) fn close_fans(&mut self, key: u64) {
        let of_run = |fan: &Arc<Fan>| fan.key == key;
        while let Some(fan) = self.desk.open.values().find(|f| of_run(f)).cloned() {
            self.desk.open.remove(&fan.id);
            fan.tell(|book| book.close());
            self.closed(&fan);
        }
    }

    fn wants(&mut self, fan: &Fan) {
        self.say_fan(FanToManager::Wants {
            fan: fan.id,
            run_id: fan.run_id,
            attempt: fan.attempt,
        });
    }

    fn closed(&mut self, fan: &Fan) {
        let tally = fan.book().tally;
        self.say_fan(FanToManager::Closed {
            fan: fan.id,
            run_id: fan.run_id,
            tally,
        });
    }

    fn say_fan(&mut self, message: FanToManager) {
        self.outbox.say(&ToManager::Fan(message));
    }

    pub(crate) fn fan_message(&mut self, message: FanToWorker, fd: Option<OwnedFd>) {
        match message {
            FanToWorker::Crew { workers } => shared().crew.store(workers, Ordering::Relaxed),
            FanToWorker::Ask { fan, helper } => self.asked(fan, helper),
            FanToWorker::Chunk(chunk) => self.accept_chunk(chunk, fd),
            FanToWorker::Stop { id, begun } => self.stop_chunk(id, begun),
            FanToWorker::Ended { fan, index, end } => self.chunk_came_back(fan, index, end, fd),
        }
    }

    fn asked(&mut self, id: u64, helper: u32) {
        let fan = self.desk.open.get(&id).cloned();
        let given = fan
            .as_ref()
            .and_then(|fan| Some((fan, fan.book().for_helper()?)));
        match given {
            Some((fan, index)) => {
                let message = FanToManager::Given {
                    fan: id,
                    helper,
                    work: fan.cut.work(index, fan.kind, fan.deadline_ns),
                    input: fan.input.is_some(),
                };
                self.outbox
                    .say_with(&ToManager::Fan(message), fan.input.clone());
            }
            None => self.say_fan(FanToManager::NoneLeft { fan: id, helper }),
        }
    }

    fn chunk_came_back(&mut self, id: u64, index: u32, end: Ended, fd: Option<OwnedFd>) {
        let Some(fan) = self.desk.open.get(&id).cloned() else {
            return;
        };
        if !fan.book().is_away(index) {
            return;
        }
        match end.how {
            How::Returned => fan.tell(|book| book.returned(index)),
            How::Died => {
                let now = clock::monotonic_ns();
                fan.tell(|book| book.died(index, end.message, now));
            }
            How::Done | How::Cancelled => {
                let worked = worked(end, fd);
                fan.tell(|book| book.away_done(worked.done(index)));
            }
        }
        if fan.book().begins_to_want() {
            self.wants(&fan);
        }
    }
}

fn worked(end: Ended, fd: Option<OwnedFd>) -> Worked {
    let lacks = |e: std::io::Error| Worked {
        cpu_ns: end.cpu_ns,
        ..Worked::failed(
            abi::E_RESOURCES,
            format!("the output of a chunk did not arrive: {e}"),
        )
    };
    if end.how == How::Cancelled {
        return Worked {
            cpu_ns: end.cpu_ns,
            ..Worked::failed(abi::E_CANCELLED, "the chunk was cancelled".into())
        };
    }
    let size = match (&fd, end.output) {
        (Some(fd), true) => match healthd_sys::memfd::size(fd) {
            Ok(size) => size,
            Err(e) => return lacks(e),
        },
        (None, true) => return lacks(std::io::Error::from_raw_os_error(libc::EMFILE)),
        (_, false) => 0,
    };
    Worked {
        code: end.code,
        output: fd.filter(|_| end.output),
        size,
        cpu_ns: end.cpu_ns,
        message: end.message,
    }
}
