//! The options of an LDAP check. `LDAP.md` shows them in use.

use crate::options::Family;
use healthd_client::wire::TlsMode;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::Range;
use std::time::Duration;

options! {
    /// Logs in to an LDAP server and searches there.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 } = "localhost".into(),
        /// Port. Without it 636 for implicit TLS, else 389.
        port: Option<u16> { min: 1 },
        /// Unix socket (ldapi), instead of `host` and `port`.
        socket: Option<String> { min_length: 1 },
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
        /// Distinguished name to log in as; needs `password`, and TLS or a socket. Without it nobody logs in.
        user: Option<String> { min_length: 1, max_length: 1024 },
        /// Password.
        password: Option<String> { min_length: 1, max_length: 1024 },
        /// Where to search. Without it the server's own entry is asked for (the root DSE).
        base: Option<String> { max_length: 1024 },
        /// How far down from there.
        scope: Scope = Scope::Base,
        /// What to search for.
        filter: String { min_length: 1, max_length: 4096 } = "(objectClass=*)".into(),
        /// Range of good numbers of entries; WARNING outside.
        entries_warn: Option<Range>,
        /// Range of good numbers of entries; CRITICAL outside. Without both: at least one.
        entries_crit: Option<Range>,
        /// Warn when the whole conversation takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole conversation takes longer.
        latency_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Scope { Base = "base", One = "one", Sub = "sub" }
}
