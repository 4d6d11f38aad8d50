//! The clocks. CLOCK_MONOTONIC plans, CLOCK_REALTIME is only ever shown, thread CPU time is billed.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Every process of the machine reads the same CLOCK_MONOTONIC, so these values may cross a socket or a map.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

pub fn realtime_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// RFC 3339 in UTC, to the millisecond, of CLOCK_REALTIME in ns. 0 means never.
pub fn rfc3339(realtime_ns: u64) -> Option<String> {
    // An answer may hold 300,000 of them: `strftime` would read its format anew for each.
    const TO_THE_MILLISECOND: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let time = Timestamp::from_nanosecond(i128::from(realtime_ns)).ok()?;
    (realtime_ns != 0).then(|| TO_THE_MILLISECOND.timestamp_to_string(&time))
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of another thread of this process; None: it has ended.
pub fn cpu_of_thread_ns(tid: u32) -> Option<u64> {
    // As the kernel makes them (clock_getres(2) has no name for it): the inverted thread id, "per thread",
    // "by the scheduler".
    let id = !(tid as libc::clockid_t) << 3 | 4 | 2;
    let t = clock_gettime(ClockId::from_raw(id)).ok()?;
    Some(as_ns(t))
}

/// Whether somebody keeps the time of day right here, as the kernel knows it; changes nothing. An error: this process
/// may not ask.
pub fn is_synchronised() -> std::io::Result<bool> {
    // SAFETY: all zeroes is a valid timex; no mode is set, so it only asks.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: a live timex.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

fn read(clock: ClockId) -> u64 {
    as_ns(clock_gettime(clock).expect("these clocks exist on every Linux"))
}

fn as_ns(t: TimeSpec) -> u64 {
    u64::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_millisecond() {
        for (ns, written) in [
            (1, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (1_795_860_000_120_000_000, "2026-11-28T10:00:00.120Z"),
            (u64::MAX, "2554-07-21T23:34:33.709Z"),
        ] {
            assert_eq!(rfc3339(ns).as_deref(), Some(written));
        }
        assert_eq!(rfc3339(0), None);
        for ns in (1..=u64::MAX / 3).step_by(98_765_432_101_234_567) {
            let time = Timestamp::from_nanosecond(i128::from(ns)).expect("a time");
            let by_a_format = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            assert_eq!(rfc3339(ns), Some(by_a_format));
        }
    }

    #[test]
    fn a_thread_s_time_can_be_read_from_outside() {
        let before = cpu_of_thread_ns(crate::process::gettid()).expect("it lives");
        while thread_cpu_ns() < before + 1_000_000 {}
        let after = cpu_of_thread_ns(crate::process::gettid()).expect("it lives");
        assert!(after >= before + 1_000_000);
        let gone = std::thread::spawn(crate::process::gettid).join();
        let gone = gone.expect("no panic");
        // A joined thread may not have left the kernel yet.
        let begun = std::time::Instant::now();
        while cpu_of_thread_ns(gone).is_some() {
            assert!(begun.elapsed().as_secs() < 60, "it never ends");
            std::thread::yield_now();
        }
    }
}
