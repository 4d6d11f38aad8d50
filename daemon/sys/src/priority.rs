//! How the kernel places the calling thread among all that want to run. What it starts later inherits it.

use std::io;
use std::time::Duration;

/// Keeps its nice value, and takes its share in long pieces: whoever wakes up meanwhile does not wait for the end of one.
/// Before Linux 6.12 no thread could say so, and this changes nothing. One that takes only what is left comes back by it,
/// where it may.
pub fn in_long_pieces(piece: Duration) -> io::Result<()> {
    // SAFETY: takes numbers only. For oneself it cannot fail.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attr = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: u64::try_from(piece.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: `attr` lives through the call and says its own size; 0 is this thread, and there are no flags.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// On: only while nobody else wants to run. Off: as before; its nice value is what it was. A process without
/// CAP_SYS_NICE comes back only if RLIMIT_NICE lets it have that value.
pub fn only_what_is_left(on: bool) -> io::Result<()> {
    let policy = match on {
        true => libc::SCHED_IDLE,
        false => libc::SCHED_OTHER,
    };
    // The kernel's sched_param; musl's has more, and its function does nothing.
    let real_time: libc::c_int = 0;
    // SAFETY: `real_time` lives through the call; 0 is this thread.
    done(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            policy,
            &raw const real_time,
        )
    })
}

/// Whether a thread of this process that takes only what is left could come back.
pub fn may_come_back() -> bool {
    let there_and_back = || only_what_is_left(true).and_then(|()| only_what_is_left(false));
    // It ends, however it stands.
    let tried = std::thread::Builder::new().spawn(move || there_and_back().is_ok());
    tried.is_ok_and(|thread| thread.join().unwrap_or(false))
}

fn done(r: libc::c_long) -> io::Result<()> {
    match r {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i32 {
        // SAFETY: takes a number only; musl's own function does nothing.
        let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
        policy as i32
    }

    fn nice() -> i32 {
        // SAFETY: takes numbers only.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
    }

    #[test]
    fn a_thread_steps_behind_and_comes_back_where_it_may() {
        let stood = std::thread::spawn(|| {
            let nice_before = nice().max(5);
            crate::limits::nice_thread(crate::process::gettid(), nice_before)
                .expect("it only gives");
            // What runs the tests may forbid it.
            if let Err(e) = in_long_pieces(Duration::from_millis(20)) {
                eprintln!("skipped: {e}");
            }
            only_what_is_left(true).expect("it only gives");
            let behind = policy();
            assert_eq!(only_what_is_left(false).is_ok(), may_come_back());
            (behind, policy(), nice() == nice_before)
        });
        let (behind, back, same) = stood.join().expect("it ends");
        assert_eq!(behind, libc::SCHED_IDLE);
        assert!(same);
        // What starts in a thread that cannot come back cannot either.
        assert!(back == libc::SCHED_OTHER || back == libc::SCHED_IDLE);
    }
}
