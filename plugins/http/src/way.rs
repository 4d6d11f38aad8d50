//! The way to a server: from which address of ours, to which of its, by a proxy or not, and what is said before the
//! request begins.

use crate::exchange::{Place, Target};
use crate::failed::Failed;
use crate::options::{Options, ProxyProtocol};
use crate::request::basic;
use crate::response::{Response, Wanted};
use crate::url::Url;
use healthd_plugin::net::{Bind, Stream, TcpStream};
use healthd_plugin::{Cx, Family, host_name};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What of the options is about the way; the same for all hops.
#[derive(Debug, Default)]
pub struct Way {
    pub bind: Bind,
    pub proxy: Option<Proxy>,
    no_proxy: Vec<Exception>,
    connect_to: Vec<Instead>,
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What is seen on the way is told as labels.
    pub facts: bool,
}

/// An HTTP proxy.
#[derive(Debug)]
pub struct Proxy {
    url: Url,
}

/// A host that is asked without the proxy.
#[derive(Debug, PartialEq)]
enum Exception {
    All,
    /// And all below it.
    Domain(String),
    Net(IpAddr, u8),
}

/// Another address for a name.
#[derive(Debug)]
struct Instead {
    /// None: any.
    host: Option<String>,
    port: Option<u16>,
    to_host: String,
    to_port: Option<u16>,
}

impl Way {
    pub fn new(o: &Options) -> Result<Way, String> {
        let proxy = o.proxy.as_ref().map(|text| {
            let url = Url::parse(text).map_err(|e| format!("proxy: {e}"))?;
            match url.https || url.path != "/" {
                true => Err("proxy: http://HOST:PORT is all that can be given".to_owned()),
                false => Ok(Proxy { url }),
            }
        });
        let proxy = proxy.transpose()?;
        if proxy.is_none() && !o.no_proxy.is_empty() {
            return Err("no_proxy: needs proxy".into());
        }
        if proxy.is_some() && o.unix_socket.is_some() {
            return Err("proxy and unix_socket: only one of them".into());
        }
        if proxy.is_some() && !o.connect_to.is_empty() {
            return Err("proxy and connect_to: only one of them".into());
        }
        if let Some(path) = o.unix_socket.as_ref().filter(|p| !p.starts_with('/')) {
            return Err(format!(
                "unix_socket: {path:?} is relative; write a full path, from / on"
            ));
        }
        let source = o.source_address.as_ref().map(|text| {
            text.parse::<IpAddr>()
                .map_err(|_| format!("source_address: {text:?} is no IP address"))
        });
        let instead = o.connect_to.iter();
        let instead = instead.map(|(from, to)| Instead::parse(from, to));
        let mut connect_to = instead.collect::<Result<Vec<_>, _>>()?;
        // What says more goes first, whatever the order in the config.
        connect_to.sort_by_key(|i| (i.host.is_none(), i.port.is_none()));
        Ok(Way {
            bind: Bind {
                source: source.transpose()?,
                interface: o.interface.clone(),
                ..Bind::default()
            },
            proxy,
            no_proxy: o
                .no_proxy
                .iter()
                .map(|text| Exception::parse(text))
                .collect::<Result<_, _>>()?,
            connect_to,
            proxy_protocol: o.proxy_protocol,
            facts: o.facts,
        })
    }

    /// Where to connect to for this URL.
    pub fn target(self: &Arc<Self>, o: &Options, url: &Url) -> Result<Target, String> {
        let family: Family = o.family.into();
        let is_exception = self.no_proxy.iter().any(|e| e.matches(url));
        let via_proxy = self.proxy.is_some() && !is_exception;
        let instead = self.connect_to.iter().find(|i| i.is_for(url));
        let (host, port) = match (&self.proxy, instead) {
            (Some(proxy), _) if via_proxy => (proxy.url.host.clone(), proxy.url.port),
            (_, Some(other)) => (other.to_host.clone(), other.to_port.unwrap_or(url.port)),
            _ => (url.host.clone(), url.port),
        };
        let place = match (&o.unix_socket, host.parse::<IpAddr>()) {
            (Some(path), _) => Place::Unix(path.into()),
            (None, Ok(ip)) if !family.allows(ip) => {
                return Err(format!(
                    "url: {ip} is not of the address family that `family` asks for"
                ));
            }
            (None, Ok(ip)) if !self.bind.allows(ip) => {
                return Err(format!("source_address: {ip} is not of its address family"));
            }
            (None, Ok(ip)) => Place::Addr(SocketAddr::new(ip, port)),
            (None, Err(_)) => Place::Name { host, port, family },
        };
        Ok(Target {
            place,
            way: self.clone(),
            via_proxy,
            kept: None,
        })
    }
}

impl Proxy {
    /// The Proxy-Authorization header, if the proxy has a user.
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = self.url.userinfo.as_ref()?;
        Some(basic(user, password))
    }

    pub fn password(&self) -> Option<&str> {
        self.url.userinfo.as_ref().map(|(_, p)| p.as_str())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", self.url.authority())
    }
}

impl Exception {
    fn parse(text: &str) -> Result<Exception, String> {
        if text == "*" {
            return Ok(Exception::All);
        }
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address = match address.strip_prefix('[') {
            Some(bare) => bare.strip_suffix(']').unwrap_or(address),
            None => address,
        };
        if let Ok(ip) = address.parse::<IpAddr>() {
            let all = if ip.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                "" => Some(all),
                bits => bits.parse().ok().filter(|b| *b <= all),
            };
            let bits = bits.ok_or_else(|| format!("no_proxy: {text:?} is no network"))?;
            return Ok(Exception::Net(ip, bits));
        }
        let domain = text.trim_start_matches("*.").trim_start_matches('.');
        match ascii_name(domain) {
            Ok(name) => Ok(Exception::Domain(name)),
            Err(_) => Err(format!(
                "no_proxy: {text:?} is no host, domain or network; write example.org or 10.0.0.0/8, without a port"
            )),
        }
    }

    fn matches(&self, url: &Url) -> bool {
        let host = url.host.trim_end_matches('.');
        match self {
            Exception::All => true,
            Exception::Domain(domain) => {
                let below = host.strip_suffix(domain.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Exception::Net(net, bits) => {
                let wide = |ip: IpAddr| match ip {
                    IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
                    IpAddr::V6(v6) => v6.to_bits(),
                };
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                url.ip().is_some_and(|ip| {
                    ip.is_ipv4() == net.is_ipv4() && wide(ip) & mask == wide(*net) & mask
                })
            }
        }
    }
}

impl Instead {
    /// `"shop.example.org" = "10.0.0.5"`, `"shop.example.org:443" = "[::1]:8443"`, `"*" = "..."`.
    fn parse(from: &str, to: &str) -> Result<Instead, String> {
        let bad = |text: &str| format!("connect_to: {text:?} is no host, or host:port");
        let (host, port) = host_and_port(from).ok_or_else(|| bad(from))?;
        let (to_host, to_port) = host_and_port(to).ok_or_else(|| bad(to))?;
        let name = |host: &str| ascii_name(host).map_err(|why| format!("connect_to: {why}"));
        Ok(Instead {
            host: (host != "*").then(|| name(&host)).transpose()?,
            port,
            to_host: name(&to_host)?,
            to_port,
        })
    }

    fn is_for(&self, url: &Url) -> bool {
        let is = |host: &String| *host == url.host.trim_end_matches('.');
        self.host.as_ref().is_none_or(is) && self.port.is_none_or(|p| p == url.port)
    }
}

/// As URLs have it: `xn--...`, in small letters, without the dot of the root.
fn ascii_name(text: &str) -> Result<String, String> {
    let name = host_name(text)?;
    Ok(name.trim_end_matches('.').to_ascii_lowercase())
}

/// A name, an address, or either with a port; IPv6 in brackets, without a port also bare.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip.to_string(), None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']')?;
        let ip: std::net::Ipv6Addr = ip.parse().ok()?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((ip.to_string(), port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let legal = !host.is_empty() && !host.contains([':', '/', ' ', '@']);
    legal.then(|| (host.to_owned(), port))
}

/// Asks the proxy for a connection to the URL's host.
pub async fn tunnel(
    cx: Cx<'_>,
    stream: &Stream<'_>,
    proxy: &Proxy,
    url: &Url,
) -> Result<(), Failed> {
    cx.phase("proxy");
    let own = |why: &dyn fmt::Display| Failed::unknown(format!("{proxy}: {why}"));
    let to = match url.host.contains(':') {
        true => format!("[{}]:{}", url.host, url.port),
        false => format!("{}:{}", url.host, url.port),
    };
    let agent = concat!("healthd/", env!("CARGO_PKG_VERSION"));
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {agent}\r\n");
    if let Some(authorization) = proxy.authorization() {
        head += &format!("Proxy-Authorization: {authorization}\r\n");
    }
    head += "\r\n";
    let sent = stream.write_all(head.as_bytes()).await;
    sent.map_err(|e| own(&Failed::io("connect", &e)))?;
    let mut answer = Response::new(Wanted {
        // What follows its head is the tunnel.
        is_head_request: true,
        headers: false,
        body: false,
        max_body: 0,
    });
    let mut buffer = [0; 1024];
    while !answer.is_done() {
        let read = stream.read(&mut buffer).await;
        let fed = match read.map_err(|e| own(&Failed::io("CONNECT", &e)))? {
            0 => answer.end(),
            n => answer.feed(&buffer[..n]),
        };
        fed.map_err(|e| own(&e))?;
    }
    match answer.status {
        200..=299 => Ok(()),
        // The proxy speaks of the target only when it has tried.
        status @ 500..=599 => Err(Failed::critical(format!(
            "{proxy}: HTTP {status}{} when asked for {to}",
            crate::expect::reason(status)
        ))),
        status => Err(own(&format!(
            "HTTP {status}{} when asked for {to}",
            crate::expect::reason(status)
        ))),
    }
}

/// What a server that is behind a load balancer wants to hear first: who comes, and to whom.
pub fn proxy_header(version: ProxyProtocol, stream: &TcpStream<'_>) -> std::io::Result<Vec<u8>> {
    let (from, to) = (stream.local_addr()?, stream.peer());
    Ok(proxy_line(version, from, to))
}

fn proxy_line(version: ProxyProtocol, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => {
            let kind = if to.is_ipv4() { "TCP4" } else { "TCP6" };
            let (a, b) = (from.ip(), to.ip());
            format!("PROXY {kind} {a} {b} {} {}\r\n", from.port(), to.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            let mut out = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
            let bytes = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let addresses = [bytes(from.ip()), bytes(to.ip())].concat();
            out.push(if to.is_ipv4() { 0x11 } else { 0x21 });
            out.extend((addresses.len() as u16 + 4).to_be_bytes());
            out.extend(addresses);
            out.extend(from.port().to_be_bytes());
            out.extend(to.port().to_be_bytes());
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn exceptions() {
        for (text, at, expected) in [
            ("*", "http://x", true),
            ("example.org", "http://example.org", true),
            ("example.org", "http://a.example.org.", true),
            (".example.org", "http://a.example.org", true),
            ("*.example.org", "http://a.example.org", true),
            ("example.org", "http://badexample.org", false),
            ("10.0.0.0/8", "http://10.1.2.3", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("10.0.0.1", "http://10.0.0.1:81", true),
            ("0.0.0.0/0", "http://10.0.0.1", true),
            ("0.0.0.0/0", "http://[::1]", false),
            ("fe80::/10", "http://[fe80::1]", true),
            ("10.0.0.0/8", "http://ten.example", false),
            ("[::1]", "http://[::1]:81", true),
            ("B\u{fc}cher.test", "http://www.b\u{fc}cher.test", true),
            ("Example.org.", "http://example.org", true),
        ] {
            let parsed = Exception::parse(text).expect(text);
            assert_eq!(parsed.matches(&url(at)), expected, "{text} {at}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "a/b",
            "http://x",
            "a*b",
            "example.org:8080",
            "[::1",
        ] {
            assert!(Exception::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_addresses() {
        let is = |from: &str, to: &str, at: &str| {
            let i = Instead::parse(from, to).expect(from);
            i.is_for(&url(at)).then_some((i.to_host, i.to_port))
        };
        let to = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(is("h", "10.0.0.5", "http://h"), to("10.0.0.5", None));
        assert_eq!(is("H:443", "b:8443", "https://h"), to("b", Some(8443)));
        assert_eq!(is("h:443", "b", "http://h"), None);
        assert_eq!(is("*", "[::1]:80", "http://any"), to("::1", Some(80)));
        assert_eq!(is("h", "::1", "http://h"), to("::1", None));
        let bucher = ("b\u{fc}cher.test", "http://B\u{dc}CHER.test./");
        assert_eq!(is(bucher.0, "x", bucher.1), to("x", None));
        assert_eq!(
            is("h", bucher.0, "http://h"),
            to("xn--bcher-kva.test", None)
        );
        for (from, bad) in [
            ("h", ""),
            ("h", "a:b"),
            ("h", "[::1"),
            ("", "a"),
            ("h", "http://x"),
        ] {
            assert!(Instead::parse(from, bad).is_err(), "{from} {bad}");
        }
    }

    #[test]
    fn of_several_other_addresses_the_one_that_says_most() {
        let o = r#"{"url": "http://x", "connect_to": {"*": "any", "*:443": "any-tls", "a.test": "a", "a.test:443": "a-tls"}}"#;
        let o = healthd_plugin::Options::parse(o.as_bytes()).expect("good options");
        let way = Arc::new(Way::new(&o).expect("a way"));
        for (at, expected) in [
            ("http://b.test", "any"),
            ("https://b.test", "any-tls"),
            ("http://a.test", "a"),
            ("https://a.test", "a-tls"),
        ] {
            match way.target(&o, &url(at)).map(|t| t.place) {
                Ok(Place::Name { host, .. }) => assert_eq!(host, expected, "{at}"),
                other => panic!("{at}: {other:?}"),
            }
        }
    }

    #[test]
    fn lines_of_the_proxy_protocol() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let four = (at("192.0.2.1:1000"), at("192.0.2.2:80"));
        assert_eq!(
            proxy_line(ProxyProtocol::V1, four.0, four.1),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"
        );
        assert_eq!(
            proxy_line(ProxyProtocol::V2, four.0, four.1),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x03\xe8\0\x50"
        );
        let six = proxy_line(ProxyProtocol::V2, at("[::1]:1"), at("[::2]:2"));
        assert_eq!((six.len(), &six[12..16]), (52, &b"\x21\x21\0\x24"[..]));
    }
}
