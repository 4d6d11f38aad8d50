//! The options of a DNS check. `DNS.md` shows them in use.

use crate::options::Family;
use healthd_plugin::options;
use healthd_plugin::options::Bad::{Above, Below};
use std::time::Duration;

options! {
    /// Asks DNS servers a question and checks the answer.
    pub struct Options {
        /// Servers to ask, each with a port if it is not the usual one: "192.0.2.1", "ns1.example.org:5353", "[2001:db8::1]:53". All of them must answer well.
        servers: Vec<String> { min_items: 1, max_items: 16, min_length: 1 },
        /// Name to ask for. For PTR an address will do.
        name: String { min_length: 1, max_length: 255 },
        /// Type of the records.
        r#type: Type = Type::A,
        /// Class of the records.
        class: Class = Class::In,
        /// How to ask. After a truncated answer over UDP TCP is used by itself.
        protocol: Protocol = Protocol::Udp,
        /// Ask the server to ask others (RD). Without it only what the server itself has counts.
        recurse: bool = true,
        /// Address family to use for a server's name.
        family: Family = Family::Any,
        /// The response code that is good.
        rcode: Rcode = Rcode::NoError,
        /// The records have to be these and no others, in any order. An empty list: there must be none.
        answers_exact: Option<Vec<String>> { max_items: 64 },
        /// These must be among the records.
        answers_contain: Option<Vec<String>> { max_items: 64 },
        /// None of these may be among the records.
        answers_none: Option<Vec<String>> { max_items: 64 },
        /// The answer must be an authority's (AA).
        require_aa: bool = false,
        /// The answer must have been validated by DNSSEC (AD).
        require_ad: bool = false,
        /// All servers must have one serial number. For the type SOA.
        serial_same: bool = false,
        /// The serial number must be at least this. For the type SOA.
        serial_min: Option<u32>,
        /// Warn when a record may be kept for less time.
        ttl_min: Option<Duration>,
        /// Warn when a record may be kept longer.
        ttl_max: Option<Duration>,
        /// Warn when a signature of the records is valid for fewer days, or there is none.
        rrsig_days_warn: Option<f64> { min: 0, bad: Below },
        /// Critical when a signature of the records is valid for fewer days, or there is none.
        rrsig_days_crit: Option<f64> { min: 0 },
        /// Warn when the slowest server takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the slowest server takes longer.
        latency_crit: Option<Duration>,
        /// Labels on the result tell what was seen: the address that was asked, how many records each part of the answer has.
        facts: bool = false,
        /// PEM file of the CA certificates to trust, instead of the machine's. For the protocol tls.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For the protocol tls.
        insecure: bool = false,
        /// Name the certificate must be for, instead of the server's. For the protocol tls.
        server_name: Option<String> { min_length: 1 },
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Protocol { Udp = "udp", Tcp = "tcp", Tls = "tls" }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Class { In = "IN", Ch = "CH" }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Rcode {
        NoError = "noerror",
        FormErr = "formerr",
        ServFail = "servfail",
        NxDomain = "nxdomain",
        NotImp = "notimp",
        Refused = "refused",
    }
}

impl Rcode {
    pub fn code(self) -> u16 {
        self as u16
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Type {
        A = "A",
        Aaaa = "AAAA",
        Any = "ANY",
        Caa = "CAA",
        Cname = "CNAME",
        Dnskey = "DNSKEY",
        Ds = "DS",
        Https = "HTTPS",
        Mx = "MX",
        Naptr = "NAPTR",
        Ns = "NS",
        Ptr = "PTR",
        Soa = "SOA",
        Srv = "SRV",
        Sshfp = "SSHFP",
        Svcb = "SVCB",
        Tlsa = "TLSA",
        Txt = "TXT",
    }
}

impl Type {
    pub fn code(self) -> u16 {
        match self {
            Type::A => 1,
            Type::Ns => 2,
            Type::Cname => 5,
            Type::Soa => 6,
            Type::Ptr => 12,
            Type::Mx => 15,
            Type::Txt => 16,
            Type::Aaaa => 28,
            Type::Srv => 33,
            Type::Naptr => 35,
            Type::Ds => 43,
            Type::Sshfp => 44,
            Type::Dnskey => 48,
            Type::Tlsa => 52,
            Type::Svcb => 64,
            Type::Https => 65,
            Type::Any => 255,
            Type::Caa => 257,
        }
    }
}
