//! What alerts cost and keep: receivers that are silent under load, a storm with everything going wrong, and what takes
//! its time: a backup, a repeat, a check that flaps.

mod gate;
mod silent;
mod storm;
mod ways;

pub use silent::silent;
pub use storm::{storm, storm_on_a_full_disk};
pub use ways::ways;

use crate::Options;

/// All of them; `--seconds 3600` is what the issue asks for.
pub fn alerts(options: &Options) -> Result<(), String> {
    ways(options)?;
    storm(options)?;
    storm_on_a_full_disk(options)?;
    silent(options)
}

/// Err: a number is not what is asked for.
fn wanted(holds: bool, what: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("not as it should be: {what}")),
    }
}
