//! How a worker ends by its own hand: the crash handler says which thread crashed where, and the exit hook who called
//! exit(3), both in the worker's map.
//!
//! The handler runs on the thread's alternate stack, so a stack overflow is seen too, and lets the signal go on. The main
//! thread has one from std, every other from `healthd_sys::signal_stacks`. Only async-signal-safe work: thread-local
//! reads without initialisation, atomic stores, and system calls. A fork that a plugin made shares the map, and must
//! write nothing there.

use super::worker_map::WorkerMap;
use healthd_core::wire::maps::worker_header as h;
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

const SIGNALS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];
/// How much of the stack is looked through for addresses in libraries.
const TRACE_BYTES: usize = 64 << 10;

/// How long the unwinder may take.
const PATIENCE_S: u32 = 2;

/// Where a C++ runtime writes what it has to say; -1: there is none.
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);
static MAP: AtomicPtr<WorkerMap> = AtomicPtr::new(std::ptr::null_mut());
/// Of the process that `MAP` belongs to.
static PID: AtomicI32 = AtomicI32::new(0);
/// The first thread that crashed; 0: none has.
static FIRST: AtomicI32 = AtomicI32::new(0);

thread_local! {
    /// 1 + this thread's line; 0: none. Constant, so that reading it allocates nothing.
    static LINE: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn set_current_line(line: Option<usize>) {
    LINE.set(line.map_or(0, |l| l as u64 + 1));
}

/// From now on a crash of this process is written into `map`, which lives as long as the process.
pub fn install(map: &'static WorkerMap) -> io::Result<()> {
    PID.store(own_pid(), Ordering::Release);
    MAP.store(std::ptr::from_ref(map).cast_mut(), Ordering::Release);
    // The first call loads the unwinder, which a signal handler could not do.
    unwind(map, h::CRASH_TRACE);
    for signal in SIGNALS {
        // SAFETY: an all-zero sigaction is a valid value of this plain C structure.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction =
            on_crash as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is complete, and its handler does only what a signal handler may.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Of this file a crash takes the first bytes along: what a runtime said right before.
pub fn take_along(file: i32) {
    LAST_WORDS.store(file, Ordering::Release);
}

/// From now on a call of exit(3) is written into the map. The hooks of a process run from the last to the first: to be
/// asked for again after plugins were loaded, so that none of theirs can crash or hang before it.
pub fn watch_exit() -> io::Result<()> {
    // SAFETY: the hook is a plain function that lives as long as the program.
    match unsafe { libc::atexit(on_exit) } {
        0 => Ok(()),
        _ => Err(io::Error::other("no room for an exit hook")),
    }
}

/// The map, if it is this process's own.
fn own_map() -> Option<&'static WorkerMap> {
    if PID.load(Ordering::Acquire) != own_pid() {
        return None;
    }
    // SAFETY: null, or what `install` stored: a map that lives as long as the process.
    unsafe { MAP.load(Ordering::Acquire).as_ref() }
}

fn own_pid() -> i32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

fn own_tid() -> i32 {
    // SAFETY: gettid takes nothing and cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

extern "C" fn on_exit() {
    let Some(map) = own_map().filter(|m| m.get(h::EXIT_LINE) == 0) else {
        return;
    };
    let here = 0u64;
    scan_stack(map, std::ptr::from_ref(&here) as u64, h::EXIT_TRACE);
    unwind(map, h::EXIT_TRACE);
    map.set(h::EXIT_TID, own_tid() as u64);
    map.set(
        h::EXIT_LINE,
        match LINE.get() {
            0 => h::NO_LINE,
            line => line,
        },
    );
}

extern "C" fn on_crash(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let tid = own_tid();
    // SAFETY: the kernel hands a valid siginfo to an SA_SIGINFO handler.
    let info = unsafe { info.as_ref() };
    let code = info.map_or(0, |i| i.si_code);
    if let (Some(map), Some(info)) = (own_map(), info) {
        match FIRST.compare_exchange(0, tid, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => record(map, signal, info, context, tid),
            // The first one is about to end the process, and its story is the one that counts.
            Err(first) if first != tid => wait_for_the_end(),
            Err(_) => {}
        }
    }
    // SAFETY: signal(2) is async-signal-safe, and the default action needs no handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    if code <= 0 || signal == libc::SIGTRAP || signal == libc::SIGSYS {
        // Sent by somebody (kill, abort), or raised by an instruction that is over: nothing would raise it again.
        // SAFETY: raise is async-signal-safe; the default action has been put back.
        unsafe { libc::raise(signal) };
    }
}

fn record(
    map: &WorkerMap,
    signal: i32,
    info: &libc::siginfo_t,
    context: *mut libc::c_void,
    tid: i32,
) {
    let code = info.si_code;
    // SAFETY: a field of the siginfo; for signals that carry no address it means nothing, and is only shown.
    let address = unsafe { info.si_addr() } as u64;
    let sender = match code {
        // SAFETY: a field that the siginfo of a sent signal has.
        ..=0 => (unsafe { info.si_pid() }) as u64,
        _ => 0,
    };
    let (pc, sp) = registers(context);
    map.set(h::CRASH_CODE, code as u64);
    map.set(h::CRASH_LINE, LINE.get());
    map.set(h::CRASH_ADDRESS, address);
    map.set(h::CRASH_PC, pc);
    map.set(h::CRASH_SP, sp);
    map.set(h::CRASH_TID, tid as u64);
    map.set(h::CRASH_SENDER, sender);
    keep_words(map);
    map.set(h::CRASH_SIGNAL, signal as u64);
    scan_stack(map, sp, h::CRASH_TRACE);
    // From here on all that could go wrong is that the callers are told less well: if the unwinder crashes, the record
    // stands, and if it waits for something that will never come, SIGALRM ends the process.
    // SAFETY: alarm(2) is async-signal-safe and touches no memory of ours.
    unsafe { libc::alarm(PATIENCE_S) };
    unwind(map, h::CRASH_TRACE);
}

fn keep_words(map: &WorkerMap) {
    let file = LAST_WORDS.load(Ordering::Acquire);
    for i in 0..h::WORDS_WORDS {
        // A word at a time, as the stack here is small.
        let mut word = 0u64;
        let to = (&raw mut word).cast();
        // SAFETY: the word is ours and has that many bytes; a number that is no file is an error.
        let n = unsafe {
            libc::pread(
                file,
                to,
                size_of_val(&word),
                (i * size_of_val(&word)) as i64,
            )
        };
        if n <= 0 {
            return;
        }
        map.set(h::WORDS + i, word);
    }
}

/// Replaces what a look at the stack has found, leftovers of calls that are over among it, by the real callers.
/// backtrace(3) is no async-signal-safe function, but takes no lock and allocates nothing once it has been called.
#[cfg(target_env = "gnu")]
fn unwind(map: &WorkerMap, to: usize) {
    const FRAMES: usize = 48;
    let mut frames = [std::ptr::null_mut(); FRAMES];
    // SAFETY: the array is ours and has that many places.
    let n = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES as libc::c_int) };
    let n = usize::try_from(n).unwrap_or(0).min(FRAMES);
    let callers = || {
        let addresses = frames[..n].iter().map(|f| *f as u64);
        addresses.filter(|a| map.is_in_library(*a))
    };
    if callers().next().is_none() {
        return;
    }
    let none = std::iter::repeat(0);
    for (i, caller) in callers().chain(none).take(h::TRACE_WORDS).enumerate() {
        map.set(to + i, caller);
    }
}

#[cfg(not(target_env = "gnu"))]
fn unwind(_map: &WorkerMap, _to: usize) {}

/// Notes the words of the stack above `sp` that point into a library. It is read through the kernel, which says where
/// the stack ends instead of raising a signal.
fn scan_stack(map: &WorkerMap, sp: u64, to: usize) {
    const CHUNK: usize = 64;
    let mut words = [0u64; CHUNK];
    let mut found = 0;
    let from = (sp & !7) as usize;
    for at in (from..from.saturating_add(TRACE_BYTES)).step_by(CHUNK * 8) {
        let local = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: CHUNK * 8,
        };
        let remote = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: CHUNK * 8,
        };
        // SAFETY: `local` is our own array, whole; `remote` is only read, and by the kernel.
        let n = unsafe { libc::process_vm_readv(own_pid(), &local, 1, &remote, 1, 0) };
        let n = usize::try_from(n).unwrap_or(0) / 8;
        for word in &words[..n.min(CHUNK)] {
            if map.is_in_library(*word) {
                map.set(to + found, *word);
                found += 1;
                if found == h::TRACE_WORDS {
                    return;
                }
            }
        }
        if n < CHUNK {
            return;
        }
    }
}

fn wait_for_the_end() {
    for _ in 0..100 {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        // SAFETY: `time` is whole, and what is left of it is not asked for.
        unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
    }
}

/// Program counter and stack pointer.
#[cfg(target_arch = "x86_64")]
fn registers(context: *mut libc::c_void) -> (u64, u64) {
    // SAFETY: the kernel hands a valid ucontext to an SA_SIGINFO handler.
    let context = unsafe { context.cast::<libc::ucontext_t>().as_ref() };
    context.map_or((0, 0), |c| {
        let register = |r: i32| c.uc_mcontext.gregs[r as usize] as u64;
        (register(libc::REG_RIP), register(libc::REG_RSP))
    })
}

#[cfg(target_arch = "aarch64")]
fn registers(context: *mut libc::c_void) -> (u64, u64) {
    // SAFETY: the kernel hands a valid ucontext to an SA_SIGINFO handler.
    let context = unsafe { context.cast::<libc::ucontext_t>().as_ref() };
    context.map_or((0, 0), |c| (c.uc_mcontext.pc, c.uc_mcontext.sp))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers(_context: *mut libc::c_void) -> (u64, u64) {
    (0, 0)
}
