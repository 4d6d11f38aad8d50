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
        /// Community: the agent's password, which is told in plain.
        community: String { min_length: 1, max_length: 255 } = "public".into(),
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
    pub enum Version { V1 = "1", V2c = "2c" }
}
