//! What processes have used, as counters that outlive them.

use std::cell::RefCell;
use std::collections::HashMap;

/// CPU of each process by its role and slot: what those before it had used when they were last looked at stays, so that
/// nobody's death takes a counter back.
#[derive(Default)]
pub struct Spent(RefCell<HashMap<(&'static str, String), Process>>);

#[derive(Default)]
struct Process {
    pid: u32,
    ticks: u64,
    before: u64,
}

impl Spent {
    pub fn ticks(&self, place: (&'static str, String), pid: u32, ticks: u64) -> u64 {
        let mut all = self.0.borrow_mut();
        let process = all.entry(place).or_default();
        if process.pid != pid {
            process.before += process.ticks;
            process.pid = pid;
        }
        process.ticks = ticks;
        process.before + ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_goes_on_where_the_one_before_it_was_seen_last() {
        let spent = Spent::default();
        let manager = |pid, ticks| spent.ticks(("manager", String::new()), pid, ticks);
        assert_eq!((manager(7, 10), manager(7, 12)), (10, 12));
        assert_eq!((manager(8, 1), manager(8, 3)), (13, 15));
        assert_eq!(manager(9, 0), 15);
        // Another place has its own.
        assert_eq!(spent.ticks(("worker", "0".into()), 7, 5), 5);
    }
}
