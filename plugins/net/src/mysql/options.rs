//! The options of a MySQL check. `MYSQL.md` shows them in use.

use crate::options::{Family, Percent};
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{Range, Scalar};
use std::time::Duration;

options! {
    /// Asks a MariaDB or MySQL server how it is, and for a query's answer.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// TCP port.
        port: u16 { min: 1 } = 3306,
        /// Unix socket, instead of `host` and `port`.
        socket: Option<String> { min_length: 1 },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Speak TLS, which the server must offer.
        tls: bool = false,
        /// PEM file of the CA certificates to trust, instead of the machine's. For `tls`.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// User to log in as. It needs no right on any table.
        user: String { min_length: 1, max_length: 128 },
        /// Password.
        password: Option<String>,
        /// Database in which the query runs.
        database: Option<String> { min_length: 1, max_length: 64 },
        /// One statement that only reads, run besides.
        query: Option<String> { min_length: 1 },
        /// What its first cell must be.
        expect: Option<Scalar>,
        /// Range of good numbers in its first cell; WARNING outside.
        warn: Option<Range>,
        /// Range of good numbers in its first cell; CRITICAL outside.
        crit: Option<Range>,
        /// Must the server refuse to write?
        read_only: Option<bool>,
        /// It must be a replica, whose threads run.
        replica: bool = false,
        /// Warn when a replica is behind its primary by more.
        lag_warn: Option<Duration> { bad: Above },
        /// Critical when a replica is behind its primary by more.
        lag_crit: Option<Duration>,
        /// It must be a node of a Galera cluster, in its primary component.
        galera: bool = false,
        /// Critical when the Galera cluster has fewer nodes.
        galera_size_min: Option<u32> { min: 1 },
        /// Warn when more of `max_connections` are in use.
        connections_warn: Percent { bad: Above } = Percent(90.0),
        /// Critical when more of `max_connections` are in use.
        connections_crit: Percent = Percent(98.0),
        /// Warn when the whole conversation takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole conversation takes longer.
        latency_crit: Option<Duration>,
    }
}
