//! `healthctl bench`: how fast this machine's healthd is, and with how many workers and threads.
//!
//! Each bench starts a healthd of its own in a temporary folder, with servers of its own to ask, and ends both. What is
//! measured is the real way of a check: manager, worker, plugin and back. Rows that say `without healthd` are plain code
//! beside it, as a script would do the same.

mod chunks;
mod cpu;
mod data;
mod io;
mod limit;
mod private;
mod table;
mod targets;
mod tune;
mod usage;

use crate::args::{Bench, BenchArgs};
use crate::error::CtlError;
use crate::interrupt::Interrupt;
use crate::screen::Screen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};
pub use table::Table;

/// What each bench needs: how much time it has, who waits, and how to tell him how far it is.
pub struct Way<'s> {
    pub screen: &'s mut Screen,
    interrupt: Interrupt,
    bench: &'static str,
    pub cores: usize,
    pub seconds: f64,
    begun: Instant,
}

impl Way<'_> {
    /// `io: event-loop, 50 targets  12s`, on a terminal.
    pub fn tell(&mut self, what: &str) -> Result<(), CtlError> {
        let line = format!(
            "{}: {what}  {}s",
            self.bench,
            self.begun.elapsed().as_secs()
        );
        self.screen.progress(&line);
        self.pause(Duration::ZERO)
    }

    /// It has taken as long as it may.
    pub fn is_late(&self) -> bool {
        self.begun.elapsed().as_secs_f64() > self.seconds
    }

    /// Waits; an error if somebody wants to stop.
    pub fn pause(&mut self, time: Duration) -> Result<(), CtlError> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut fds = [PollFd::new(&self.interrupt.readable, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(failed("interrupted")),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(CtlError::Interrupt(e.into())),
            }
        }
    }
}

pub fn failed(why: impl Into<String>) -> CtlError {
    CtlError::Bench(why.into())
}

/// The table of one bench.
pub fn run(screen: &mut Screen, args: &BenchArgs) -> Result<Table, CtlError> {
    let (bench, measure, usual): (_, fn(&mut Way<'_>) -> _, f64) = match args.bench {
        Bench::Io => ("io", io::measure, 70.0),
        Bench::Cpu => ("cpu", cpu::measure, 20.0),
        Bench::Chunks => ("chunks", chunks::measure, 20.0),
        Bench::Tune => ("tune", tune::measure, 40.0),
        Bench::Data => ("data", data::measure, 60.0),
        Bench::Limit => ("limit", limit::measure, 60.0),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut way = Way {
        interrupt: Interrupt::new()?,
        screen,
        bench,
        cores,
        seconds: args.seconds.map_or(usual, f64::from),
        begun: Instant::now(),
    };
    let own = || usage::of(std::process::id()).cpu_s;
    let (busy, own_busy) = (usage::machine().0, own());
    let table: Result<Table, CtlError> = measure(&mut way);
    let (busy_then, processors) = usage::machine();
    let others = (busy_then - busy) - (own() - own_busy);
    let all = way.begun.elapsed().as_secs_f64() * processors as f64;
    way.screen.clear_progress();
    Ok(Table {
        bench,
        cores,
        others_percent: (others / all * 100.0).clamp(0.0, 100.0),
        ..table?
    })
}
