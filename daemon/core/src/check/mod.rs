//! One check: its runs, its verdict, its schedule.

pub mod outcome;
