//! Asks plugins what they say of the options of checks: each check is made once, in a short-lived `healthd --tryout`
//! with the rights of a worker, and thrown away.
//!
//! A child is asked one thing at a time. When it crashes or does not answer, the check is known that it was asked about;
//! another child goes on behind it. So a bad plugin costs its own checks a warning, and some seconds at most.

use crate::hardening::Hardening;
use crate::look::Look;
use crate::plugins::PluginFile;
use crate::scan::Scan;
use healthd_core::config::{CheckSpec, Complaint, Daemon, Severity, TryOut, What};
use healthd_core::scrub::{Scrubber, secrets_of};
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::supervisor::signal_name;
use healthd_core::wire::tryout::{Answer, Load, Outcome, Question};
use healthd_sys::privileges::{self, Account};
use healthd_sys::unix_socket::{self, Received};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// For one check.
const LIMIT: Duration = Duration::from_secs(5);
/// For all together: what was not asked by then is said not to be.
const LIMIT_OF_ALL: Duration = Duration::from_secs(60);
/// After so many crashes and hangs a plugin is not asked any more.
const FAILURES: u32 = 3;
/// Children at once, and the checks of one.
const PARALLEL: usize = 4;
const SHARE: usize = 500;

/// The plugins of a directory.
pub struct Plugins<'s>(pub &'s Scan);

impl TryOut for Plugins<'_> {
    fn try_out(
        &self,
        daemon: &Daemon,
        secret_variables: &[String],
        checks: &[CheckSpec],
    ) -> Vec<Complaint> {
        let shares = self.shares(checks);
        let round = Round {
            checks,
            account: account(daemon),
            secret_variables,
            deadline: Instant::now() + LIMIT_OF_ALL,
            failures: Mutex::default(),
            complaints: Mutex::default(),
        };
        let next = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|s| {
            for _ in 0..PARALLEL.min(cores).min(shares.len()) {
                s.spawn(|| {
                    while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                        round.ask(share);
                    }
                });
            }
        });
        let mut complaints = lock(&round.complaints);
        complaints.extend(Hardening::of_unit().complaints(checks));
        complaints.sort_by_key(|c| c.check);
        std::mem::take(&mut complaints)
    }
}

/// Checks whose plugins are in one file.
struct Share<'s> {
    file: &'s PluginFile,
    /// The check, and the plugin's number in the file.
    checks: Vec<(usize, u32)>,
}

impl Plugins<'_> {
    fn shares(&self, checks: &[CheckSpec]) -> Vec<Share<'_>> {
        let mut by_file: BTreeMap<&std::path::Path, Share<'_>> = BTreeMap::new();
        for (i, check) in checks.iter().enumerate() {
            // One that does not run holds no secrets, and may be unfinished.
            if !check.enabled || check.unusable.is_some() {
                continue;
            }
            if let Some((file, entry)) = self.0.find(&check.plugin) {
                let share = by_file.entry(&file.path).or_insert_with(|| Share {
                    file,
                    checks: Vec::new(),
                });
                share.checks.push((i, entry.index));
            }
        }
        let shares = by_file.into_values().flat_map(|share| {
            let parts: Vec<Share<'_>> = share
                .checks
                .chunks(SHARE)
                .map(|checks| Share {
                    file: share.file,
                    checks: checks.to_vec(),
                })
                .collect();
            parts
        });
        shares.collect()
    }
}

/// Whom a worker is: root becomes `user`.
fn account(daemon: &Daemon) -> Option<Account> {
    let user = daemon.user.as_deref()?;
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    // That there is none is told elsewhere.
    privileges::lookup_user(user).ok().flatten()
}

struct Round<'r> {
    checks: &'r [CheckSpec],
    account: Option<Account>,
    secret_variables: &'r [String],
    deadline: Instant,
    failures: Mutex<BTreeMap<&'r str, u32>>,
    complaints: Mutex<Vec<Complaint>>,
}

impl<'r> Round<'r> {
    fn ask(&self, share: &Share<'_>) {
        let mut process: Option<Process> = None;
        for (check, index) in &share.checks {
            let spec = &self.checks[*check];
            if self.has_failed(&spec.plugin) {
                self.not_asked(*check, "it had crashed or hung before");
                continue;
            }
            if Instant::now() >= self.deadline {
                let seconds = LIMIT_OF_ALL.as_secs();
                self.not_asked(*check, &format!("the first {seconds} s went to others"));
                continue;
            }
            let mut asked = match process.take() {
                Some(process) => process,
                None => match Process::start(share, self) {
                    Ok(process) => process,
                    Err(why) => {
                        self.not_asked(*check, &why);
                        continue;
                    }
                },
            };
            let question = Question {
                index: *index,
                check: &spec.name,
                config: &spec.config,
            };
            match asked.ask(&question.encode(), &[]) {
                Ok(answer) => {
                    self.answered(*check, answer);
                    process = Some(asked);
                }
                Err(failure) => {
                    self.failed(*check, &asked.end(failure));
                }
            }
        }
    }

    fn answered(&self, check: usize, answer: Answer) {
        let Answer { outcome, said } = answer;
        let spec = &self.checks[check];
        let secrets = Scrubber::new(secrets_of(&spec.config, &spec.shown_config));
        let said = secrets.scrub(&said).into_owned();
        match outcome {
            Outcome::Made if said.is_empty() => {}
            Outcome::Made => self.complain(check, Severity::Warning, What::Options(said)),
            Outcome::Refused if said.is_empty() => {
                let said = format!("plugin `{}` rejects its options", spec.plugin);
                self.complain(check, Severity::Error, What::Options(said));
            }
            Outcome::Refused => self.complain(check, Severity::Error, What::Options(said)),
            Outcome::Broken => self.not_asked(check, &said),
        }
    }

    fn has_failed(&self, plugin: &str) -> bool {
        lock(&self.failures)
            .get(plugin)
            .is_some_and(|n| *n >= FAILURES)
    }

    fn failed(&self, check: usize, how: &str) {
        let spec = &self.checks[check];
        *lock(&self.failures).entry(&spec.plugin).or_default() += 1;
        let text = format!(
            "plugin `{}` {how} over the options of check `{}`",
            spec.plugin, spec.name
        );
        let help = "so it will when the check runs, and the check will be UNKNOWN: correct its options, or mend the plugin";
        let help = help.to_owned();
        self.complain(check, Severity::Warning, What::Plugin { text, help });
    }

    fn not_asked(&self, check: usize, why: &str) {
        let spec = &self.checks[check];
        let text = format!(
            "plugin `{}` could not say what it thinks of the options of check `{}`: {why}",
            spec.plugin, spec.name
        );
        let help = format!(
            "`healthctl plugins verify` and `healthctl try {}` say more",
            spec.plugin
        );
        self.complain(check, Severity::Warning, What::Plugin { text, help });
    }

    fn complain(&self, check: usize, severity: Severity, what: What) {
        lock(&self.complaints).push(Complaint {
            check,
            severity,
            what,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A child that has loaded the file.
struct Process {
    look: Look,
    /// Readable when it has ended: a program that it has started may hold its end of the link.
    ended: OwnedFd,
    link: OwnedFd,
    buffer: Vec<u8>,
}

enum Failure {
    Hung,
    Died,
    Other(io::Error),
}

impl Process {
    fn start(share: &Share<'_>, round: &Round<'_>) -> Result<Process, String> {
        let failed = |e: io::Error| format!("no process to ask it in: {e}");
        let copy = share.file.whole()?;
        let (link, theirs) = unix_socket::link_pair().map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("--tryout")
            .arg(std::process::id().to_string())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for name in round.secret_variables {
            command.env_remove(name);
        }
        if let Some(account) = &round.account {
            command
                .arg(&account.name)
                .env("HOME", &account.home)
                .env("USER", &account.name)
                .env("LOGNAME", &account.name);
        }
        let look = Look::start(&mut command).map_err(failed)?;
        let ended = healthd_sys::process::pidfd_open(look.child.id()).map_err(failed)?;
        // What was given to the child is not ours any more.
        drop(command);
        let mut process = Process {
            look,
            ended,
            link,
            buffer: vec![0; MAX_MESSAGE],
        };
        let mut plugins: Vec<u32> = share.checks.iter().map(|(_, index)| *index).collect();
        plugins.sort_unstable();
        plugins.dedup();
        let file = share.file.path.to_string_lossy().into_owned();
        let load = serde_json::to_vec(&Load { file, plugins }).map_err(|e| e.to_string())?;
        match process.ask(&load, &[copy.as_fd()]) {
            Ok(answer) if answer.outcome == Outcome::Made => Ok(process),
            Ok(answer) => {
                process.end(Failure::Died);
                Err(answer.said)
            }
            Err(failure) => Err(format!("it {} when it was loaded", process.end(failure))),
        }
    }

    fn ask(
        &mut self,
        message: &[u8],
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<Answer, Failure> {
        match unix_socket::send(&self.link, message, fds) {
            Ok(true) => {}
            // It has read all before this.
            Ok(false) => return Err(Failure::Hung),
            Err(_) => return Err(Failure::Died),
        }
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Hung);
            }
            let mut fds =
                [&self.ended, &self.link].map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            match poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(Failure::Other(e.into())),
            }
            // Asked before the link is read: what it has said until its end is there.
            let has_ended = fds[0].any().unwrap_or(false);
            match unix_socket::receive(&self.link, &mut self.buffer, false) {
                Ok(Received::Empty) if has_ended => return Err(Failure::Died),
                Ok(Received::Empty) => {}
                Ok(Received::Closed) => return Err(Failure::Died),
                Ok(Received::Message(length, _)) => {
                    return serde_json::from_slice(&self.buffer[..length])
                        .map_err(|e| Failure::Other(e.into()));
                }
                Err(e) => return Err(Failure::Other(e)),
            }
        }
    }

    /// Ends it, with all that it has started. Says how it failed.
    fn end(&mut self, failure: Failure) -> String {
        let status = self.look.end();
        match (failure, status) {
            (Failure::Hung, _) => format!("did not come back within {} s", LIMIT.as_secs()),
            (Failure::Other(e), _) => format!("cannot be heard ({e})"),
            (Failure::Died, Ok(status)) => match (status.signal(), status.code()) {
                (Some(signal), _) => format!("crashed ({})", signal_name(signal)),
                (None, code) => format!("ended the process (exit code {})", code.unwrap_or(-1)),
            },
            (Failure::Died, Err(e)) => format!("is gone ({e})"),
        }
    }
}
