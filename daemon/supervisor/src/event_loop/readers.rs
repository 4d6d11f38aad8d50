//! The readers as the supervisor sees them: started with the settings that the manager gave, and again when they end.
//! They live on while there is no manager.

use super::{CHILD_TOKEN, Supervisor};
use crate::reaper::{self, Ended, Kind};
use crate::roles;
use healthd_core::wire::roles::{Reader, ReaderArgs};
use healthd_core::wire::supervisor::{ReaderSpec, ToManager};
use healthd_sys::clock::monotonic_ns;
use healthd_sys::spawn::{Apart, SingleThreaded};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

impl Supervisor {
    pub(super) fn want_readers(&mut self, specs: Vec<ReaderSpec>, fds: Vec<OwnedFd>) {
        for kind in self.readers.want(specs, fds, monotonic_ns()) {
            self.reaper.end(kind, roles::row(kind).ends_by);
        }
    }

    pub(super) fn start_due_readers(&mut self, now: u64) {
        for (role, settings) in self.readers.due(now) {
            match self.start_reader(role, &settings) {
                Ok(pid) => {
                    log::info!("{} started  pid={pid}", role.as_str());
                    self.readers.started(role, pid, now);
                    self.tell_readers();
                }
                Err(e) => {
                    let wait = self.readers.not_started(role, now).map(|p| p.wait);
                    log::error!(
                        "{} not started  why=\"{e}\" retry={:?}",
                        role.as_str(),
                        wait.unwrap_or_default()
                    );
                }
            }
        }
    }

    /// What they ask for is people's wish, and not that of something that a check has started.
    pub(super) fn tell_readers(&mut self) {
        let pids = self.readers.pids();
        self.tell(&ToManager::ReadersAre { pids }, Vec::new());
    }

    fn start_reader(&mut self, role: Reader, settings: &OwnedFd) -> io::Result<u32> {
        let proof = SingleThreaded::check()?;
        let socket = self.service.socket().filter(|_| role == Reader::Web);
        let args = ReaderArgs {
            role,
            parent: std::process::id(),
            settings: settings.as_raw_fd(),
            socket: socket.map_or(-1, AsRawFd::as_raw_fd),
            runtime_dir: self.setup.runtime_dir.clone(),
            state_dir: self.setup.state_dir.clone(),
            log: self.setup.log.clone(),
        };
        let mut pass = vec![settings.as_fd()];
        pass.extend(socket.map(AsFd::as_fd));
        let pid = self.setup.exe.start(
            &proof,
            &args.to_argv(),
            &pass,
            self.setup.null.as_fd(),
            None,
            Apart {
                user: None,
                without: &self.setup.secret_variables,
            },
        )?;
        self.reaper
            .watch(pid, Kind::Reader(role), &self.ears.epoll, CHILD_TOKEN)?;
        Ok(pid)
    }

    pub(super) fn reader_ended(&mut self, role: Reader, ended: Ended) {
        let (word, pid, why) = (role.as_str(), ended.pid, reaper::death(ended.exit));
        let next = self.readers.died(role, pid, monotonic_ns());
        self.tell_readers();
        match next {
            None => log::info!("{word} ended  pid={pid} how=\"{why}\""),
            Some(pause) if pause.given_up => {
                log::error!(
                    "{word} does not stay up  pid={pid} why=\"{why}\" next_in={:?}",
                    pause.wait
                );
            }
            Some(pause) => {
                log::warn!(
                    "{word} died  pid={pid} why=\"{why}\" next_in={:?}",
                    pause.wait
                );
            }
        }
    }

    /// Those that were asked to end and have not.
    pub(super) fn kill_overdue_readers(&mut self, now: u64) {
        for pid in self.readers.overdue(now) {
            self.reaper.kill(pid);
        }
    }

    /// When the loop has to look again.
    pub(super) fn next_reader(&self, now: u64) -> Option<u64> {
        self.readers.next_start().map(|at| at.max(now))
    }
}
