//! Whom a check asks: a host by name or address.

use healthd_plugin::net::{Bind, TcpStream};
use healthd_plugin::{Cx, Family, Status, failure, host_name};
use std::net::{IpAddr, SocketAddr};

/// A name or an address.
pub struct Host {
    name: String,
    /// A literal address, so that no run has to parse or resolve it.
    ip: Option<IpAddr>,
    family: Family,
}

impl Host {
    /// `host` may be an address in brackets. One of the wrong family is refused.
    pub fn new(host: &str, family: impl Into<Family>) -> Result<Host, String> {
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

    /// The phase `connect`, to one of these addresses.
    pub async fn connect<'a>(
        &self,
        cx: Cx<'a>,
        ips: Vec<IpAddr>,
        port: u16,
        bind: &Bind,
    ) -> Result<TcpStream<'a>, Status> {
        cx.phase("connect");
        let to: Vec<SocketAddr> = ips.into_iter().map(|ip| (ip, port).into()).collect();
        let connected = TcpStream::connect_any_with(cx, &to, bind).await;
        connected.map_err(|e| cx.fail("connect", &e))
    }

    /// The phase `dns`, unless the host is an address. The error is the outcome, with its message set.
    pub async fn addresses(&self, cx: Cx<'_>) -> Result<Vec<IpAddr>, Status> {
        self.resolve(cx).await.map_err(|(status, text)| {
            cx.message(text);
            status
        })
    }

    /// As [`addresses`](Self::addresses), for a check that asks several hosts: the error is told to the caller only.
    pub async fn resolve(&self, cx: Cx<'_>) -> Result<Vec<IpAddr>, (Status, String)> {
        if let Some(ip) = self.ip {
            return Ok(vec![ip]);
        }
        cx.phase("dns");
        let found = cx.resolve(&self.name, self.family).await;
        found.map_err(|e| failure(&format!("dns: {}", self.name), &e))
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
