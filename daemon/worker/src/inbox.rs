//! What the manager says: plugins to load, definitions, runs, and what is taken back.

use crate::active::Active;
use crate::bill;
use crate::load::{Loading, ToLoad};
use crate::reactor::{MS, Reactor, Timer, key};
use crate::side;
use crate::verdict::End;
use healthd_core::wire::worker::{Run, ToManager, ToWorker};
use healthd_loader::secrets;
use healthd_sys::clock;
use healthd_sys::unix_socket::{self, Received};
use std::os::fd::OwnedFd;

impl Reactor {
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        loop {
            // Else only the messages before `Start` carry fds.
            let received = if self.takes_fds {
                unix_socket::receive_what_fits(self.outbox.link(), buffer)
            } else {
                unix_socket::receive(self.outbox.link(), buffer, self.loading == Loading::Named)
            };
            match received? {
                Received::Empty => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Message(n, mut fds) => {
                    let mut rest = &buffer[..n];
                    while let Some(message) =
                        ToWorker::decode(&mut rest).map_err(std::io::Error::other)?
                    {
                        self.message(message, &mut fds)?;
                    }
                }
            }
        }
    }

    fn message(&mut self, message: ToWorker, fds: &mut Vec<OwnedFd>) -> std::io::Result<()> {
        match message {
            ToWorker::Load {
                plugin,
                index,
                name,
                file,
            } => match fds.pop() {
                Some(copy) => self.to_load.push(ToLoad {
                    number: plugin,
                    index,
                    name,
                    file,
                    copy,
                }),
                None => {
                    let reason = "its copy did not arrive".into();
                    self.outbox.say(&ToManager::LoadFailed { plugin, reason });
                }
            },
            ToWorker::Sandbox(sandbox) => {
                self.layers = healthd_sandbox::put_on(&sandbox);
                side::with(|s| s.children.start_alone(self.layers.scope));
            }
            ToWorker::Start => self.load_all()?,
            ToWorker::Define(define) => {
                let at = define.check as usize;
                if self.checks.len() <= at {
                    self.checks.resize_with(at + 1, || None);
                }
                self.forget(define.check);
                secrets::define(&define.name, &define.config, &define.secrets);
                self.checks[at] = Some(define.into());
            }
            ToWorker::Run(run) => self.accept(run),
            ToWorker::Notice(notice) => {
                let message = crate::notice::read(notice, fds.pop());
                self.notices.push(message);
            }
            ToWorker::Cancel { run_id, attempt } => {
                let found = self
                    .active
                    .iter()
                    .find(|(_, a)| a.run.run_id == run_id && a.run.attempt == attempt);
                if let Some(key) = found.map(|(at, a)| key(at, a.stamp)) {
                    self.end_early(key, End::cancelled());
                }
            }
            ToWorker::Forget { check, epoch } => {
                if self.def(check).is_some_and(|d| d.epoch == epoch) {
                    self.forget(check);
                }
            }
            ToWorker::Map(reply) => {
                if let Some((task, event)) = crate::asks::map_answered(reply) {
                    self.step(task, &event);
                }
            }
            ToWorker::Lock { ask, error } => {
                if let Some((task, event)) = crate::asks::lock_answered(ask, error) {
                    self.step(task, &event);
                }
            }
            ToWorker::Drain => self.draining = true,
            ToWorker::Fan(message) => self.fan_message(message, fds.pop()),
            ToWorker::Measure { on } => bill::measure(on),
            ToWorker::Pace => self.pace.start(),
        }
        Ok(())
    }

    /// A run has arrived. It starts at its `start_ns`, which may lie a little ahead.
    pub(crate) fn accept(&mut self, run: Run) {
        let stamp = self.next_stamp;
        self.next_stamp = self.next_stamp.wrapping_add(1) & 0x3fff_ffff;
        let notice = self.notices.iter().position(|(id, _)| *id == run.run_id);
        let notice = notice.map(|at| self.notices.swap_remove(at).1);
        let at = self.active.insert(Active {
            notice,
            ..Active::new(stamp, run)
        });
        let key = key(at, stamp);
        let now = clock::monotonic_ns();
        if run.start_ns > now + MS {
            let timer = self.wheel.insert(run.start_ns / MS, Timer::Start(key));
            self.active[at].timer = Some(timer);
        } else {
            self.begin(key, now);
        }
    }
}
