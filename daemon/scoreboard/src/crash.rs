//! The crash handler of a worker: it says which thread crashed where, in the worker's map, and lets the
//! signal go on. It runs on the alternate stack that std gives every thread of ours, so a stack overflow
//! is seen too. Only async-signal-safe work: thread-local reads without initialisation, and atomic stores.

use super::worker_map::WorkerMap;
use healthd_core::wire::maps::worker_header as h;
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIGNALS: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
];

static MAP: AtomicPtr<WorkerMap> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// 1 + this thread's line; 0: none. Constant, so that reading it allocates nothing.
    static LINE: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn set_current_line(line: Option<usize>) {
    LINE.set(line.map_or(0, |l| l as u64 + 1));
}

/// From now on a crash of this process is written into `map`, which lives as long as the process.
pub fn install(map: &'static WorkerMap) -> io::Result<()> {
    MAP.store(std::ptr::from_ref(map).cast_mut(), Ordering::Release);
    for signal in SIGNALS {
        // SAFETY: an all-zero sigaction is a valid value of this plain C structure.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction =
            on_crash as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        // RESETHAND: the second time the kernel's default acts, so the process dies of the same signal.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        // SAFETY: `action` is complete, and its handler does only what a signal handler may.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_crash(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: null, or what `install` stored: a map that lives as long as the process.
    let map = unsafe { MAP.load(Ordering::Acquire).as_ref() };
    // SAFETY: the kernel hands a valid siginfo to an SA_SIGINFO handler.
    let info = unsafe { info.as_ref() };
    let (Some(map), Some(info)) = (map, info) else {
        return;
    };
    let code = info.si_code;
    // SAFETY: a field of the siginfo; for signals that carry no address it means nothing, and is only shown.
    let address = unsafe { info.si_addr() } as u64;
    let set = |word: usize, value: u64| map.set(word, value);
    set(h::CRASH_CODE, code as u64);
    set(h::CRASH_LINE, LINE.get());
    set(h::CRASH_ADDRESS, address);
    set(h::CRASH_PC, program_counter(context));
    // SAFETY: gettid takes nothing and cannot fail.
    set(h::CRASH_TID, unsafe { libc::syscall(libc::SYS_gettid) }
        as u64);
    set(h::CRASH_SIGNAL, signal as u64);
    if code <= 0 {
        // Sent by somebody (kill, abort), not raised by an instruction that would now raise it again.
        // SAFETY: raise is async-signal-safe; SA_RESETHAND has put the default action back.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: *mut libc::c_void) -> u64 {
    // SAFETY: the kernel hands a valid ucontext to an SA_SIGINFO handler.
    let context = unsafe { context.cast::<libc::ucontext_t>().as_ref() };
    context.map_or(0, |c| c.uc_mcontext.gregs[libc::REG_RIP as usize] as u64)
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: *mut libc::c_void) -> u64 {
    // SAFETY: the kernel hands a valid ucontext to an SA_SIGINFO handler.
    let context = unsafe { context.cast::<libc::ucontext_t>().as_ref() };
    context.map_or(0, |c| c.uc_mcontext.pc)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn program_counter(_context: *mut libc::c_void) -> u64 {
    0
}
