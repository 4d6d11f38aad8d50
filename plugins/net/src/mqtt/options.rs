//! The options of an MQTT check. `MQTT.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{Range, Scalar};
use std::time::Duration;

options! {
    /// Logs in to an MQTT broker, sends a message through it, and reads one that it keeps.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// Port. Without it 8883 for TLS, else 1883.
        port: Option<u16> { min: 1 },
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
        /// User to log in as.
        user: Option<String> { min_length: 1, max_length: 1024 },
        /// Password; needs `user`.
        password: Option<String> { min_length: 1, max_length: 1024 },
        /// Topic through which a message is sent, which must come back: "healthd/echo". Nobody else should write there.
        topic: Option<String> { min_length: 1, max_length: 1024 },
        /// Topic of which the broker must keep a message: "house/cellar/temperature".
        retained: Option<String> { min_length: 1, max_length: 1024 },
        /// What that message must be.
        expect: Option<Scalar>,
        /// Range of good numbers in that message; WARNING outside.
        warn: Option<Range>,
        /// Range of good numbers in that message; CRITICAL outside.
        crit: Option<Range>,
        /// Warn when all of it takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when all of it takes longer.
        latency_crit: Option<Duration>,
    }
}
