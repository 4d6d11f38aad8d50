//! The options of a WebSocket check. `WEBSOCKET.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use std::collections::BTreeMap;
use std::time::Duration;

options! {
    /// Opens a WebSocket, and asks whether it is alive.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// Port. Without it 443 for TLS, else 80.
        port: Option<u16> { min: 1 },
        /// What is asked for: a path, and a query.
        path: String { pattern: "^/", max_length: 4096 } = "/".into(),
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Speak TLS (wss).
        tls: bool = true,
        /// PEM file of the CA certificates to trust, instead of the machine's. For `tls`.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// Further headers of the request: { Origin = "https://example.org" }.
        headers: BTreeMap<String, String> { max_items: 32 } = BTreeMap::new(),
        /// A protocol to speak inside (Sec-WebSocket-Protocol), which the server must take.
        protocol: Option<String> { min_length: 1 },
        /// A text to send.
        send: Option<String> { max_length: 65536 },
        /// Regular expression that one of the server's messages must match.
        expect: Option<String> { min_length: 1 },
        /// Send a ping, which must come back.
        ping: bool = true,
        /// Warn when all of it takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when all of it takes longer.
        latency_crit: Option<Duration>,
    }
}
