//! The options of a memcached check. `MEMCACHED.md` shows them in use.

use crate::options::{Family, Percent};
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Asks a memcached server how it is.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// TCP port.
        port: u16 { min: 1 } = 11211,
        /// Unix socket, instead of `host` and `port`.
        socket: Option<String> { min_length: 1 },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Speak TLS.
        tls: bool = false,
        /// PEM file of the CA certificates to trust, instead of the machine's. For `tls`.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// Warn when more of the allowed connections are in use.
        connections_warn: Percent { bad: Above } = Percent(90.0),
        /// Critical when more of the allowed connections are in use.
        connections_crit: Percent = Percent(98.0),
        /// Warn when more items a second are thrown out for others, since the last run.
        evictions_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        evictions_crit: Option<f64> { min: 0 },
        /// Warn when a smaller share of what is asked for is there, since the last run.
        hits_warn: Option<Percent> { bad: Below },
        /// Critical, likewise.
        hits_crit: Option<Percent>,
        /// Warn when connection and answers take longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when connection and answers take longer.
        latency_crit: Option<Duration>,
    }
}
