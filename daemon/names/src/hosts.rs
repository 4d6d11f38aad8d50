//! hosts(5) as a table. Reads no file.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses by name, in the order of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts(HashMap<Box<str>, Vec<IpAddr>>);

impl Hosts {
    pub fn parse(text: &str) -> Hosts {
        let mut hosts: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next().and_then(crate::name::literal) else {
                continue;
            };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let list = hosts.entry(name.into()).or_default();
                if !list.contains(&address) {
                    list.push(address);
                }
            }
        }
        Hosts(hosts)
    }

    /// None: the file does not have it. Empty never.
    pub fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # loopback\n# 192.0.2.9 gone\n\
             192.0.2.1 Web.Test web web\n192.0.2.2 web\nnonsense name\n192.0.2.3\n192.0.2.4 dot.test.\n",
        );
        let get = |name| {
            hosts
                .get(name)
                .map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            get("localhost"),
            Some(vec!["127.0.0.1".into(), "::1".into()])
        );
        assert_eq!(
            get("web"),
            Some(vec!["192.0.2.1".into(), "192.0.2.2".into()])
        );
        assert_eq!(get("web.test"), Some(vec!["192.0.2.1".into()]));
        assert_eq!(get("dot.test"), Some(vec!["192.0.2.4".into()]));
        assert_eq!((get("gone"), get("name")), (None, None));
    }
}
