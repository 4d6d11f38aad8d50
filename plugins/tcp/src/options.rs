//! The options of a TCP check. `README.md` beside this folder shows them in use.

use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::ReadPath;
use healthd_plugin::tls::{Dialect, Pin, Version};
use std::time::Duration;

options! {
    /// Connects to a TCP port and, if told so, says something and checks the answer.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// TCP port, as 443.
        port: u16 { min: 1 },
        /// Text to send once connected. \r, \n, \t, \0, \\ and \xHH stand for their bytes.
        send: Option<String>,
        /// Regular expression that the first 16 KiB of the answer must match. Reading ends with the match.
        expect: Option<String>,
        /// What is said and awaited after that, step by step.
        steps: Vec<Step> { max_items: 100 } = Vec::new(),
        /// Speak TLS from the start.
        tls: bool = false,
        /// Begin in plain and ask for TLS as this protocol does; `send`, `expect` and `steps` follow inside of TLS.
        starttls: Option<Dialect>,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's. Read anew when it changes. For `tls`.
        ca_file: Option<ReadPath>,
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`; also sent as SNI. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// PEM file of a client certificate, with its chain; it may have the key too. For `tls`.
        cert_file: Option<ReadPath>,
        /// PEM file of the key of `cert_file`.
        key_file: Option<ReadPath>,
        /// Oldest version of TLS to speak. For `tls`.
        tls_min: Version = Version::Tls12,
        /// Newest version of TLS to speak. For `tls`.
        tls_max: Version = Version::Tls13,
        /// The server's own certificate must be one of these: "sha256//" and the hash of its public key in base64, as for
        /// curl's pinnedpubkey, or "sha256:" and its fingerprint in hexadecimal. For `tls`.
        pins: Vec<Pin> = Vec::new(),
        /// Warn when a certificate of the chain is valid for fewer days than this. For `tls`.
        certificate_warn_days: Option<f64> { min: 0, bad: Below },
        /// Critical when a certificate of the chain is valid for fewer days than this. For `tls`.
        certificate_crit_days: Option<f64> { min: 0 },
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
        /// Labels on the result tell what was seen: address, TLS, and whether the answer was not as expected.
        facts: bool = false,
    }
}

options! {
    /// One step of a dialogue: says something, awaits something, or both in this order.
    #[derive(Clone, Debug)]
    pub struct Step {
        /// Text to send, with the escapes of `send`. %{NAME} is what an earlier `expect` has captured as (?<NAME>...).
        send: Option<String>,
        /// Regular expression that what comes next must match. What it captures by name is kept and a label of the result.
        expect: Option<String>,
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
