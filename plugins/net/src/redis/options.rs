//! The options of a Redis check. `REDIS.md` shows them in use.

use crate::options::{Family, Percent};
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::{Range, Scalar};
use std::time::Duration;

options! {
    /// Asks a Redis or Valkey server how it is.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// TCP port.
        port: u16 { min: 1 } = 6379,
        /// Unix socket, instead of `host` and `port`.
        socket: Option<String> { min_length: 1 },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Speak TLS from the start.
        tls: bool = false,
        /// PEM file of the CA certificates to trust, instead of the machine's. For `tls`.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For `tls`.
        insecure: bool = false,
        /// Name the certificate must be for, instead of `host`. For `tls`.
        server_name: Option<String> { min_length: 1 },
        /// User to log in as; without it only the password is told.
        user: Option<String> { min_length: 1 },
        /// Password.
        password: Option<String> { min_length: 1 },
        /// Number of the database in which `command` runs.
        db: u32 = 0,
        /// The role that the server must have.
        role: Option<Role>,
        /// A primary must have at least so many replicas that follow it.
        replicas_min: Option<u32>,
        /// Warn when a replica has not heard of its primary for longer.
        lag_warn: Option<Duration> { bad: Above },
        /// Critical when a replica has not heard of its primary for longer.
        lag_crit: Option<Duration>,
        /// Warn when more of `maxmemory` is in use.
        memory_warn: Percent { bad: Above } = Percent(90.0),
        /// Critical when more of `maxmemory` is in use.
        memory_crit: Percent = Percent(98.0),
        /// Command to run besides, a word each: ["LLEN", "jobs"].
        command: Option<Vec<String>> { min_items: 1, max_items: 64 },
        /// What the command must answer.
        expect: Option<Scalar>,
        /// Range of good answers of the command; WARNING outside.
        warn: Option<Range>,
        /// Range of good answers of the command; CRITICAL outside.
        crit: Option<Range>,
        /// Warn when PING takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when PING takes longer.
        latency_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Role { Primary = "master", Replica = "replica" }
}
