//! Which hosts `/probe` may ask: those that `[web] targets` names. A name that leads to an address is not looked up here, so
//! `targets` should name hosts whose names are one's own.

use healthd_core::config::host_of;
use healthd_core::wire::glob::{Glob, is_pattern};
use std::net::{IpAddr, Ipv6Addr};

/// Where clouds tell who can ask all that they know of a machine, beside the addresses that are local to a link.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xFD00, 0xEC2, 0, 0, 0, 0, 0, 0x254);

/// Err: why not.
pub fn may(targets: &[String], target: &str) -> Result<(), String> {
    let host = host_of(target).trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return Err(format!("`{target}` names no host"));
    }
    let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    // 2852039166, 0xa9fea9fe and 169.254.43518 are addresses to some that look names up.
    if address.is_none() && (looks_like_a_number(&host) || host.contains(['%', ':'])) {
        return Err(format!(
            "`{host}` is neither a name nor an address in its usual form"
        ));
    }
    let host = address.map_or(host, |ip| ip.to_string());
    let fits = |glob: &&String| Glob::new(&glob.to_ascii_lowercase()).matches(&host);
    let delicate = address.is_some_and(is_delicate);
    match targets
        .iter()
        .filter(|g| !delicate || !is_pattern(g))
        .find(fits)
    {
        Some(_) => Ok(()),
        None if delicate => Err(format!(
            "`{host}` is local to a link, where clouds keep their secrets: `targets` has to name it without a pattern"
        )),
        None => Err(format!("`{host}` is none of the hosts in `targets`")),
    }
}

fn is_delicate(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6 == METADATA,
    }
}

/// By the rule of URLs: its last part is a number.
fn looks_like_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    match last.strip_prefix("0x") {
        Some(digits) => is_hex(digits),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_ask(targets: &[&str], target: &str) -> bool {
        let targets: Vec<String> = targets.iter().map(|t| (*t).to_owned()).collect();
        may(&targets, target).is_ok()
    }

    #[test]
    fn hosts_that_are_named() {
        let targets = ["*.example.org", "10.0.*", "::1"];
        for good in [
            "www.example.org",
            "https://WWW.example.org./x",
            "www.example.org:443",
            "10.0.3.4",
            "http://[::1]:80/",
            "::1",
        ] {
            assert!(may_ask(&targets, good), "{good}");
        }
        for bad in [
            "example.com",
            "example.org",
            "http://evil.com/www.example.org",
            "http://www.example.org@evil.com/",
            "http://evil.com#.example.org",
            "http://evil.com\\.example.org",
            "10.1.3.4",
            "",
            "http://",
        ] {
            assert!(!may_ask(&targets, bad), "{bad}");
        }
    }

    #[test]
    fn what_a_cloud_tells_of_a_machine_is_asked_only_by_its_own_address() {
        for target in [
            "169.254.169.254",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "[fe80::1]:80",
            "fe80::1%eth0",
            "http://[fd00:ec2::254]/",
            "0.0.0.0",
        ] {
            assert!(!may_ask(&["*", "169.254.*"], target), "{target}");
        }
        assert!(may_ask(&["169.254.169.254"], "http://169.254.169.254/"));
        assert!(may_ask(&["*"], "3com.example"));
    }
}
