//! The clocks. CLOCK_MONOTONIC plans, CLOCK_REALTIME is only ever shown, thread CPU time is billed.

use nix::time::{ClockId, clock_gettime};

/// Every process of the machine reads the same CLOCK_MONOTONIC, so these values may cross a socket or a map.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

pub fn realtime_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> u64 {
    let t = clock_gettime(clock).expect("these clocks exist on every Linux");
    u64::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec()).unwrap_or(0)
}
