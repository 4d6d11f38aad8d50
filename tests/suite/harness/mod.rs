//! What the tests have in common: a daemon in a directory of its own, and the ends of what it talks to.

pub mod browser;
pub mod ctl;
mod daemon;
mod events;
pub mod fixtures;
mod full;
mod gate;
mod hog;
pub mod http;
mod leash;
mod notify;
pub mod plugins;
pub mod prometheus;
mod record;
mod tracer;

pub use daemon::{Check, Config, Daemon, check, fine, kill};
pub use full::Full;
pub use gate::{Gate, Visit};
pub use healthd_test_support::procs::{children, state, tree};
pub use healthd_test_support::receiver;
pub use healthd_test_support::{ReadOnly, Small};
pub use hog::Hog;
pub use leash::Leash;
pub use tracer::Tracer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take before the test fails. Generous, as it only costs time when something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory of this test alone, removed at its end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        // Short, as a socket's path must fit in 107 bytes.
        let dir = std::env::temp_dir().join(format!("hd-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("the temporary directory can be written");
        TempDir(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::fs::remove_dir_all(&self.0).is_err() {
            // What a test has mounted below may be dropped only after it.
            healthd_test_support::unmount_below(&self.0);
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says on stderr why a test does nothing here.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

pub fn poll_readable(fd: std::os::fd::BorrowedFd<'_>, time: Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let time = PollTimeout::try_from(time).expect("less than weeks");
    loop {
        match poll(&mut fds, time) {
            Ok(n) => return n > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}
