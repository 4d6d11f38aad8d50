//! Counters and arrays that all workers share, through the host's `hd.counter/1`.

use crate::cx::Cx;
use crate::host::host;
use healthd_abi::{EXT_COUNTER, HdCounter, HdStr, SHARED};
use std::io;

/// Numbers of 64 bits that every worker sees, known by name: 0 at first, kept until the daemon is restarted. Every
/// operation is atomic, and none is lost if a worker is killed. Copy it and keep it where you like; any thread may use
/// it.
#[derive(Clone, Copy)]
pub struct Counters {
    handle: u64,
    cells: u32,
    table: &'static HdCounter,
}

/// One number, as [`Counters`] has many.
#[derive(Clone, Copy)]
pub struct Counter(Counters);

impl Cx<'_> {
    /// The counter of this name: all workers' runs and instances of this plugin that name it share it. A name has 1 to
    /// 60 printable ASCII characters, without space, quote and backslash.
    pub fn counter(self, name: &str) -> io::Result<Counter> {
        self.open_counters(name, 1, 0).map(Counter)
    }

    /// As [`counter`](Self::counter), with so many numbers (at most 4096): as many as whoever named it first asked for.
    pub fn counters(self, name: &str, cells: u32) -> io::Result<Counters> {
        self.open_counters(name, cells, 0)
    }

    /// As [`counters`](Self::counters), shared with every other plugin that names it so.
    pub fn shared_counters(self, name: &str, cells: u32) -> io::Result<Counters> {
        self.open_counters(name, cells, SHARED)
    }

    fn open_counters(self, name: &str, cells: u32, flags: u32) -> io::Result<Counters> {
        // SAFETY: what the host returns for this id is NULL or a static hd_counter.
        let table = unsafe { host().extension(EXT_COUNTER).cast::<HdCounter>().as_ref() };
        let unsupported =
            || io::Error::new(io::ErrorKind::Unsupported, "this host has no counters");
        let table = table.ok_or_else(unsupported)?;
        let open = table.open.ok_or_else(unsupported)?;
        let mut handle = 0;
        // SAFETY: a live ctx on its own thread (a Cx leaves neither); the host writes the handle during this call.
        let r = unsafe { open(self.raw(), HdStr::new(name), cells, flags, &mut handle) };
        if r < 0 {
            let e = io::Error::from_raw_os_error(-r);
            return Err(io::Error::new(e.kind(), format!("counter `{name}`: {e}")));
        }
        Ok(Counters {
            handle,
            cells,
            table,
        })
    }
}

impl Counters {
    pub fn len(&self) -> u32 {
        self.cells
    }

    /// Never: a name has at least one number.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn check(&self, cell: u32) {
        assert!(cell < self.cells, "cell {cell} of {}", self.cells);
    }

    /// # Panics
    /// As all of these, if there is no such cell.
    pub fn get(&self, cell: u32) -> u64 {
        self.check(cell);
        let mut value = 0;
        if let Some(get) = self.table.get {
            // SAFETY: any thread; the host writes the value during this call.
            unsafe { get(self.handle, cell, &mut value) };
        }
        value
    }

    pub fn set(&self, cell: u32, value: u64) {
        self.check(cell);
        if let Some(set) = self.table.set {
            // SAFETY: any thread.
            unsafe { set(self.handle, cell, value) };
        }
    }

    /// Returns what was there before. Wraps around.
    pub fn add(&self, cell: u32, n: u64) -> u64 {
        self.check(cell);
        let mut before = 0;
        if let Some(add) = self.table.add {
            // SAFETY: any thread; the host writes the value during this call.
            unsafe { add(self.handle, cell, n, &mut before) };
        }
        before
    }

    /// As [`add`](Self::add), downwards.
    pub fn sub(&self, cell: u32, n: u64) -> u64 {
        self.add(cell, n.wrapping_neg())
    }

    /// The larger one stays. Returns what was there before.
    pub fn max(&self, cell: u32, value: u64) -> u64 {
        self.check(cell);
        let mut before = 0;
        if let Some(max) = self.table.max {
            // SAFETY: any thread; the host writes the value during this call.
            unsafe { max(self.handle, cell, value, &mut before) };
        }
        before
    }

    /// Puts `value` there if `expected` is there; else says what is.
    pub fn compare_exchange(&self, cell: u32, expected: u64, value: u64) -> Result<(), u64> {
        self.check(cell);
        let mut there = expected;
        let Some(exchange) = self.table.compare_exchange else {
            return Err(self.get(cell));
        };
        // SAFETY: any thread; the host reads and writes `there` during this call.
        match unsafe { exchange(self.handle, cell, &mut there, value) } {
            0 => Ok(()),
            _ => Err(there),
        }
    }
}

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.get(0)
    }

    pub fn set(&self, value: u64) {
        self.0.set(0, value);
    }

    /// Returns what was there before. Wraps around.
    pub fn add(&self, n: u64) -> u64 {
        self.0.add(0, n)
    }

    /// As [`add`](Self::add), downwards.
    pub fn sub(&self, n: u64) -> u64 {
        self.0.sub(0, n)
    }

    /// The larger one stays. Returns what was there before.
    pub fn max(&self, value: u64) -> u64 {
        self.0.max(0, value)
    }

    /// Puts `value` there if `expected` is there; else says what is.
    pub fn compare_exchange(&self, expected: u64, value: u64) -> Result<(), u64> {
        self.0.compare_exchange(0, expected, value)
    }
}
