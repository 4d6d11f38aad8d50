//! The pure parts: no I/O, no clock, no threads. Time is an argument, so plain values test it.
#![forbid(unsafe_code)]

pub mod check;
pub mod config;
pub mod matching;
pub mod objects;
pub mod page_paths;
pub mod scrub;
pub mod starvation;
pub mod text;
pub mod wire;
