//! The supervisor: starts the manager and the workers, collects who dies, starts anew, talks to the service
//! manager, and stops everything. It has one thread, never waits on anything a child can hold, loads no
//! plugin, and reads nothing that a client wrote: so nothing of that can kill it.
#![forbid(unsafe_code)]

mod event_loop;
mod folders;
mod heart;
mod here;
mod instance;
mod lifecycle;
mod link;
mod placing;
mod pool;
mod reaper;
pub mod refusal;
mod replay;
mod respawn;
mod roles;
mod sender;
mod service_manager;
mod start;
mod words;

use refusal::{Refusal, exit};
use std::path::Path;

/// Runs the daemon in the foreground until it is told to stop. Returns the exit code.
pub fn main(config: &Path) -> i32 {
    run(config, || ())
}

/// `--here`: the same with everything below `./.healthd`. Returns the exit code.
pub fn main_here() -> i32 {
    match here::config() {
        Ok(config) => run(&config, here::greet),
        Err(refusal) => refusal.print(),
    }
}

/// `--here -t`: makes that config if there is none, and judges it. Returns the exit code.
pub fn test_here(json: bool) -> i32 {
    match here::config() {
        Ok(config) => start::test(&config, json),
        Err(refusal) => refusal.print(),
    }
}

/// `greet`: once nothing can refuse the start any more.
fn run(config: &Path, greet: impl FnOnce()) -> i32 {
    let setup = match start::prepare(config) {
        Ok(setup) => setup,
        Err(code) => return code,
    };
    greet();
    match event_loop::Supervisor::new(setup) {
        Ok(supervisor) => {
            // The config was read here for its settings alone; it may be large.
            healthd_sys::process::trim_heap();
            supervisor.run()
        }
        Err(e) => Refusal::new(exit::SYSTEM, format!("cannot set up the event loop: {e}")).print(),
    }
}

/// `--verify FILE`: prints as JSON what a start would say of a plugin file. Exit code 0: it would be loaded; 1: not.
pub fn verify(file: &Path) -> i32 {
    start::verify(file)
}

/// `--schema FOLDER`: prints the JSON Schema of the config, with the plugins in that folder. Returns the exit code.
pub fn schema(plugins: &Path) -> i32 {
    start::schema(plugins)
}

/// `--replay CONFIG`: what its routes would have sent. Returns the exit code.
pub fn replay(config: &Path) -> i32 {
    replay::run(config)
}

/// `-t`: judges the config as a start would. Returns the exit code.
pub fn test(config: &Path, json: bool) -> i32 {
    start::test(config, json)
}
