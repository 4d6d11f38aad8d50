//! Am I a fork that a plugin made? A word on a page that the kernel zeroes in a forked child
//! (MADV_WIPEONFORK, madvise(2)) answers it without a system call.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static OF_THIS_PROCESS: OnceLock<ForkGuard> = OnceLock::new();

/// From now on `end_if_forked` tells this process from its forks.
pub fn install() -> std::io::Result<()> {
    let guard = ForkGuard::new()?;
    let _ = OF_THIS_PROCESS.set(guard);
    Ok(())
}

/// A fork that has come back from foreign code into ours ends here, before it touches what it shares with us: maps,
/// epoll, sockets.
pub fn end_if_forked() {
    if OF_THIS_PROCESS.get().is_some_and(|g| !g.is_original()) {
        crate::process::exit_now(0);
    }
}

pub struct ForkGuard(&'static AtomicU64);

impl ForkGuard {
    pub fn new() -> std::io::Result<ForkGuard> {
        const PAGE: usize = 4096;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no other memory.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the page is ours and whole; the advice changes only what a fork sees of it.
        if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the page is page-aligned, zeroed, never unmapped, and only reached through this atomic.
        let word = unsafe { &*page.cast::<AtomicU64>() };
        word.store(1, Ordering::Relaxed);
        Ok(ForkGuard(word))
    }

    pub fn is_original(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}
