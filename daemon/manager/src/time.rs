//! Times as people read them.

use healthd_sys::clock;
pub use healthd_sys::clock::rfc3339;

/// In ns.
pub const MS: u64 = 1_000_000;

/// CLOCK_REALTIME of an RFC 3339 time.
pub fn parse(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// Where a moment of CLOCK_MONOTONIC lies on the wall clock as it is now.
pub fn wall(monotonic_ns: u64) -> u64 {
    if monotonic_ns == 0 {
        return 0;
    }
    let (mono, real) = (clock::monotonic_ns(), clock::realtime_ns());
    (u128::from(real) + u128::from(monotonic_ns)).saturating_sub(u128::from(mono)) as u64
}

/// "1.5 s", "230 ms": as everywhere.
pub fn span(ns: u64) -> String {
    healthd_units::duration::about_ms(ns as f64 / 1e6)
}

/// The same as a field of a log line, without a blank: "1.5s".
pub fn span_field(ns: u64) -> String {
    span(ns).replace(' ', "")
}
