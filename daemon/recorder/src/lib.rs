//! The role `recorder`: reads what the manager writes into its maps, and keeps it in `history.db`. It is asked by
//! nobody, and may be dead or stopped for an hour: what the ring of events no longer holds is counted, and the next
//! roll-up spans a longer time.
//!
//! `watch` is the process, `db` the file, `rolls` the sums. `read` is for healthctl: `report` and `burn` say what a
//! history means, `calibrate` what it supports.
#![forbid(unsafe_code)]

pub mod burn;
pub mod calibrate;
mod db;
mod kept;
pub mod read;
pub mod report;
mod rolls;
mod status;
mod steady;
mod watch;

use healthd_core::config::RecorderSettings;
use healthd_core::wire::roles::ReaderArgs;
use healthd_sys::{memfd, priority, process, signals, spawn};
use std::io;
use std::time::Duration;

/// Longer than any other's, so whoever wakes up runs at once: checks wait for no roll-up.
const PIECE: Duration = Duration::from_millis(20);

/// Until the supervisor says that it ends. Another exit code than 0: it could not go on.
pub fn main(args: &ReaderArgs) -> i32 {
    process::set_name(c"healthd-record");
    if let Err(e) = priority::in_long_pieces(PIECE) {
        log::debug!("no longer pieces: {e}");
    }
    match start(args) {
        Ok(()) => 0,
        Err(e) => {
            log::error!("recorder cannot go on: {e}");
            1
        }
    }
}

fn start(args: &ReaderArgs) -> io::Result<()> {
    let settings = spawn::adopt_fd(args.settings)?;
    // SIGTERM is read, and nothing else ends us.
    let signals = signals::Signals::take()?;
    process::die_with_parent(args.parent)?;
    let settings: RecorderSettings =
        serde_json::from_slice(&memfd::read_all(&settings)?).map_err(io::Error::other)?;
    watch::Watch::new(args, settings.history)?.run(&signals)
}
