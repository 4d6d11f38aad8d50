//! How much of the machine this process takes: what the checks leave.
//!
//! Always: a lower share, in pieces that whoever wakes up interrupts. While many ask at once and it would take more than
//! half a core: only what nobody else wants. Not always so: on a machine that is busy with something else one page would
//! take seconds then, and that is when people look.

use crate::routes::Site;
use healthd_sys::{clock, limits, priority, process};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Whoever looks waits for checks, not checks for whoever looks.
const NICE: i32 = 5;
/// Longer than any other's: the kernel lets whoever has a shorter one run at once.
const PIECE: Duration = Duration::from_millis(20);
/// So often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// Of a core: above the first it steps behind, below the second it comes back. Where others leave it less, it is never
/// behind for long.
const MUCH: f64 = 0.5;
const LITTLE: f64 = 0.1;

#[derive(Default)]
pub struct Manners {
    /// Once behind, it could come back.
    may: Cell<bool>,
    behind: Cell<bool>,
    /// When it was looked last, and the CPU time until then, ns.
    last: Cell<Option<(Instant, u64)>>,
}

impl Manners {
    /// Of this thread, and of all that it starts.
    pub fn begin(&self) {
        if let Err(e) = limits::nice_thread(process::gettid(), NICE) {
            log::debug!("no lower priority: {e}");
        }
        if let Err(e) = as_always() {
            log::debug!("no longer pieces: {e}");
        }
        self.may.set(priority::may_come_back());
    }

    /// Part of a core since the last look; None: that was just now.
    fn part(&self) -> Option<f64> {
        let now = Instant::now();
        let (at, used) = match self.last.get() {
            Some((at, _)) if now.duration_since(at) < LOOK => return None,
            Some(last) => last,
            None => (now, 0),
        };
        let total = clock::thread_cpu_ns();
        self.last.set(Some((now, total)));
        let past = now.duration_since(at).as_nanos() as f64;
        (past > 0.0).then(|| total.saturating_sub(used) as f64 / past)
    }
}

/// Before something is answered.
pub fn look(site: &Rc<Site>) {
    let manners = &site.manners;
    if !manners.may.get() || manners.behind.get() {
        return;
    }
    let Some(part) = manners.part() else {
        return;
    };
    if part > MUCH && priority::only_what_is_left(true).is_ok() {
        manners.behind.set(true);
        log::debug!("{:.0} % of a core: behind all others", part * 100.0);
        let site = site.clone();
        tokio::task::spawn_local(async move { until_calm(&site.manners).await });
    }
}

async fn until_calm(manners: &Manners) {
    loop {
        tokio::time::sleep(LOOK).await;
        if manners.part().is_some_and(|part| part < LITTLE) {
            break;
        }
    }
    match as_always() {
        Ok(()) => log::debug!("among the others again"),
        // Nothing can be done, and it was possible at the start.
        Err(e) => log::warn!("this process stays behind all others: {e}"),
    }
    manners.behind.set(false);
}

/// A thread that is started meanwhile is not behind.
pub fn thread_starts() {
    let _ = as_always();
}

/// The kernel forgets the length of pieces when a thread steps behind.
fn as_always() -> io::Result<()> {
    priority::in_long_pieces(PIECE).or_else(|_| priority::only_what_is_left(false))
}
