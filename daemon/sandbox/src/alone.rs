//! A domain of its own for each program of a check: it sends signals to itself and to what it has started, not to the worker
//! whose child it is, and not to the programs of other checks.

use landlock::{
    CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use std::io;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// All that a start needs.
const STACK: usize = 128 << 10;

/// As the calling thread would do it; what is started there is in a domain of its own (Landlock 6). A thread has its domain
/// for good, so each start has a thread.
pub fn start<R: Send>(start: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread = Builder::new().name("start".into()).stack_size(STACK);
        let started = thread.spawn_scoped(scope, || {
            restrict().map_err(io::Error::other)?;
            start()
        })?;
        started.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn restrict() -> Result<(), RulesetError> {
    // The worker can take no new privileges: it has a domain itself.
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::Signal)?
        .create()?;
    ruleset.no_new_privs(false).restrict_self()?;
    Ok(())
}
