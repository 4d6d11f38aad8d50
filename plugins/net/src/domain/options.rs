//! The options of a domain check. `DOMAIN.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::Below;
use std::time::Duration;

options! {
    /// Asks a registry when a domain ends, and whether it is held (RDAP).
    pub struct Options {
        /// The domain, as it was registered: "example.org".
        name: String { min_length: 3, max_length: 253 },
        /// Warn when it ends within fewer days.
        days_warn: f64 { min: 0, bad: Below } = 30.0,
        /// Critical when it ends within fewer days.
        days_crit: f64 { min: 0 } = 7.0,
        /// Statuses that are critical, as RDAP has them.
        statuses_crit: Vec<String> = ["client hold", "server hold", "redemption period", "pending delete", "inactive"]
            .map(String::from)
            .into(),
        /// Warn when nobody has forbidden its transfer to another registrar.
        locked: bool = false,
        /// Text that must stand in the registrar's name.
        registrar: Option<String> { min_length: 1 },
        /// Name servers that it must have, and no others.
        nameservers: Option<Vec<String>> { min_items: 1, max_items: 13 },
        /// When it ends, where the registry has no RDAP or does not say: "2027-03-29".
        expires: Option<String> { pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" },
        /// RDAP server, in place of the one that IANA's list has: "https://rdap.example/".
        server: Option<String> { pattern: "^https?://" },
        /// IANA's list of the servers.
        bootstrap: String { pattern: "^https?://" } = "https://data.iana.org/rdap/dns.json".into(),
        /// How long an answer is good: registries count who asks.
        refresh: Duration = Duration::from_secs(86_400),
        /// Address family to use for a server's name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's.
        ca_file: Option<String> { min_length: 1 },
    }
}
