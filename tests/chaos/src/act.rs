//! Doing the steps: what happens to processes, config and clock.

use crate::plan::Step;
use crate::service::kill;
use crate::world::{PATIENCE, World};
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// A step that was done.
#[derive(Default)]
pub struct Done {
    /// Why it was not, on this machine.
    pub skipped: Option<String>,
    pub note: String,
    /// Looks at rows of a daemon that could not answer, each of which was marked stale.
    pub stale_rows: u64,
}

impl Done {
    fn with(note: impl Into<String>) -> Result<Done, String> {
        Ok(Done {
            note: note.into(),
            ..Done::default()
        })
    }
}

impl World {
    /// Until the fault itself is over; the daemon may still be mending what it did. Err: it did not do what it must.
    pub fn perform(&mut self, step: &Step) -> Result<Done, String> {
        match step {
            Step::KillWorker { nth } => {
                let pid = self.worker(*nth)?;
                kill(pid, Signal::SIGKILL);
                Done::with(format!("pid {pid}"))
            }
            Step::KillAllWorkers => {
                let workers = self.service.role("worker");
                workers.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
                Done::with(format!("{} of them", workers.len()))
            }
            Step::StopWorker { nth, ms } => {
                let pid = self.worker(*nth)?;
                self.stopped_for(&[pid], *ms);
                Done::with(format!("pid {pid}"))
            }
            Step::KillManager => {
                let old = self.manager()?;
                kill(old, Signal::SIGKILL);
                self.next_manager(old)
            }
            Step::KillManagerInReload { after_us } => {
                let old = self.manager()?;
                self.in_reload(*after_us, old);
                self.next_manager(old)
            }
            Step::KillWorkerInReload { nth, after_us } => {
                let pid = self.worker(*nth)?;
                self.in_reload(*after_us, pid);
                Done::with(format!("pid {pid}"))
            }
            Step::StopManager { ms } => {
                let pid = self.manager()?;
                kill(pid, Signal::SIGSTOP);
                let looked = self.looks_stale(Duration::from_millis(*ms));
                kill(pid, Signal::SIGCONT);
                Ok(Done {
                    stale_rows: looked?,
                    ..Done::default()
                })
            }
            Step::SilenceManager => {
                let pid = self.manager()?;
                kill(pid, Signal::SIGSTOP);
                let rows = self.looks_stale(Duration::from_secs(1))?;
                let done = self.next_manager(pid)?;
                Ok(Done {
                    stale_rows: rows,
                    ..done
                })
            }
            Step::StopSupervisor { ms } => {
                self.stopped_for(&[self.service.pid()], *ms);
                Done::with("")
            }
            Step::KillSupervisor => self.kill_supervisor(),
            Step::RestartService => {
                kill(self.service.pid(), Signal::SIGTERM);
                let status = self.service.wait_end(PATIENCE)?;
                if status.code() != Some(0) {
                    return Err(format!("asked to stop, the service ended with {status}"));
                }
                self.nobody_is_left()?;
                let took = self.service.start()?;
                Done::with(format!("ready after {} ms", took.as_millis()))
            }
            Step::StopAll { ms } => {
                let all = procs::tree(self.service.pid());
                // The supervisor first, so that it sees nobody else stand still.
                all.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
                let looked = self.looks_stale(Duration::from_millis(*ms));
                all.iter().rev().for_each(|pid| kill(*pid, Signal::SIGCONT));
                Ok(Done {
                    stale_rows: looked?,
                    ..Done::default()
                })
            }
            Step::Hangup => {
                kill(self.service.pid(), Signal::SIGHUP);
                Done::with("")
            }
            Step::AddChecks { n } => {
                self.extras += n;
                self.apply_config(*n)
            }
            Step::RemoveChecks => {
                let gone = std::mem::take(&mut self.extras);
                self.apply_config(gone)
            }
            Step::Pool { workers } => {
                self.io_workers = *workers;
                self.apply_config(*workers)
            }
            Step::BadConfig { kind } => {
                let said = self.refused_config(kind)?;
                Done::with(said)
            }
            Step::BadConfigAndManagerDeath => {
                self.refused_config("syntax")?;
                self.write_bad("syntax")?;
                let old = self.manager()?;
                kill(old, Signal::SIGKILL);
                let done = self.next_manager(old);
                self.write_config()?;
                done
            }
            Step::Readers { .. } | Step::Servers { .. } | Step::Attack { .. } => {
                self.ill_will(step)
            }
            Step::Outage { .. } => Done::with(self.outage(step)?),
            Step::Pause { n } => self.pause_and_resume(*n),
            Step::RunAll => {
                let rows = self.ask("run", json!({"names": ["good/*", "dead/*", "slow/*"]}))?;
                Done::with(format!("{} results", rows.len().saturating_sub(1)))
            }
            Step::Clock { seconds } => {
                self.service.step_clock(*seconds)?;
                self.ask("run", json!({"names": ["good/*"]}))?;
                self.service.step_clock(0)?;
                Done::with("there and back")
            }
            Step::Upgrade { .. }
            | Step::BadPlugin { .. }
            | Step::Misbehave { .. }
            | Step::FillState
            | Step::FillRuntime { .. }
            | Step::FewFds { .. }
            | Step::LittleMemory { .. }
            | Step::Hostile { .. } => self.mischief(step),
        }
    }

    pub fn worker(&self, nth: u64) -> Result<u32, String> {
        let workers = self.service.role("worker");
        let at = (nth % workers.len().max(1) as u64) as usize;
        workers.get(at).copied().ok_or("there is no worker".into())
    }

    pub fn manager(&self) -> Result<u32, String> {
        let begun = Instant::now();
        loop {
            match self.service.role("manager")[..] {
                [pid] => return Ok(pid),
                ref others if begun.elapsed() > PATIENCE => {
                    return Err(format!("one manager was expected: {others:?}"));
                }
                _ => crate::pause(5),
            }
        }
    }

    fn stopped_for(&self, pids: &[u32], ms: u64) {
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP));
        crate::pause(ms);
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGCONT));
    }

    /// Until another manager than this is at work.
    fn next_manager(&self, old: u32) -> Result<Done, String> {
        let begun = Instant::now();
        // 10 s of silence, the longest pause before a start, and the start.
        while begun.elapsed() < Duration::from_secs(50) {
            let state = self
                .eyes
                .state()
                .filter(|s| s.manager_pid != old && s.manager_pid != 0);
            if state.is_some_and(|s| s.slots.iter().any(|(_, s)| s.state == 1)) {
                return Done::with(format!("the next after {} ms", begun.elapsed().as_millis()));
            }
            crate::pause(5);
        }
        Err(format!("manager {old} was not replaced"))
    }

    fn in_reload(&self, after_us: u64, victim: u32) {
        let begun = Instant::now();
        kill(self.service.pid(), Signal::SIGHUP);
        while begun.elapsed() < Duration::from_micros(after_us) {
            std::hint::spin_loop();
        }
        kill(victim, Signal::SIGKILL);
    }

    fn kill_supervisor(&mut self) -> Result<Done, String> {
        kill(self.service.pid(), Signal::SIGKILL);
        self.service.wait_end(PATIENCE)?;
        self.nobody_is_left()?;
        let took = self.service.start()?;
        Done::with(format!("ready after {} ms", took.as_millis()))
    }

    /// The service has ended: so has everything that it started.
    pub fn nobody_is_left(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let left = procs::with_variable(crate::service::MARK, &self.service.mark);
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                let names: Vec<String> = left
                    .iter()
                    .map(|p| format!("{} {p}", procs::name(*p)))
                    .collect();
                return Err(format!(
                    "the service has ended, and these have not: {names:?}"
                ));
            }
            crate::pause(10);
        }
    }

    /// While the manager cannot answer every row is marked stale, and comes at once. Returns how many rows were seen.
    fn looks_stale(&self, time: Duration) -> Result<u64, String> {
        let begun = Instant::now();
        let mut rows = 0;
        while begun.elapsed() < time {
            let looked = Instant::now();
            let said = self.service.healthctl(&["--json", "status"])?;
            let took = looked.elapsed();
            let list: serde_json::Value = serde_json::from_slice(&said.stdout).map_err(|e| {
                let err = String::from_utf8_lossy(&said.stderr).into_owned();
                format!("healthctl status beside a stopped manager: {e}: {err}")
            })?;
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(row) = list.iter().find(|r| r["stale"] != true) {
                return Err(format!(
                    "a row of a stopped manager is not marked as stale: {row}"
                ));
            }
            if took > Duration::from_secs(20) {
                return Err(format!(
                    "healthctl status took {took:?} beside a stopped manager"
                ));
            }
            rows += list.len() as u64;
            crate::pause(200);
        }
        Ok(rows)
    }

    fn apply_config(&mut self, n: u64) -> Result<Done, String> {
        self.write_config()?;
        self.reload()?;
        Done::with(n.to_string())
    }

    fn write_bad(&mut self, kind: &str) -> Result<(), String> {
        let good = self.config();
        match kind {
            "syntax" => self.write_text(&good.replace("[[check]]", "[[check")),
            "key" => self.write_text(&good.replacen("attempts = 2", "atempts = 2", 1)),
            "type" => {
                self.write_text(&good.replacen("interval = \"1000ms\"", "interval = 1000", 1))
            }
            "plugin" => self.write_text(&good.replacen("plugin = \"tcp\"", "plugin = \"tpc\"", 1)),
            _ => std::fs::remove_file(self.dir.join("healthd.toml")).map_err(|e| e.to_string()),
        }
    }

    /// A reload of it is refused, and the number of checks stays.
    fn refused_config(&mut self, kind: &str) -> Result<String, String> {
        let checks = self.eyes.state().map_or(0, |s| s.checks.len());
        self.write_bad(kind)?;
        let answer = self.reload();
        self.write_config()?;
        let error = match answer {
            Err(e) if e.starts_with("bad_config") => e,
            other => {
                return Err(format!(
                    "a config with a bad {kind}: {other:?} instead of bad_config"
                ));
            }
        };
        let now = self.eyes.state().map_or(0, |s| s.checks.len());
        if now != checks {
            return Err(format!(
                "a refused config has changed the number of checks: {checks}, {now}"
            ));
        }
        Ok(error)
    }

    fn pause_and_resume(&self, n: u64) -> Result<Done, String> {
        let glob = format!("good/*-{n}");
        let paused = self.ask("pause", json!({"names": [glob], "reason": "chaos"}))?;
        for row in &paused {
            if row["paused"] != true {
                return Err(format!("it was paused, and is not: {row}"));
            }
        }
        let name = paused
            .first()
            .and_then(|r| r["name"].as_str())
            .unwrap_or_default();
        // Nothing of it is in flight any more once its last run has had its time.
        crate::pause(1500);
        let runs = || -> Result<serde_json::Value, String> {
            let rows = self.ask("show", json!({ "name": name }))?;
            Ok(rows.first().map(|r| r["runs"].clone()).unwrap_or_default())
        };
        let before = runs()?;
        crate::pause(1500);
        let after = runs()?;
        if before != after {
            return Err(format!("`{name}` is paused and runs: {before}, {after}"));
        }
        self.ask("resume", json!({"names": [glob]}))?;
        Done::with(format!("{} checks", paused.len()))
    }
}
