//! The options of an NTP check. `NTP.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use std::time::Duration;

options! {
    /// Asks an NTP server for the time, and checks it and this machine's clock.
    pub struct Options {
        /// Host name or address of the server.
        server: String { min_length: 1, max_length: 253 },
        /// UDP port.
        port: u16 { min: 1 } = 123,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// How often the server is asked in a run; the fastest answer counts.
        samples: u8 { min: 1, max: 8 } = 4,
        /// Warn when the clocks differ by more.
        offset_warn: Duration { bad: Above } = Duration::from_millis(50),
        /// Critical when the clocks differ by more.
        offset_crit: Duration = Duration::from_millis(500),
        /// Critical when the server is farther from a reference clock.
        stratum_max: u8 { min: 1, max: 15 } = 15,
        /// Warn when the server itself may be wrong by more (root dispersion and half of the root delay).
        distance_warn: Option<Duration> { bad: Above },
        /// Critical when the server itself may be wrong by more.
        distance_crit: Option<Duration>,
    }
}
