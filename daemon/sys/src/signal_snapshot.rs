//! What a library changes in the signal set-up of our process while it is loaded: seen, and put back.

use std::mem::MaybeUninit;

const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// All dispositions and the calling thread's mask, as they are now.
pub struct SignalSnapshot {
    actions: Vec<(i32, libc::sigaction)>,
    mask: libc::sigset_t,
}

impl SignalSnapshot {
    pub fn take() -> SignalSnapshot {
        let actions = SIGNALS.filter_map(|n| current(n).map(|a| (n, a))).collect();
        let mut mask = MaybeUninit::uninit();
        // SAFETY: a null new set only reads; the kernel fills `mask`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr()) };
        // SAFETY: filled by the call above, which cannot fail with these arguments.
        let mask = unsafe { mask.assume_init() };
        SignalSnapshot { actions, mask }
    }

    /// Has anything changed?
    pub fn differs(&self) -> bool {
        self.actions.iter().any(|(n, action)| changed(*n, action))
    }

    /// Puts back what differs, but for the signals that are to stay; the others whose disposition had been changed.
    pub fn restore(&self, but: &[i32]) -> Vec<i32> {
        let mut restored = Vec::new();
        for (n, action) in &self.actions {
            if but.contains(n) || !changed(*n, action) {
                continue;
            }
            // SAFETY: `action` is what the kernel said of this signal before, so its handler is still there.
            if unsafe { libc::sigaction(*n, action, std::ptr::null_mut()) } == 0 {
                restored.push(*n);
            }
        }
        // SAFETY: a mask that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut()) };
        restored
    }
}

fn changed(signal: i32, before: &libc::sigaction) -> bool {
    current(signal).is_some_and(|now| {
        now.sa_sigaction != before.sa_sigaction || now.sa_flags != before.sa_flags
    })
}

fn current(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a null new action only reads; the kernel fills `action` when it returns 0.
    let r = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call returned 0, so the structure was filled.
    (r == 0).then(|| unsafe { action.assume_init() })
}
