//! Times as people and programs read them.

use healthd_sys::clock;
pub use healthd_sys::clock::rfc3339;
use healthd_units::duration;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The same of CLOCK_MONOTONIC.
pub fn rfc3339_of_monotonic(ns: u64) -> Option<String> {
    (ns != 0).then(|| rfc3339(real_of_monotonic(ns)))?
}

fn real_of_monotonic(ns: u64) -> u64 {
    let (mono, real) = (clock::monotonic_ns(), clock::realtime_ns());
    (u128::from(real) + u128::from(ns)).saturating_sub(u128::from(mono)) as u64
}

/// CLOCK_REALTIME, ns. What is before 1970 or after 2262 is the first or the last of these.
pub fn parse(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond().clamp(0, i64::MAX.into())).ok()
}

/// "4 min": how long ago that is. Empty: never.
pub fn age(ns: u64) -> String {
    match ns {
        0 => String::new(),
        ns => span(clock::realtime_ns().saturating_sub(ns)),
    }
}

/// "3.2 s", "4 min", "2 h 5 min": as everywhere.
pub fn span(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0..60 => duration::about_ms(ns as f64 / 1e6),
        seconds => duration::about_seconds(seconds),
    }
}

pub fn latency(ms: f64) -> String {
    duration::about_ms(ms)
}

/// On this machine's clock: "02:43:07", with the date if it is not of today.
pub fn of_day(ns: u64, zone: &TimeZone) -> String {
    let Ok(time) = Timestamp::from_nanosecond(i128::from(ns)) else {
        return String::new();
    };
    let time = time.to_zoned_datetime(zone.clone());
    let today = Timestamp::now().to_zoned_datetime(zone.clone()).date();
    let format = match time.date() == today {
        true => "%H:%M:%S",
        false => "%Y-%m-%d %H:%M:%S",
    };
    time.strftime(format).to_string()
}

/// The same of what the manager has written; empty: it has not happened.
pub fn of_text(rfc3339: Option<&str>, zone: &TimeZone) -> String {
    let time = rfc3339.and_then(parse);
    time.map_or_else(String::new, |time| of_day(time, zone))
}

/// "02:43:07 CET".
pub fn now(zone: &TimeZone) -> String {
    let now = Timestamp::now().to_zoned_datetime(zone.clone());
    now.strftime("%H:%M:%S %Z").to_string()
}
