//! The options of a ping check. `PING.md` shows them in use.

use crate::options::{Family, Percent};
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use std::time::Duration;

options! {
    /// Sends ICMP echo requests and checks loss and round-trip time.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Address family to use for a host name. A host with both wants two checks.
        family: Family = Family::Any,
        /// How many requests a run sends.
        packets: u8 { min: 1, max: 100 } = 5,
        /// Time between two requests.
        spacing: Duration = Duration::from_millis(200),
        /// How long the answer to the last request is awaited.
        wait: Duration = Duration::from_secs(1),
        /// Bytes of payload; the packet has 28 (IPv6: 48) more.
        size: u16 { min: 8, max: 65507 } = 56,
        /// Hops that a request may make.
        ttl: Option<u8> { min: 1 },
        /// A packet that is too large for a link on the way is not cut into pieces, but lost, and the router says so.
        dont_fragment: bool = false,
        /// Address to send from, one of this machine's.
        source: Option<String> { min_length: 2 },
        /// Network interface to send through.
        interface: Option<String> { min_length: 1, max_length: 15 },
        /// Warn when at least this share is lost.
        loss_warn: Percent { bad: Above } = Percent(20.0),
        /// Critical when at least this share is lost.
        loss_crit: Percent = Percent(60.0),
        /// Warn when the average round trip takes longer.
        rtt_warn: Option<Duration> { bad: Above },
        /// Critical when the average round trip takes longer.
        rtt_crit: Option<Duration>,
        /// Labels on the result tell what was seen: the time until the first request left, in seconds.
        facts: bool = false,
    }
}
