//! The options of a gRPC check. `GRPC.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use std::collections::BTreeMap;
use std::time::Duration;

options! {
    /// Asks a gRPC server for its health (grpc.health.v1.Health/Check).
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// TCP port.
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
        /// The service to ask for; the empty name is the whole server.
        service: String { max_length: 1024 } = String::new(),
        /// What the server is called in the request, instead of `host` and `port`.
        authority: Option<String> { min_length: 1 },
        /// Metadata to send: { authorization = "Bearer ..." }.
        metadata: BTreeMap<String, String> { max_items: 32 } = BTreeMap::new(),
        /// Warn when connection and answer take longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when connection and answer take longer.
        latency_crit: Option<Duration>,
    }
}
