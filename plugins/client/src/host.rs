//! Whom a check asks: a host by name or address.

use crate::failure::Failure;
use healthd_plugin::net::{Bind, TcpStream};
use healthd_plugin::{Cx, host_name, options};
use std::net::{IpAddr, SocketAddr};

options! {
    /// Which addresses of a name to use.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Family { Any = "any", Ipv4 = "ipv4", Ipv6 = "ipv6" }
}

impl From<Family> for healthd_plugin::Family {
    fn from(f: Family) -> Self {
        match f {
            Family::Any => Self::Any,
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}

/// A name or an address.
pub struct Host {
    name: String,
    /// A literal address, so that no run has to parse or resolve it.
    ip: Option<IpAddr>,
    family: healthd_plugin::Family,
}

impl Host {
    /// `host` may be an address in brackets. One of the wrong family is refused.
    pub fn new(host: &str, family: impl Into<healthd_plugin::Family>) -> Result<Host, String> {
        let family = family.into();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let ip = bare.unwrap_or(host).parse::<IpAddr>().ok();
        match ip {
            Some(ip) if !family.allows(ip) => Err(format!(
                "host: {ip} is not of the address family that `family` asks for"
            )),
            Some(_) => Ok(Host {
                name: host.to_owned(),
                ip,
                family,
            }),
            None => Ok(Host {
                name: host_name(host)
                    .map_err(|why| format!("host: {why}"))?
                    .into_owned(),
                ip,
                family,
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Without the brackets of an IPv6 address: what a certificate is for.
    pub fn bare(&self) -> &str {
        let bare = self
            .name
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'));
        bare.unwrap_or(&self.name)
    }

    /// The phase `dns`, unless the host is an address.
    pub async fn resolve(&self, cx: Cx<'_>) -> Result<Vec<IpAddr>, Failure> {
        if let Some(ip) = self.ip {
            return Ok(vec![ip]);
        }
        cx.phase("dns");
        let found = cx.resolve(&self.name, self.family).await;
        found.map_err(|e| Failure::at(format!("dns: {}", self.name))(e))
    }

    /// The phase `connect`, to one of these addresses.
    pub async fn reach<'a>(
        &self,
        cx: Cx<'a>,
        ips: Vec<IpAddr>,
        port: u16,
    ) -> Result<TcpStream<'a>, Failure> {
        cx.phase("connect");
        let to: Vec<SocketAddr> = ips.into_iter().map(|ip| (ip, port).into()).collect();
        let connected = TcpStream::connect_any_with(cx, &to, &Bind::default()).await;
        connected.map_err(Failure::at("connect"))
    }
}

/// `host`, `host:port`, `[v6]:port`, or a bare IPv6 address.
pub fn host_and_port(text: &str, usual: u16) -> Result<(String, u16), String> {
    let bad = || format!("{text:?} is no host or host:port");
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), usual));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            match port.strip_prefix(':') {
                None if port.is_empty() => (host, None),
                None => return Err(bad()),
                port => (host, port),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or_else(bad)?,
        None => usual,
    };
    match host.is_empty() || host.contains(['/', ' ', ':']) && host.parse::<IpAddr>().is_err() {
        true => Err(bad()),
        false => Ok((host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("a.example", "a.example", 53),
            ("a.example:5353", "a.example", 5353),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("2001:db8::1", "2001:db8::1", 53),
            ("[2001:db8::1]:54", "2001:db8::1", 54),
            ("[2001:db8::1]", "2001:db8::1", 53),
        ] {
            assert_eq!(host_and_port(text, 53), Ok((host.into(), port)), "{text}");
        }
        for bad in [
            "", ":53", "a:", "a:0", "a:x", "[::1", "[::1]x", "a:b:c", "udp://a", "[a:b]:1",
        ] {
            assert!(host_and_port(bad, 53).is_err(), "{bad}");
        }
    }
}
