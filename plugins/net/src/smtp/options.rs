//! The options of an SMTP check. `SMTP.md` shows them in use.

use crate::options::Family;
use healthd_client::wire::TlsMode;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Speaks with a mail server up to the recipient, and sends nothing.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Port. 25 for mail between servers, 587 or 465 (implicit TLS) for users.
        port: u16 { min: 1 } = 25,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// When TLS begins.
        tls: TlsMode = TlsMode::None,
        /// PEM file of the CA certificates to trust, instead of the machine's. For TLS.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For TLS.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For TLS.
        server_name: Option<String> { min_length: 1 },
        /// Name that we say we are.
        helo: String { min_length: 1, max_length: 253 } = "healthd.invalid".into(),
        /// User to log in as; needs `password` and TLS.
        user: Option<String> { min_length: 1 },
        /// Password.
        password: Option<String> { min_length: 1 },
        /// Sender to announce (MAIL FROM); an empty text is the sender of bounces.
        mail_from: Option<String> { max_length: 254 },
        /// Recipient that must be accepted (RCPT TO). No mail is sent.
        rcpt_to: Option<String> { min_length: 1, max_length: 254 },
        /// Codes that are a good answer to the last command: 550 shows that a relay is closed.
        expect: Vec<u16> { min_items: 1, max_items: 16, min: 200, max: 599 } = vec![220, 235, 250, 251],
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
