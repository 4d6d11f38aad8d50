//! The options of an IMAP check. `IMAP.md` shows them in use.

use crate::options::Family;
use healthd_client::wire::TlsMode;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Speaks with an IMAP server, logs in if it is told to, and looks at a mailbox. It changes nothing.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Port. Without it 993 for implicit TLS, else 143.
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
        /// Mailbox to look at; needs `user`.
        mailbox: String { min_length: 1, max_length: 254 } = "INBOX".into(),
        /// Warn when more messages are unread.
        unseen_warn: Option<u32> { bad: Above },
        /// Critical when more messages are unread.
        unseen_crit: Option<u32>,
        /// Warn when a message has been there for longer: nobody fetches them.
        oldest_warn: Option<Duration> { bad: Above },
        /// Critical when a message has been there for longer.
        oldest_crit: Option<Duration>,
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
