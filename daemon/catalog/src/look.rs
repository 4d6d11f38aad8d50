//! A process in which plugins are looked at. What they start there ends with the look, however that ends: with an answer,
//! by a crash, or because its time is over.
//!
//! From the first look on this process is a subreaper. A program whose starters are all gone, in a session of its own
//! too, comes to it and is ended.

use healthd_sys::process;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};

pub struct Look {
    pub child: Child,
    /// Its number is not its own any more.
    is_over: bool,
}

/// The children that nobody has left to us: those of looks, and who was there before the first. Locked while one is
/// started or ended.
static OURS: Mutex<Option<BTreeSet<u32>>> = Mutex::new(None);

fn ours() -> MutexGuard<'static, Option<BTreeSet<u32>>> {
    OURS.lock().unwrap_or_else(|e| e.into_inner())
}

impl Look {
    pub fn start(command: &mut Command) -> io::Result<Look> {
        let mut ours = ours();
        if ours.is_none() {
            process::become_subreaper()?;
        }
        let ours = ours.get_or_insert_with(|| process::children().into_iter().collect());
        let child = command.process_group(0).spawn()?;
        ours.insert(child.id());
        let is_over = false;
        Ok(Look { child, is_over })
    }

    /// Killed first, for what it has started; that changes nothing about how it died.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        let mut ours = ours();
        if self.is_over {
            return self.child.wait();
        }
        self.is_over = true;
        process::kill_group(self.child.id());
        let status = self.child.wait();
        if let Some(ours) = ours.as_mut() {
            ours.remove(&self.child.id());
            end_what_was_left(ours);
        }
        status
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Children that are none of `ours`, with all below them. Whoever of them forks meanwhile is found in the next round.
fn end_what_was_left(ours: &BTreeSet<u32>) {
    for _ in 0..ROUNDS {
        let mut left = process::children();
        left.retain(|pid| !ours.contains(pid) && process::may_kill(*pid));
        if left.is_empty() {
            return;
        }
        for pid in left.iter().flat_map(|pid| process::with_descendants(*pid)) {
            process::kill_one(pid);
        }
        for pid in left {
            let _ = waitpid(Pid::from_raw(pid as i32), None);
        }
    }
}

/// Who forks faster than anybody can kill is nobody to wait for: how many processes he has is the unit's to say.
const ROUNDS: u32 = 1000;
