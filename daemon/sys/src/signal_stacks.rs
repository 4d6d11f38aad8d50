//! A stack for signal handlers on every thread, whoever makes it: without one a handler cannot see that the thread's own
//! stack has overflowed, and the kernel ends the process.
//!
//! Only a thread can set its own (sigaltstack(2)), and std sets one for the threads that our own code makes. For the
//! others the program `healthd` has `healthd_pthread_create` as its `pthread_create` (build.rs), which the libraries
//! that it loads find before libc's. It adds nothing until a role asks for it. A thread that is made in another way
//! (clone(2), thrd_create(3), inside of libc) goes without. Here it is counted too whose threads these are (`threads`).

use crate::threads::{self, Owner};
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Room for a handler that walks the stack, beyond what the kernel puts there; untouched pages cost nothing.
const ROOM: usize = 32 << 10;

/// Unwinding, as pthread_exit(3) and pthread_cancel(3) do, passes through.
type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

static PLAN: OnceLock<Plan> = OnceLock::new();

struct Plan {
    /// Its destructor frees a thread's stack, however the thread ends.
    key: libc::pthread_key_t,
    page: usize,
    /// Of the whole mapping.
    len: usize,
}

/// Lies at the upper end of a mapping: below it the stack, and below that the guard page.
struct Head {
    start: Start,
    arg: *mut c_void,
    mapping: *mut c_void,
    len: usize,
    stack: libc::stack_t,
    owner: Owner,
}

/// From now on each new thread has one.
pub fn install() -> io::Result<()> {
    let mut key = 0;
    // SAFETY: `free` is what this key's values need, and lives as long as the program.
    let r = unsafe { libc::pthread_key_create(&mut key, Some(free)) };
    if r != 0 {
        return Err(io::Error::from_raw_os_error(r));
    }
    // SAFETY: sysconf only answers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    // What the kernel itself stores there; it depends on the processor, and 0 is an old kernel.
    // SAFETY: getauxval only answers.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let len = page + (ROOM + frame + size_of::<Head>()).next_multiple_of(page);
    let _ = PLAN.set(Plan { key, page, len });
    Ok(())
}

/// What `pthread_create` is in the program `healthd`.
///
/// # Safety
/// As of pthread_create(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn healthd_pthread_create(
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    start: Start,
    arg: *mut c_void,
) -> c_int {
    let Some(create) = of_libc() else {
        return libc::EAGAIN;
    };
    // No room for it: the thread is wanted all the same.
    let Some(head) = PLAN.get().and_then(|plan| map(plan, start, arg)) else {
        // SAFETY: the caller's arguments, to the function that it asked for.
        return unsafe { create(thread, attr, start, arg) };
    };
    // SAFETY: the caller's arguments but for the last two; `begin` takes a head.
    let r = unsafe { create(thread, attr, begin, head.cast()) };
    if r != 0 {
        unmap(head);
    }
    r
}

fn of_libc() -> Option<Create> {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: the name is a C string; the search begins behind this program.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: null is None, and a function of that name has this type.
    unsafe { std::mem::transmute::<*mut c_void, Option<Create>>(found) }
}

fn map(plan: &Plan, start: Start, arg: *mut c_void) -> Option<*mut Head> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let mapping = unsafe {
        libc::mmap(
            null_mut(),
            plan.len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return None;
    }
    let below = plan.len - size_of::<Head>();
    let head = Head {
        start,
        arg,
        mapping,
        len: plan.len,
        stack: libc::stack_t {
            ss_sp: mapping.wrapping_byte_add(plan.page),
            ss_flags: 0,
            ss_size: below - plan.page,
        },
        owner: threads::born(),
    };
    let at = mapping.wrapping_byte_add(below).cast::<Head>();
    // SAFETY: inside of the mapping, which is ours alone; its end and the size of a head are multiples of a head's alignment.
    unsafe { at.write(head) };
    // SAFETY: the lowest page of the mapping, of which nobody knows yet.
    if unsafe { libc::mprotect(mapping, plan.page, libc::PROT_NONE) } != 0 {
        unmap(at);
        return None;
    }
    Some(at)
}

fn unmap(head: *mut Head) {
    // SAFETY: written by `map`, and still there: who calls this holds the only pointer.
    let Head {
        mapping,
        len,
        owner,
        ..
    } = unsafe { head.read() };
    threads::died(owner);
    // SAFETY: the whole mapping of `map`, and nobody uses it any more.
    unsafe { libc::munmap(mapping, len) };
}

/// The first function of the new thread. Nothing in it may need a drop: `start` may never return.
extern "C-unwind" fn begin(head: *mut c_void) -> *mut c_void {
    let head = head.cast::<Head>();
    // SAFETY: written by `map` for this thread, and nobody else knows of it.
    let Head {
        start,
        arg,
        stack,
        owner,
        ..
    } = unsafe { head.read() };
    threads::begins(owner);
    if freed_at_the_end(head) {
        // SAFETY: the memory stays until `free` has told the kernel. Refused, it goes unused.
        unsafe { libc::sigaltstack(&stack, null_mut()) };
    } else {
        unmap(head);
    }
    start(arg)
}

fn freed_at_the_end(head: *mut Head) -> bool {
    let Some(plan) = PLAN.get() else {
        return false;
    };
    // SAFETY: the key was made with the plan, and its values are heads.
    unsafe { libc::pthread_setspecific(plan.key, head.cast()) == 0 }
}

/// At the thread's end, on its own stack.
unsafe extern "C" fn free(head: *mut c_void) {
    let head = head.cast::<Head>();
    let mut now = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: a null new stack only reads, and the kernel fills `now`.
    if unsafe { libc::sigaltstack(null(), now.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: filled, as the call said.
    let now = unsafe { now.assume_init() };
    // SAFETY: the key's value, written by `map`.
    let Head { stack, .. } = unsafe { head.read() };
    // The thread may have set one of its own, which is then none of our business.
    if now.ss_sp == stack.ss_sp && !without() {
        return;
    }
    unmap(head);
}

/// From here on handlers run on this thread's own stack.
fn without() -> bool {
    let none = libc::stack_t {
        ss_sp: null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: it gives the kernel no memory.
    unsafe { libc::sigaltstack(&none, null_mut()) == 0 }
}
