//! Checks of the network, many kinds in one library. A page beside this crate has the options, metrics and verdicts of
//! each kind: PING.md, DNS.md, ...
//!
//! Runs in: the step lane of an io worker. Each kind is a module and a cargo feature; what several kinds need stands
//! beside them.

#![forbid(unsafe_code)]
// A library with some kinds left out does not use all of what kinds share.
#![cfg_attr(not(feature = "default"), allow(dead_code))]

#[cfg(feature = "dns")]
mod join;
mod options;
mod report;
mod target;

#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "ping")]
mod ping;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

healthd_plugin::plugins! {
    #[cfg(feature = "dns")]
    step dns::Dns {
        name: "dns",
        summary: "what DNS servers answer: code, records, serial numbers, signatures, time",
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
}
