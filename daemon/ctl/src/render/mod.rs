//! What the answers look like. Everything here is pure: rows and a `Look` in, text out.

pub mod alerts;
pub mod block;
#[cfg(feature = "history")]
pub mod calibrate;
pub mod check;
pub mod detail;
pub mod doctor;
pub mod events;
#[cfg(feature = "history")]
pub mod history;
pub mod json;
pub mod manual;
pub mod objects;
pub mod paint;
pub mod plugins;
pub mod table;
pub mod text;
pub mod time;
pub mod workers;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How to draw: decided once, from the terminal and the options.
#[derive(Clone)]
pub struct Look {
    /// Columns of the terminal; None: piped, nothing is cut.
    pub width: Option<usize>,
    pub color: bool,
    pub now: Timestamp,
    /// For times of day.
    pub zone: TimeZone,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// 2026-11-22 10:00:00 UTC.
    pub fn look(width: Option<usize>) -> Look {
        Look {
            width,
            color: false,
            now: "2026-11-22T10:00:00Z".parse().expect("a time"),
            zone: TimeZone::UTC,
        }
    }
}
