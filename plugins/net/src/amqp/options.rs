//! The options of an AMQP check. `AMQP.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Logs in to an AMQP 0-9-1 broker as RabbitMQ, and looks at a queue.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// Port. Without it 5671 for TLS, else 5672.
        port: Option<u16> { min: 1 },
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
        user: String { min_length: 1, max_length: 255 } = "guest".into(),
        /// Password.
        password: String { max_length: 1024 } = "guest".into(),
        /// Virtual host.
        vhost: String { min_length: 1, max_length: 255 } = "/".into(),
        /// Queue that must be there; it is not made, and no message is taken.
        queue: Option<String> { min_length: 1, max_length: 255 },
        /// Warn when more messages wait in `queue`.
        messages_warn: Option<u64> { bad: Above },
        /// Critical when more messages wait in `queue`.
        messages_crit: Option<u64>,
        /// Warn when fewer consumers listen to `queue`.
        consumers_warn: Option<u64> { bad: Below },
        /// Critical when fewer consumers listen to `queue`.
        consumers_crit: Option<u64>,
        /// Warn when all of it takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when all of it takes longer.
        latency_crit: Option<Duration>,
    }
}
