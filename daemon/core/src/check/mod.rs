//! One check: its runs, its verdict, its schedule.

pub mod fault;
pub mod outcome;
pub mod rate;
pub mod schedule;
pub mod semaphore;
pub mod tracker;
pub mod verdict;
pub mod wheel;
