//! The options of an SNMP check. `SNMP.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::{Range, Scalar};
use std::collections::BTreeMap;

options! {
    /// Asks an SNMP agent for values.
    pub struct Options {
        /// Host name or address.
        host: String { min_length: 1, max_length: 253 },
        /// UDP port.
        port: u16 { min: 1 } = 161,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Version of the protocol.
        version: Version = Version::V2c,
        /// Community: the agent's password, which is told in plain; "public" if nothing is said. For the versions 1 and 2c.
        community: Option<String> { min_length: 1, max_length: 255 },
        /// User to ask as. For version 3.
        user: Option<String> { min_length: 1, max_length: 32 },
        /// Password by which questions and answers are signed. For version 3; without it nothing is.
        auth_password: Option<String> { min_length: 8, max_length: 255 },
        /// How they are signed.
        auth_protocol: AuthProtocol = AuthProtocol::Sha,
        /// Password by which they are encrypted. For version 3, with `auth_password`; without it everybody can read them.
        priv_password: Option<String> { min_length: 8, max_length: 255 },
        /// How they are encrypted.
        priv_protocol: PrivProtocol = PrivProtocol::Aes,
        /// Context, where an agent has several. For version 3.
        context: Option<String> { max_length: 255 },
        /// The value to check, as numbers with points: "1.3.6.1.2.1.2.2.1.8.1". Without it only the time since the agent's start is asked for.
        oid: Option<String> { min_length: 3, max_length: 1408 },
        /// Name of the value as a metric.
        label: String { min_length: 1, max_length: 64 } = "value".into(),
        /// Unit of the value as a metric: "By", "s", "%".
        unit: Option<String> { min_length: 1, max_length: 16 },
        /// The value is a counter: check what it grows a second.
        rate: bool = false,
        /// Multiply the value, or its rate, by this first.
        scale: f64 = 1.0,
        /// What the value must be.
        expect: Option<Scalar>,
        /// Regular expression that the value must match.
        matches: Option<String> { min_length: 1 },
        /// Range of good numbers; WARNING outside.
        warn: Option<Range>,
        /// Range of good numbers; CRITICAL outside.
        crit: Option<Range>,
        /// Further numbers to show and not to check: the name of a metric and its OID.
        also: BTreeMap<String, String> { max_items: 32 } = BTreeMap::new(),
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Version { V1 = "1", V2c = "2c", V3 = "3" }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum AuthProtocol {
        Md5 = "md5",
        Sha = "sha",
        Sha224 = "sha224",
        Sha256 = "sha256",
        Sha384 = "sha384",
        Sha512 = "sha512",
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum PrivProtocol {
        Des = "des",
        Aes = "aes",
        Aes192 = "aes192",
        Aes256 = "aes256",
        /// As Cisco makes the longer keys.
        Aes192c = "aes192c",
        Aes256c = "aes256c",
    }
}
