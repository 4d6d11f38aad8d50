//! Who ended a worker: from its map and its wait status to a check, or to those that may have done it.
//!
//! Said is only what is certain. A map may hold nonsense, as the plugin could write anywhere: whatever is read from it is
//! looked up in our own books before it counts.

use crate::checks::Checks;
use crate::fleet::Fleet;
use crate::fleet::slots::{Condemned, LibraryUse};
use healthd_catalog::place::Place;
use healthd_catalog::symbols::{self, Code};
use healthd_core::wire::maps::{Entry, LineRecord};
use healthd_core::wire::supervisor::{Death, signal_name};
use healthd_scoreboard::worker_map::{Crash, WorkerView};
use std::collections::HashMap;
use std::fs::File;

/// A dead worker, and what it left.
pub struct Dead<'a> {
    pub slot: u32,
    pub pid: u32,
    pub death: &'a Death,
    pub view: Option<&'a WorkerView>,
    pub condemned: Option<&'a Condemned>,
    /// In flight when it died: run id -> check.
    pub runs: &'a HashMap<u64, u32>,
    /// The kernel has just killed for want of memory.
    pub oom: Option<&'static str>,
}

#[derive(Debug)]
pub enum Cause {
    /// It was this run, for certain.
    Culprit(Blame),
    /// It was this check, for certain, but its run had ended: a call that was written off, a thread that it left, `destroy`.
    Late { check: u32, blame: Blame },
    /// It was one of these runs, or none of them.
    Suspects {
        runs: Vec<u64>,
        /// "SIGKILL", "exit code 3".
        what: String,
        /// The worker did it to itself; else somebody outside may have.
        by_itself: bool,
    },
    /// No check can have done it, or none that is known. Said in the log.
    Nobody { what: Option<String> },
}

#[derive(Clone, Debug)]
pub struct Blame {
    pub run_id: u64,
    pub plugin: String,
    /// The check's message.
    pub message: String,
    /// "SIGSEGV in libx.so+0x12 foo"
    pub short: String,
    /// It did not crash, but blocked its worker.
    pub stalled: bool,
}

/// The thread sent it to itself: raise(3), abort(3).
const SI_TKILL: i32 = -6;
/// Those for which a crash handler stands: if it wrote nothing, it had no stack to run on, or was replaced.
const HANDLED: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// What is looked up.
pub struct Postmortem<'a> {
    pub fleet: &'a Fleet,
    pub checks: &'a Checks,
}

impl Postmortem<'_> {
    pub(super) fn attribute(&self, dead: &Dead<'_>) -> Cause {
        if let Some(condemned) = dead.condemned
            && let Some(run_id) = condemned.culprit
        {
            return self.stalled(dead, run_id, &condemned.reason);
        }
        let Some(view) = dead.view else {
            return Cause::Nobody { what: None };
        };
        if let Some(crash) = view.crash() {
            return self.crashed(dead, view, &crash);
        }
        // We ended it, or asked it to end.
        match dead.condemned {
            Some(c) if c.fence => {
                return self.calls_in_progress(dead, view, c.reason.clone(), true);
            }
            Some(_) => return Cause::Nobody { what: None },
            None => {}
        }
        match dead.death {
            Death::Exited { code } => self.exited(dead, view, *code),
            Death::Signaled { signal, .. } => {
                let what = match dead.oom.filter(|_| *signal == libc::SIGKILL) {
                    Some(oom) => format!("{} ({oom})", signal_name(*signal)),
                    None => signal_name(*signal).into_owned(),
                };
                self.calls_in_progress(dead, view, what, HANDLED.contains(signal))
            }
        }
    }

    fn stalled(&self, dead: &Dead<'_>, run_id: u64, reason: &str) -> Cause {
        let plugin = self.plugin_of(dead, run_id);
        let name = self.fleet.slot_name(dead.slot);
        Cause::Culprit(Blame {
            run_id,
            message: format!(
                "stall: plugin `{plugin}` blocked its worker: {reason}; {name} was replaced"
            ),
            short: "it blocked its worker".into(),
            stalled: true,
            plugin,
        })
    }

    fn crashed(&self, dead: &Dead<'_>, view: &WorkerView, crash: &Crash) -> Cause {
        let signal = signal_name(crash.signal);
        let was_sent = crash.code <= 0;
        if was_sent && crash.sender != Some(dead.pid) {
            let from = match crash.sender {
                Some(pid) => format!("process {pid}"),
                None => "outside".into(),
            };
            let what = format!("{signal} was sent to it by {from}");
            return Cause::Nobody { what: Some(what) };
        }
        if was_sent && crash.code != SI_TKILL {
            // kill(getpid()): it comes to any thread, not to the one that sent it.
            let what = format!("{signal}, which it sent to itself");
            return self.calls_in_progress(dead, view, what, true);
        }
        let what = crash.what();
        let line = crash.line.and_then(|l| view.line(l));
        let addresses = (crash.pc, &crash.trace[..]);
        self.done_by(dead, view, line, &what, addresses)
    }

    fn exited(&self, dead: &Dead<'_>, view: &WorkerView, code: i32) -> Cause {
        match view.exit_call() {
            Some(call) => {
                let line = call.line.and_then(|l| view.line(l));
                let what = format!("exit({code})");
                self.done_by(dead, view, line, &what, (0, &call.trace))
            }
            // _exit, or the system call itself, from any thread.
            None => self.calls_in_progress(dead, view, format!("_exit({code})"), true),
        }
    }

    /// It is known which thread did it: in a call into a plugin, or one that a plugin made.
    fn done_by(
        &self,
        dead: &Dead<'_>,
        view: &WorkerView,
        line: Option<LineRecord>,
        what: &str,
        (pc, trace): (u64, &[u64]),
    ) -> Cause {
        let name = self.fleet.slot_name(dead.slot);
        let Some(line) = line.filter(|l| l.entry != Entry::Idle) else {
            return self.done_by_thread(dead, view, what, (pc, trace));
        };
        let plugin = self.plugin_of_line(dead, &line);
        let place = self.place(dead.slot, view, Some(&plugin), (pc, trace));
        let blame = Blame {
            run_id: line.run_id,
            message: format!(
                "{what} in plugin `{plugin}` ({}){}: {name} died",
                line.entry.as_str(),
                place.text(" at ", " called from ")
            ),
            short: format!("{what}{}", place.text(" in ", " called from ")),
            stalled: false,
            plugin,
        };
        if dead.runs.contains_key(&line.run_id) {
            return Cause::Culprit(blame);
        }
        // A call that was written off, or the end of an instance. That check may be another one by now.
        let known = self.checks.get(line.check).is_some_and(|c| {
            c.spec.plugin == blame.plugin
                && (line.entry == Entry::Destroy || c.last.run_id == line.run_id)
        });
        match known {
            true => Cause::Late {
                check: line.check,
                blame,
            },
            false => Cause::Nobody {
                what: Some(blame.message),
            },
        }
    }

    /// On a thread without a line: what is on its stack says whose it is.
    fn done_by_thread(
        &self,
        dead: &Dead<'_>,
        view: &WorkerView,
        what: &str,
        addresses: (u64, &[u64]),
    ) -> Cause {
        let name = self.fleet.slot_name(dead.slot);
        let place = self.place(dead.slot, view, None, addresses);
        let library = place.file().and_then(|f| self.library(dead.slot, f));
        let Some(library) = library else {
            return self.calls_in_progress(dead, view, what.to_owned(), true);
        };
        let at = place.text(" at ", " called from ");
        let blame = |run_id: u64, plugin: &str| Blame {
            run_id,
            plugin: plugin.to_owned(),
            message: format!("{what} on a thread of plugin `{plugin}`{at}: {name} died"),
            short: format!("{what}{}", place.text(" in ", " called from ")),
            stalled: false,
        };
        let is_its = |plugin: &str| library.plugins.iter().any(|p| p == plugin);
        let runs: Vec<(u64, &str)> = dead
            .runs
            .iter()
            .filter_map(|(run, id)| Some((*run, self.checks.get(*id)?.spec.plugin.as_str())))
            .filter(|(_, plugin)| is_its(plugin))
            .collect();
        if let [(run_id, plugin)] = runs[..] {
            return Cause::Culprit(blame(run_id, plugin));
        }
        if !runs.is_empty() {
            return Cause::Suspects {
                runs: runs.into_iter().map(|(run, _)| run).collect(),
                what: format!("{what} on a thread of `{}`{at}", library.file),
                by_itself: true,
            };
        }
        // Nothing of it is in flight: if it has but one check, that check made the thread.
        let mut checks = self.checks.order().iter().filter(|id| {
            self.checks
                .get(**id)
                .is_some_and(|c| c.spec.enabled && is_its(&c.spec.plugin))
        });
        match (checks.next(), checks.next()) {
            (Some(id), None)
                if self
                    .checks
                    .get(*id)
                    .is_some_and(|c| c.last.worker == Some(dead.slot)) =>
            {
                let plugin = self.checks.get(*id).map_or("?", |c| c.spec.plugin.as_str());
                Cause::Late {
                    check: *id,
                    blame: blame(0, plugin),
                }
            }
            _ => Cause::Suspects {
                runs: Vec::new(),
                what: format!("{what} on a thread of `{}`{at}", library.file),
                by_itself: true,
            },
        }
    }

    /// Nobody knows which thread it was: those that were in a call come into question.
    fn calls_in_progress(
        &self,
        dead: &Dead<'_>,
        view: &WorkerView,
        what: String,
        by_itself: bool,
    ) -> Cause {
        let mut runs: Vec<u64> = view
            .lines()
            .into_iter()
            .filter(|l| l.entry != Entry::Idle && dead.runs.contains_key(&l.run_id))
            .map(|l| l.run_id)
            .collect();
        runs.sort_unstable();
        runs.dedup();
        Cause::Suspects {
            runs,
            what,
            by_itself,
        }
    }

    fn plugin_of(&self, dead: &Dead<'_>, run_id: u64) -> String {
        let check = dead.runs.get(&run_id).and_then(|id| self.checks.get(*id));
        check.map_or("?".to_owned(), |c| c.spec.plugin.clone())
    }

    fn plugin_of_line(&self, dead: &Dead<'_>, line: &LineRecord) -> String {
        let told = self
            .fleet
            .slots
            .get(&dead.slot)
            .and_then(|s| s.loaded.plugins.get(usize::from(line.plugin)));
        match told {
            Some(name) => name.clone(),
            None => self.plugin_of(dead, line.run_id),
        }
    }

    fn library(&self, slot: u32, file: &str) -> Option<&LibraryUse> {
        // The map cuts long names.
        let libraries = &self.fleet.slots.get(&slot)?.loaded.libraries;
        libraries
            .iter()
            .find(|l| l.file == file || (file.len() >= 60 && l.file.starts_with(file)))
    }

    /// Where it happened: at the pc if that lies in a library, else at the innermost return address that does. With
    /// `plugin`, only its own library counts: a stack may hold leftovers of calls into others.
    pub fn place(
        &self,
        slot: u32,
        view: &WorkerView,
        plugin: Option<&str>,
        (pc, trace): (u64, &[u64]),
    ) -> Place {
        let is_its = |file: &str| {
            plugin.is_none_or(|p| {
                let library = self.library(slot, file);
                library.is_some_and(|l| l.plugins.iter().any(|name| name == p))
            })
        };
        let code = |file: &str, offset| self.code(slot, file, offset);
        Place::of(view, (pc, trace), is_its, code)
    }

    fn code(&self, slot: u32, file: &str, offset: u64) -> Code {
        let copy = self.library(slot, file).map(|l| l.copy.try_clone());
        match copy {
            Some(Ok(fd)) => symbols::lookup(&File::from(fd), offset),
            _ => Code::Nameless,
        }
    }
}
