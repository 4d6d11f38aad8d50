//! Which address is tried first: RFC 6724 as far as it matters for one host, as glibc does it without a gai.conf.
//!
//! Addresses that this machine cannot reach come last and are not left out: `AI_ADDRCONFIG` would lose a service on ::1.

use std::net::{IpAddr, Ipv6Addr};

/// `source` is the address from which this machine would send there; None: it has no way there.
pub fn order(mut ips: Vec<IpAddr>, source: impl Fn(IpAddr) -> Option<IpAddr>) -> Vec<IpAddr> {
    if ips.len() > 1 {
        // Stable: among equals the server's order stands.
        ips.sort_by_cached_key(|ip| rank(*ip, source(*ip)));
    }
    ips
}

/// Smaller is better.
fn rank(to: IpAddr, from: Option<IpAddr>) -> (bool, bool, bool, u8) {
    let Some(from) = from else {
        return (true, false, false, u8::MAX - policy(to).0);
    };
    let other_scope = scope(to) != scope(from);
    let other_label = policy(to).1 != policy(from).1;
    (false, other_scope, other_label, u8::MAX - policy(to).0)
}

/// Precedence and label of the table in RFC 6724, 2.1.
fn policy(ip: IpAddr) -> (u8, u8) {
    let v6 = match ip {
        IpAddr::V4(_) => return (35, 4),
        IpAddr::V6(v6) => v6,
    };
    match v6.segments() {
        _ if v6 == Ipv6Addr::LOCALHOST => (50, 0),
        [0, 0, 0, 0, 0, 0xffff, ..] => (35, 4),
        [0x2002, ..] => (30, 2),
        [0x2001, 0, ..] => (5, 5),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        _ => (40, 1),
    }
}

#[derive(PartialEq, Eq)]
enum Scope {
    Link,
    Global,
}

fn scope(ip: IpAddr) -> Scope {
    let link = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    if link { Scope::Link } else { Scope::Global }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(ips: &[&str], sources: &[(&str, &str)]) -> Vec<String> {
        let ip = |t: &str| t.parse::<IpAddr>().expect("an address");
        let source = |to: IpAddr| {
            sources
                .iter()
                .find(|(t, _)| ip(t) == to)
                .map(|(_, from)| ip(from))
        };
        let ips = ips.iter().map(|t| ip(t)).collect();
        order(ips, source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reachable_ones_first_and_then_by_the_table() {
        let v4 = ("192.0.2.1", "192.0.2.9");
        let v6 = ("2001:db8::1", "2001:db8::9");
        assert_eq!(
            sorted(&["192.0.2.1", "2001:db8::1"], &[v4, v6]),
            ["2001:db8::1", "192.0.2.1"]
        );
        assert_eq!(
            sorted(&["2001:db8::1", "192.0.2.1"], &[v4]),
            ["192.0.2.1", "2001:db8::1"]
        );
        // A ULA source does not reach the world: the labels differ.
        let ula = ("2001:db8::1", "fd00::9");
        assert_eq!(
            sorted(&["2001:db8::1", "192.0.2.1"], &[v4, ula]),
            ["192.0.2.1", "2001:db8::1"]
        );
        let both = [("127.0.0.1", "127.0.0.1"), ("::1", "::1")];
        assert_eq!(sorted(&["127.0.0.1", "::1"], &both), ["::1", "127.0.0.1"]);
        // The server's order stands among equals, reachable or not.
        let equal = ["192.0.2.7", "203.0.113.9", "127.0.0.1"];
        assert_eq!(sorted(&equal, &[]), equal);
    }
}
