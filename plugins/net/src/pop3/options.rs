//! The options of a POP3 check. `POP3.md` shows them in use.

use crate::options::Family;
use healthd_client::wire::TlsMode;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Speaks with a POP3 server, and counts messages if it is told to log in. It fetches and deletes nothing.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Port. Without it 995 for implicit TLS, else 110.
        port: Option<u16> { min: 1 },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// When TLS begins.
        tls: TlsMode = TlsMode::Implicit,
        /// PEM file of the CA certificates to trust, instead of the machine's. For TLS.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For TLS.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For TLS.
        server_name: Option<String> { min_length: 1 },
        /// User to log in as; needs `password` and TLS.
        user: Option<String> { min_length: 1, max_length: 254 },
        /// Password.
        password: Option<String> { min_length: 1, max_length: 254 },
        /// Warn when more messages wait.
        messages_warn: Option<u32> { bad: Above },
        /// Critical when more messages wait.
        messages_crit: Option<u32>,
        /// Warn when the certificate is valid for fewer days than this. For TLS.
        certificate_days_warn: Option<f64> { min: 0, bad: Below },
        /// Critical when the certificate is valid for fewer days than this. For TLS.
        certificate_days_crit: Option<f64> { min: 0 },
        /// Warn when the whole conversation takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole conversation takes longer.
        latency_crit: Option<Duration>,
    }
}
