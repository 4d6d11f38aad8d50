//! The manager has no descriptor left: what fails by that is tried again, each by its own rule. Here it is said, with
//! the way out, and not each time.

use crate::director::Clockwork;
use crate::time::MS;
use healthd_sys::clock;
use std::io;

const SAID_EVERY_NS: u64 = 10_000 * MS;

impl Clockwork {
    /// `what` could not be had.
    pub fn lacks_descriptors(&mut self, what: &str) {
        let now = clock::monotonic_ns();
        if self.lacking_said != 0 && now.saturating_sub(self.lacking_said) < SAID_EVERY_NS {
            return;
        }
        self.lacking_said = now;
        log::warn!(
            "no descriptor is left, and it is tried again  for=\"{what}\" limit={} help=\"raise LimitNOFILE of the service\"",
            healthd_sys::limits::open_files()
        );
    }
}

/// This process, or the machine, has no more of them.
pub fn is_lack(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
