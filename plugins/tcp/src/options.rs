//! The options of a TCP check. `README.md` beside this folder shows them in use.

use healthd_plugin::options;
use std::time::Duration;

options! {
    /// Connects to a TCP port and, if told so, says something and judges the answer.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Port.
        port: u16 { min: 1 },
        /// Text to send once connected. \r, \n, \t, \0, \\ and \xHH stand for their bytes.
        send: Option<String>,
        /// Regular expression that the first 16 KiB of the answer must match. Reading ends with the match.
        expect: Option<String>,
        /// Speak TLS from the start.
        tls: bool = false,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's. For `tls`.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`; also sent as SNI. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// Warn when the certificate is valid for fewer days than this. For `tls`.
        certificate_warn_days: Option<f64> { min: 0 },
        /// Critical when the certificate is valid for fewer days than this. For `tls`.
        certificate_crit_days: Option<f64> { min: 0 },
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration>,
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Family { Any = "any", Ipv4 = "ipv4", Ipv6 = "ipv6" }
}

impl From<Family> for healthd_plugin::Family {
    fn from(f: Family) -> Self {
        match f {
            Family::Any => Self::Any,
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}
