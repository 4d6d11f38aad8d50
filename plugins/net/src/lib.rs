//! Checks of the network, many kinds in one library. A page beside this crate has the options, metrics and verdicts of
//! each kind: PING.md, DNS.md, ...
//!
//! Runs in: the step lane of an io worker; what reads files, in the run lane. Each kind is a module and a cargo feature; what several kinds need stands
//! beside them.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "default"),
    allow(
        dead_code,
        unused_imports,
        reason = "with kinds left out, not all of what kinds share is used"
    )
)]

#[cfg(any(feature = "ldap", feature = "snmp"))]
mod ber;
#[cfg(feature = "dns")]
mod join;
#[cfg(any(feature = "imap", feature = "pop3", feature = "smtp"))]
mod mail;
mod options;
mod report;

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "certificate")]
mod certificate;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "domain")]
mod domain;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "imap")]
mod imap;
#[cfg(feature = "ldap")]
mod ldap;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "ntp")]
mod ntp;
#[cfg(feature = "ping")]
mod ping;
#[cfg(feature = "pop3")]
mod pop3;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "smtp")]
mod smtp;
#[cfg(feature = "snmp")]
mod snmp;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

healthd_plugin::plugins! {
    #[cfg(feature = "dns")]
    step dns::Dns {
        name: "dns",
        summary: "what DNS servers answer: code, records, serial numbers, signatures, time",
    }
    #[cfg(feature = "domain")]
    step domain::Domain {
        name: "domain",
        summary: "when a domain ends, and what its registry says of it (RDAP)",
        default_timeout_ms: 30_000,
    }
    #[cfg(feature = "ping")]
    step ping::Ping {
        name: "ping",
        summary: "ICMP echo: loss, round-trip time, what routers say",
    }
    #[cfg(feature = "ssh")]
    step ssh::Ssh {
        name: "ssh",
        summary: "an SSH server's banner, algorithms and host key",
    }
    #[cfg(feature = "tls")]
    step tls::Tls {
        name: "tls",
        summary: "certificates and protocol of any TLS server, also after STARTTLS",
    }
    #[cfg(feature = "certificate")]
    run certificate::Certificates {
        name: "certificate",
        summary: "certificates and private keys in files: days left, and whether they fit",
    }
    #[cfg(feature = "smtp")]
    step smtp::Smtp {
        name: "smtp",
        summary: "a mail server, up to the recipient; sends nothing",
    }
    #[cfg(feature = "snmp")]
    step snmp::Snmp {
        name: "snmp",
        summary: "values of an SNMP agent: numbers, texts, counters' rates",
    }
    #[cfg(feature = "redis")]
    step redis::Redis {
        name: "redis",
        summary: "Redis and Valkey: role, replication, memory, persistence, any command",
    }
    #[cfg(feature = "mysql")]
    step mysql::Mysql {
        name: "mysql",
        summary: "MariaDB and MySQL: read-only, replication, Galera, connections, any query",
    }
    #[cfg(feature = "ntp")]
    step ntp::Ntp {
        name: "ntp",
        summary: "an NTP server's time against this machine's",
    }
    #[cfg(feature = "grpc")]
    step grpc::Grpc {
        name: "grpc",
        summary: "the health of a gRPC server (grpc.health.v1)",
    }
    #[cfg(feature = "memcached")]
    step memcached::Memcached {
        name: "memcached",
        summary: "memcached: connections, evictions, share of hits",
    }
    #[cfg(feature = "ldap")]
    step ldap::Ldap {
        name: "ldap",
        summary: "an LDAP server: login, and what a search finds",
    }
    #[cfg(feature = "mqtt")]
    step mqtt::Mqtt {
        name: "mqtt",
        summary: "an MQTT broker: login, a message there and back, one that it keeps",
    }
    #[cfg(feature = "amqp")]
    step amqp::Amqp {
        name: "amqp",
        summary: "an AMQP broker as RabbitMQ: login, a queue's messages and consumers",
    }
    #[cfg(feature = "websocket")]
    step websocket::Websocket {
        name: "websocket",
        summary: "a WebSocket that opens, answers a ping, and says what it should",
    }
    #[cfg(feature = "imap")]
    step imap::Imap {
        name: "imap",
        summary: "an IMAP server, and how old and how many the messages of a mailbox are",
    }
    #[cfg(feature = "pop3")]
    step pop3::Pop3 {
        name: "pop3",
        summary: "a POP3 server, and how many messages wait",
    }
}
