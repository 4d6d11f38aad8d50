//! The classes of workers: one row each, and what is so for all workers of it. What a person may set of a pool is in
//! `config::Pool`.

use serde::{Deserialize, Serialize};

/// Which pool a worker belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum WorkerClass {
    Io = 0,
    Cpu = 1,
    Exec = 2,
    /// Its runs deliver messages, and are no checks.
    Notify = 3,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ClassRow {
    pub name: &'static str,
    /// Of its run-lane threads.
    pub nice: i32,
    pub credit: Credit,
    /// Descriptors that a run in flight needs.
    pub fds_a_run: u64,
    /// Its workers help each other with chunks of a run, whose fds travel over their links.
    pub fans_out: bool,
    /// Its children are the programs of checks; `threads` is how many may run at once.
    pub starts_programs: bool,
}

/// Runs that one worker may have in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// As far as its descriptors go: a run needs one or two, and the rest is for links, maps and plugins' own files.
    Descriptors,
    Runs(usize),
    /// As many as its pool lets it run at once.
    Threads,
}

/// By number.
static ROWS: [ClassRow; WorkerClass::ALL.len()] = [
    ClassRow {
        name: CLASSES[0],
        nice: 0,
        credit: Credit::Descriptors,
        fds_a_run: 2,
        fans_out: false,
        starts_programs: false,
    },
    ClassRow {
        name: CLASSES[1],
        nice: 5,
        // One runs, one waits.
        credit: Credit::Runs(2),
        fds_a_run: 2,
        fans_out: true,
        starts_programs: false,
    },
    ClassRow {
        name: CLASSES[2],
        nice: 0,
        credit: Credit::Threads,
        fds_a_run: 5,
        fans_out: false,
        starts_programs: true,
    },
    ClassRow {
        name: CLASSES[3],
        nice: 0,
        // Four a route: whoever has so many receivers that hang has them wait for each other.
        credit: Credit::Runs(64),
        fds_a_run: 5,
        fans_out: false,
        starts_programs: true,
    },
];

/// Their names by number, as readers of the maps need them.
pub const CLASSES: [&str; WorkerClass::ALL.len()] = ["io", "cpu", "exec", "notify"];

impl WorkerClass {
    pub const ALL: [WorkerClass; 4] = [
        WorkerClass::Io,
        WorkerClass::Cpu,
        WorkerClass::Exec,
        WorkerClass::Notify,
    ];

    pub fn row(self) -> &'static ClassRow {
        &ROWS[self as usize]
    }

    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    pub fn parse(text: &str) -> Option<WorkerClass> {
        Self::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_stands_in_its_own_row() {
        for (number, class) in WorkerClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            let json = serde_json::to_string(&class).expect("a word");
            assert_eq!(json, format!("{:?}", class.row().name));
            assert_eq!(WorkerClass::parse(class.as_str()), Some(class));
        }
    }
}
