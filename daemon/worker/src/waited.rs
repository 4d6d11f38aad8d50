//! How long the event loop's thread has waited for a processor: of a call that took long that much was not its own.

use healthd_core::starvation::Share;
use healthd_sys::{clock, process};

/// The kernel tells it as a sum, so the sum of some time before is kept. What was waited between the two looks counts for
/// the call, whenever it was: on a machine that is drowning nobody is blamed.
#[derive(Default)]
pub struct Waited {
    until_now_ns: u64,
}

impl Waited {
    /// Since the last look; all of the time, if the kernel does not tell.
    pub fn look(&mut self) -> u64 {
        let (pid, tid) = (std::process::id(), process::gettid());
        let share = process::time_of_thread(pid, tid)
            .ok()
            .and_then(|(time, stat)| Share::parse(clock::monotonic_ns(), &time, &stat));
        let Some(share) = share else { return u64::MAX };
        let before = std::mem::replace(&mut self.until_now_ns, share.waited_ns);
        share.waited_ns.saturating_sub(before)
    }
}
