//! Whom a check asks: a host by name or address.

use healthd_plugin::{Cx, Family, Status};
use std::net::IpAddr;

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
            _ => Ok(Host {
                name: host.to_owned(),
                ip,
                family,
            }),
        }
    }

    /// The phase `dns`, unless the host is an address. The error is the outcome, with its message set.
    pub async fn addresses(&self, cx: Cx<'_>) -> Result<Vec<IpAddr>, Status> {
        if let Some(ip) = self.ip {
            return Ok(vec![ip]);
        }
        cx.phase("dns");
        cx.resolve(&self.name, self.family)
            .await
            .map_err(|e| cx.fail(&format!("dns: {}", self.name), &e))
    }
}
