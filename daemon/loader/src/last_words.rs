//! What a C++ runtime says before it ends the process: its terminate handler writes "terminate called after throwing an
//! instance of ..." and `what()` to standard error, and aborts. For that moment standard error is a memory file of ours,
//! from which the crash handler takes the words.
//!
//! The runtime is whichever a plugin brings, shared or linked into it; it is found in the plugin's own scope.

use healthd_sys::memfd;
use libloading::os::unix::Library as Dl;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

type Handler = unsafe extern "C" fn();
type SetTerminate = unsafe extern "C" fn(Handler) -> Option<Handler>;
type CurrentType = unsafe extern "C" fn() -> *const c_void;

/// Runtimes that are told apart; a plugin that links its own has one of its own.
const RUNTIMES: usize = 16;

/// A runtime: its `__cxa_current_exception_type`, and the handler that it had.
struct Runtime {
    current: AtomicUsize,
    before: AtomicUsize,
}

static KNOWN: [Runtime; RUNTIMES] = [const {
    Runtime {
        current: AtomicUsize::new(0),
        before: AtomicUsize::new(0),
    }
}; RUNTIMES];

static WORDS: OnceLock<OwnedFd> = OnceLock::new();

/// The file with the words; None: no plugin has brought a C++ runtime.
pub fn file() -> Option<i32> {
    WORDS.get().map(AsRawFd::as_raw_fd)
}

/// From here on the C++ runtime of this library, if it has one, tells us why it ends the process.
pub(crate) fn listen(dl: &Dl) {
    // SAFETY: its type is fixed by its name, which the C++ ABI gives.
    let set_terminate = unsafe { dl.get::<SetTerminate>(b"_ZSt13set_terminatePFvvE\0") };
    // SAFETY: as above.
    let current = unsafe { dl.get::<CurrentType>(b"__cxa_current_exception_type\0") };
    let (Ok(set_terminate), Ok(current)) = (set_terminate, current) else {
        return;
    };
    let current = *current as usize;
    if KNOWN
        .iter()
        .any(|r| r.current.load(Ordering::Acquire) == current)
    {
        return;
    }
    let free = KNOWN
        .iter()
        .find(|r| r.current.load(Ordering::Acquire) == 0);
    let (Some(free), true) = (free, words_are_kept()) else {
        return;
    };
    // SAFETY: a runtime's own function; the handler lives as long as the program.
    let before = unsafe { set_terminate(on_terminate) };
    free.before
        .store(before.map_or(0, |f| f as usize), Ordering::Release);
    free.current.store(current, Ordering::Release);
}

fn words_are_kept() -> bool {
    if WORDS.get().is_none()
        && let Ok(file) = memfd::empty("last-words")
    {
        let _ = WORDS.set(file);
    }
    WORDS.get().is_some()
}

/// Called by the runtime of the thread that cannot go on.
unsafe extern "C" fn on_terminate() {
    if let Some(file) = file() {
        // SAFETY: both are open; whoever else writes to standard error now is heard as well.
        unsafe { libc::dup2(file, libc::STDERR_FILENO) };
    }
    let threw = KNOWN.iter().find(|r| {
        // SAFETY: 0, or a runtime's `__cxa_current_exception_type`, as `listen` has stored it.
        let current: Option<CurrentType> =
            unsafe { std::mem::transmute(r.current.load(Ordering::Acquire)) };
        // SAFETY: it takes nothing, and answers for the calling thread.
        current.is_some_and(|current| !unsafe { current() }.is_null())
    });
    let runtime = threw.unwrap_or(&KNOWN[0]);
    // SAFETY: 0, or the handler that this runtime had.
    let before: Option<Handler> =
        unsafe { std::mem::transmute(runtime.before.load(Ordering::Acquire)) };
    if let Some(before) = before {
        // SAFETY: it is called as its runtime would have called it.
        unsafe { before() };
    }
    std::process::abort();
}
