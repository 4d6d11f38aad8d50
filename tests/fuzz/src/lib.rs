//! Everything that reads what somebody else wrote: a worker, a client, a config, a server, a program, a plugin
//! file. No bytes may make it panic, hang, or take more room than its caps.
//!
//! `run` drives the targets with libFuzzer, and `cargo test` runs every file of `corpus/` once. A target that
//! is private to a plugin or to the manager is included by its path: the file under test is the shipped one.

#![forbid(unsafe_code)]
// The tests of the included files run where the files are.
#![cfg(not(test))]
#![allow(dead_code, reason = "each included file is used in part")]

mod alerts;
/// Where `guard.rs` of the postgres plugin looks for it.
#[path = "../../../plugins/postgres/src/auth.rs"]
mod auth;
mod config;
mod daemon;
mod elf;
mod names;
/// Where `output.rs` of the exec plugin looks for it.
#[path = "../../../plugins/exec/src/perfdata.rs"]
mod perfdata;
mod plugins;
mod web;

/// What takes the bytes.
pub type Target = fn(&[u8]);

/// By name; the corpus of each lies in `corpus/NAME`.
pub const TARGETS: [(&str, Target); 16] = [
    ("worker_frames", daemon::worker_frames),
    ("supervisor_frames", daemon::supervisor_frames),
    ("maps", daemon::maps),
    ("requests", daemon::requests),
    ("replies", daemon::replies),
    ("glob", daemon::glob),
    ("alerts", alerts::records),
    ("windows", alerts::words),
    ("config", config::config),
    ("schema", config::schema),
    ("elf", elf::elf),
    ("perfdata", plugins::perfdata),
    ("http", plugins::http),
    ("targets", plugins::targets),
    ("names", names::names),
    ("web", web::requests),
];
