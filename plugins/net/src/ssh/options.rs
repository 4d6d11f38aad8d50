//! The options of an SSH check. `SSH.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Above;
use std::time::Duration;

options! {
    /// Speaks with an SSH server up to the exchange of keys, and checks what it offers. It does not log in.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// TCP port.
        port: u16 { min: 1 } = 22,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Regular expression that the server's version must match, like "OpenSSH_9".
        version: Option<String> { min_length: 1 },
        /// Fingerprints of the host's key, one of which must be shown and proved: "SHA256:..." as ssh-keygen -l prints it.
        host_key: Option<Vec<String>> { min_items: 1 },
        /// Algorithms that the server may not offer, like "ssh-rsa" or "3des-cbc".
        forbid: Vec<String> { max_items: 64 } = Vec::new(),
        /// Warn when the whole conversation takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole conversation takes longer.
        latency_crit: Option<Duration>,
    }
}
