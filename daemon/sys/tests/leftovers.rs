//! Changes limits and signals of its process, so it has one of its own.

use healthd_sys::leftovers::{Before, all_stays};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use std::mem::MaybeUninit;

#[test]
fn what_is_left_is_seen_and_put_back() {
    all_stays();
    let before = Before::look(true);
    assert_eq!(before.put_back(), None);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, soft - 1, hard).expect("setrlimit");
    // SAFETY: SIGALRM of an hour later; it is stopped below.
    unsafe { libc::alarm(3600) };
    // SAFETY: SIG_IGN runs nothing.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let mut usr2 = MaybeUninit::zeroed();
    // SAFETY: it makes a whole set of it.
    unsafe { libc::sigemptyset(usr2.as_mut_ptr()) };
    // SAFETY: a whole set, and the number of a signal.
    unsafe { libc::sigaddset(usr2.as_mut_ptr(), libc::SIGUSR2) };
    // SAFETY: a whole set; this thread's mask alone.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, usr2.as_ptr(), std::ptr::null_mut()) };
    umask(Mode::from_bits_truncate(0o777));
    let here = std::env::current_dir().expect("a folder");
    std::env::set_current_dir("/proc").expect("it is there");
    let left = before.put_back().expect("all of it");
    assert!(!left.stays);
    assert_eq!(
        left.to_string(),
        format!(
            "a limit of {} for open files (RLIMIT_NOFILE) and an alarm (SIGALRM) and a umask of 777 \
             and another working directory and another handler for SIGUSR1 and a signal mask of its own",
            soft - 1
        )
    );
    assert_eq!(before.put_back(), None);
    assert_eq!(std::env::current_dir().ok(), Some(here));
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((soft, hard)));
}
