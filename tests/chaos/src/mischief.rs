//! Doing the steps: plugins, disks, limits and clients that are up to no good.

use crate::act::Done;
use crate::plan::Step;
use crate::service::kill;
use crate::world::World;
use healthd_test_support::procs;
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

/// A misbehaviour shows itself within this, or it is none.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

impl World {
    pub fn mischief(&mut self, step: &Step) -> Result<Done, String> {
        match step {
            Step::Upgrade { nth } => {
                self.upgrade_echo(*nth)?;
                self.reload()?;
                Ok(Done::default())
            }
            Step::BadPlugin { variant } => self.broken_plugin(variant),
            Step::Misbehave { how } => self.misbehave(how),
            Step::FillState => self.fill_state(),
            Step::FillRuntime { nth } => self.fill_runtime(*nth),
            Step::FewFds { role, ms } => self.few_fds(role, *ms),
            Step::LittleMemory { role, ms } => self.little_memory(role, *ms),
            Step::Hostile { kind } => self.hostile(kind),
            other => Err(format!("{} is no mischief", other.kind())),
        }
    }

    /// Whatever healthd does with it: nobody else may notice, and the good one in its place is taken.
    fn broken_plugin(&mut self, variant: &str) -> Result<Done, String> {
        self.drop_in(variant)?;
        let said = match self.reload() {
            Ok(()) => "taken".to_owned(),
            Err(e) => e,
        };
        let started = std::time::Instant::now();
        self.drop_in("FINE")?;
        let mut again = self.reload();
        // A generation may still be coming up or going.
        while again.is_err() && started.elapsed() < Duration::from_secs(60) {
            crate::pause(100);
            again = self.reload();
        }
        again.map_err(|e| format!("the good plugin after `{variant}` is not taken: {e}"))?;
        self.until("the good plugin's checks are ok again", SHOWN_WITHIN, |w| {
            let seen = w.eyes.seen();
            let mut drops = seen
                .rows
                .iter()
                .filter(|(name, _)| name.starts_with("drop/"));
            drops.all(|(_, row)| row.last.verdict == 0 && row.changed > started)
        })?;
        Ok(Done {
            note: format!("{variant}: {said}"),
            ..Done::default()
        })
    }

    fn misbehave(&mut self, how: &str) -> Result<Done, String> {
        let mark = self.service.log_mark();
        let name = format!("bad/{how}");
        let runs = |w: &World| w.eyes.seen().rows.get(&name).map_or(0, |r| r.last.runs);
        let before = runs(self);
        self.switch(how, true)?;
        let shown = self.provoke(how, mark, &name, before);
        self.switch(how, false)?;
        if how == "destroy" {
            self.omitted = None;
            self.write_config()?;
            self.reload()?;
        }
        Ok(Done {
            note: format!("{how}: {}", shown?),
            ..Done::default()
        })
    }

    /// Until it has shown, where it does.
    fn provoke(&mut self, how: &str, mark: u64, name: &str, before: u64) -> Result<String, String> {
        match how {
            // An instance is made and ended with its worker or its definition.
            "create" => {
                let workers = self.service.role("worker io");
                workers.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
            }
            "destroy" => {
                self.omitted = Some(name.to_owned());
                self.write_config()?;
                self.reload()?;
            }
            _ => {}
        }
        match how {
            // The copy that it made ends by itself, a panic is caught, a hang is written off: no worker dies.
            "fork" | "panic" | "panic-step" | "hang" => {
                self.until("two more runs of it", SHOWN_WITHIN, |w| {
                    let seen = w.eyes.seen();
                    seen.rows
                        .get(name)
                        .is_some_and(|r| r.last.runs >= before + 2)
                })?;
                Ok("two runs".into())
            }
            _ => {
                let named = format!("culprit={name}");
                let words: &[&str] = match how {
                    "stall" | "rubbish" | "huge" => &["worker killed"],
                    // Replaced before it hurts; at its limit if it grew faster than that.
                    "leak" | "fd-leak" => &["worker recycled", "worker died"],
                    // Killed from outside as it seems, or of a definition that is no more: the culprit is not certain.
                    "kill" | "exit" | "destroy" => &["worker died"],
                    _ => &[&named],
                };
                let line = self.service.wait_log(mark, words, SHOWN_WITHIN);
                line.map(|l| l.trim().chars().take(160).collect())
                    .ok_or_else(|| format!("the log does not say {words:?} of {how}"))
            }
        }
    }

    fn fill_state(&mut self) -> Result<Done, String> {
        let Some(disks) = &self.disks else {
            return Ok(no_mount());
        };
        let filler = disks.state.fill();
        // What a person says is written at once: it cannot be now.
        let mark = self.service.log_mark();
        self.ask("pause", json!({"names": ["flap/http-0"], "reason": "disk"}))?;
        let said = self
            .service
            .wait_log(mark, &["the state cannot be written"], SHOWN_WITHIN);
        self.ask("resume", json!({"names": ["flap/http-0"]}))?;
        let removed = std::fs::remove_file(filler);
        removed.map_err(|e| e.to_string())?;
        said.ok_or("a full state disk is not said")?;
        Ok(Done::default())
    }

    fn fill_runtime(&mut self, nth: u64) -> Result<Done, String> {
        let Some(disks) = &self.disks else {
            return Ok(no_mount());
        };
        let filler = disks.run.fill();
        // A worker that is started now cannot make its map.
        let victim = self.worker(nth);
        let reload = self.reload();
        if let Ok(pid) = victim {
            kill(pid, Signal::SIGKILL);
        }
        crate::pause(500);
        let removed = std::fs::remove_file(filler);
        removed.map_err(|e| e.to_string())?;
        match reload {
            Err(e) if e.contains("No space") || e.contains("free some space") => Ok(Done {
                note: e.chars().take(120).collect(),
                ..Done::default()
            }),
            other => Err(format!("a reload on a full runtime disk: {other:?}")),
        }
    }

    /// Its limit of open files is what it has open, for a while.
    fn few_fds(&mut self, role: &str, ms: u64) -> Result<Done, String> {
        let pids = self.service.role(role);
        let mut usual = Vec::new();
        for pid in &pids {
            usual.push(procs::open_files_limit(*pid).unwrap_or(1024));
            let open = procs::fds(*pid).unwrap_or(32);
            limit(*pid, &format!("--nofile={}:", open + 1));
        }
        crate::pause(ms);
        for (pid, usual) in pids.iter().zip(usual) {
            limit(*pid, &format!("--nofile={usual}:"));
        }
        Ok(Done {
            note: format!("{role}, {} processes", pids.len()),
            ..Done::default()
        })
    }

    /// Its address space is what it has, for a while.
    fn little_memory(&mut self, role: &str, ms: u64) -> Result<Done, String> {
        let pids = self.service.role(role);
        for pid in &pids {
            let bytes = procs::address_space_kb(*pid).unwrap_or(1 << 20) * 1024 + (1 << 20);
            limit(*pid, &format!("--as={bytes}:"));
        }
        crate::pause(ms);
        pids.iter().for_each(|pid| limit(*pid, "--as=unlimited:"));
        Ok(Done {
            note: format!("{role}, {} processes", pids.len()),
            ..Done::default()
        })
    }

    fn hostile(&mut self, kind: &str) -> Result<Done, String> {
        let socket = self.service.socket();
        let connect = || -> Result<UnixStream, String> {
            let s = UnixStream::connect(&socket).map_err(|e| e.to_string())?;
            let limit = Some(Duration::from_secs(2));
            let set = s
                .set_read_timeout(limit)
                .and_then(|()| s.set_write_timeout(limit));
            set.map_err(|e| e.to_string())?;
            Ok(s)
        };
        let mut held = Vec::new();
        match kind {
            "garbage" => {
                for n in 0..20u8 {
                    let mut s = connect()?;
                    let _ = s.write_all(&[n.wrapping_mul(37); 5000]);
                    let _ = s.write_all(b"\n{\"v\":1,\"op\":7}\n[]\n\xff\xfe\n");
                    let _ = s.read(&mut [0; 4096]);
                }
            }
            "long" => {
                for _ in 0..5 {
                    let mut s = connect()?;
                    let _ = s.write_all(&[b'x'; 200_000]);
                    let _ = s.read(&mut [0; 4096]);
                }
            }
            // More than may be served: the others wait, and are heard once these are gone.
            "crowd" => held.extend((0..200).filter_map(|_| connect().ok())),
            "deaf" => {
                for _ in 0..30 {
                    let mut s = connect()?;
                    let _ = s.write_all(b"{\"v\":1,\"op\":\"watch\"}\n");
                    held.push(s);
                }
            }
            "half" => {
                for _ in 0..30 {
                    let mut s = connect()?;
                    let _ = s.write_all(b"{\"v\":1,\"op\":\"sta");
                    held.push(s);
                }
            }
            _ => {
                for _ in 0..5 {
                    let mut s = connect()?;
                    let many = b"{\"v\":1,\"op\":\"status\"}\n".repeat(500);
                    let _ = s.write_all(&many);
                    held.push(s);
                }
            }
        }
        crate::pause(1000);
        drop(held);
        // Whoever asks now is answered.
        self.ask("version", json!({}))?;
        Ok(Done {
            note: kind.to_owned(),
            ..Done::default()
        })
    }

    pub fn until(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let begun = std::time::Instant::now();
        while !wanted(self) {
            if begun.elapsed() > patience {
                return Err(format!("not within {patience:?}: {what}"));
            }
            crate::pause(20);
        }
        Ok(())
    }
}

fn no_mount() -> Done {
    Done {
        skipped: Some("a small file system cannot be mounted here (it needs root)".into()),
        ..Done::default()
    }
}

/// That the process is gone meanwhile is fine.
fn limit(pid: u32, what: &str) {
    let _ = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), what])
        .stderr(std::process::Stdio::null())
        .status();
}
