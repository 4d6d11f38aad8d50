//! URLs as browsers read them (WHATWG, by the `url` crate), cut down to what a check needs. International host names
//! become `xn--...`.

use std::fmt;
use std::net::IpAddr;
use url::Url as Whatwg;

#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    pub https: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Path and query, at least "/".
    pub path: String,
    /// User and password that stood before an `@`, decoded. Never shown.
    pub userinfo: Option<(String, String)>,
}

impl Url {
    /// A URL out of a config. What a browser would silently repair is a slip there, and refused.
    pub fn parse(text: &str) -> Result<Url, String> {
        let bad = |why: &str| format!("{}: {why}", masked(text));
        let scheme_end = text.find("://");
        let slip = |c: &char| c.is_ascii_control() || matches!(c, ' ' | '\\');
        if let Some(c) = text.chars().find(slip) {
            return Err(bad(&format!("{c:?} must be percent-encoded in a URL")));
        }
        let after = scheme_end.map(|at| &text[at + 3..]);
        match after {
            None => return Err(bad("no http:// or https:// URL")),
            Some(rest) if rest.starts_with('/') || rest.is_empty() => {
                return Err(bad("no host in it"));
            }
            Some(_) => {}
        }
        let parsed = Whatwg::parse(text).map_err(|e| bad(&e.to_string()))?;
        Url::of(&parsed).map_err(bad)
    }

    /// Where a `Location` header leads to from here, repaired as browsers do.
    pub fn join(&self, location: &[u8]) -> Result<Url, String> {
        let text = match std::str::from_utf8(location) {
            Ok(text) => text.to_owned(),
            // Not UTF-8: the bytes are sent back as they came.
            Err(_) => location.iter().map(|b| raw(*b)).collect(),
        };
        let base = Whatwg::parse(&format!("{}{}", self.origin(), self.path));
        let base = base.map_err(|e| e.to_string())?;
        let joined = base.join(&text);
        let joined = joined.map_err(|e| format!("{}: {e}", masked(&text)))?;
        Url::of(&joined).map_err(|why| format!("{}: {why}", masked(joined.as_str())))
    }

    fn of(url: &Whatwg) -> Result<Url, &'static str> {
        const OTHER: &str = "no http:// or https:// URL";
        let https = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(OTHER),
        };
        let port = url.port_or_known_default().ok_or(OTHER)?;
        if port == 0 {
            return Err("nothing can be reached at port 0");
        }
        let host = url.host_str().ok_or(OTHER)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path += query;
        }
        let decoded = |text: &str| {
            let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let password = url.password();
        let userinfo = (!url.username().is_empty() || password.is_some()).then(|| {
            (
                decoded(url.username()),
                decoded(password.unwrap_or_default()),
            )
        });
        Ok(Url {
            https,
            host: host.to_owned(),
            port,
            path,
            userinfo,
        })
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub fn same_origin(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// As in a Host header: the port only if it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.https { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// For people: without user, password and what a query says.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = match self.path.split_once('?') {
            Some((path, _)) => (path, "?..."),
            None => (self.path.as_str(), ""),
        };
        write!(f, "{}{path}{query}", self.origin())
    }
}

/// A text that should be a URL and may hold a secret: shown without user, password and query.
pub fn masked(text: &str) -> String {
    const SHOWN: usize = 100;
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let text = match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, host)) => match before.split_once("//") {
            Some((scheme, _)) => format!("{scheme}//***@{host}"),
            None => format!("***@{host}"),
        },
    };
    let shown = text.chars().take(SHOWN);
    shown.flat_map(char::escape_debug).collect()
}

fn raw(b: u8) -> String {
    match b.is_ascii() {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16, String) {
        let u = Url::parse(text).unwrap();
        (u.https, u.host, u.port, u.path)
    }

    #[test]
    fn parts_of_a_url() {
        assert_eq!(parts("http://a"), (false, "a".into(), 80, "/".into()));
        assert_eq!(
            parts("HTTPS://A.b:8443/x?y=z#f"),
            (true, "a.b".into(), 8443, "/x?y=z".into())
        );
        assert_eq!(
            parts("http://[::1]:81?q"),
            (false, "::1".into(), 81, "/?q".into())
        );
        assert_eq!(
            parts("http://[::1]/"),
            (false, "::1".into(), 80, "/".into())
        );
        for bad in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a b",
            "http://a:0",
            "http://a:99999",
            "http://a:x",
            "http://[::1",
            "http://[x]/",
            "http://[::1]x",
            "http://a/\n",
            "http://a:+80/",
            "http://a\\b/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn international_names_and_users() {
        for (typed, ascii) in [
            ("http://b\u{fc}cher.test/", "xn--bcher-kva.test"),
            // Typed as two characters, in capitals, with a full-width stop.
            ("http://BU\u{308}CHER\u{3002}test/", "xn--bcher-kva.test"),
            ("http://xn--bcher-kva.test/", "xn--bcher-kva.test"),
            ("http://\u{4f8b}\u{3048}.jp/", "xn--r8jz45g.jp"),
            ("http://my_svc.test./", "my_svc.test."),
        ] {
            assert_eq!(parts(typed).1, ascii);
        }
        let u = Url::parse("http://us%40er:p%3Aw@h/x").expect("a good one");
        assert_eq!(u.userinfo, Some(("us@er".into(), "p:w".into())));
        assert_eq!(u.to_string(), "http://h/x");
        let why = Url::parse("http://user:s3cret@h/x y?t=s3cret").unwrap_err();
        assert_eq!(
            why,
            "http://***@h/x y: ' ' must be percent-encoded in a URL"
        );
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        let from = Url::parse("http://h:81/a/b?q").unwrap();
        for (location, to) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y", "http://h:81/y"),
            ("y?r", "http://h:81/a/y?r"),
            ("../y", "http://h:81/y"),
            ("../../../y/.", "http://h:81/y/"),
            ("?r=http://z", "http://h:81/a/b?r=http://z"),
            ("l?n=http://z/", "http://h:81/a/l?n=http://z/"),
            ("#f", "http://h:81/a/b?q"),
            ("", "http://h:81/a/b?q"),
            // What servers send and browsers repair.
            (" /y ", "http://h:81/y"),
            ("/with blank", "http://h:81/with%20blank"),
            ("\\y", "http://h:81/y"),
            ("http:\\\\x\\y", "http://x/y"),
            ("http:/y", "http://h:81/y"),
            ("http:y", "http://h:81/a/y"),
            ("https:///x/y", "https://x/y"),
            ("HTTP://X/y", "http://x/y"),
            ("/%2e%2E/y", "http://h:81/y"),
            ("/\u{fc}?\u{fc}", "http://h:81/%C3%BC?%C3%BC"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
        ] {
            let there = from.join(location.as_bytes());
            assert_eq!(there.unwrap(), Url::parse(to).unwrap(), "{location}");
        }
        let latin = from.join(b"/caf\xe9").unwrap();
        assert_eq!(latin.path, "/caf%E9");
        for (bad, why) in [
            ("javascript:x", "javascript:x: no http:// or https:// URL"),
            (
                "ftp://u:s3cret@x/y?s3cret",
                "ftp://***@x/y: no http:// or https:// URL",
            ),
            ("http://[x]/?s3cret", "http://[x]/: invalid IPv6 address"),
            ("http:///", "http:///: empty host"),
            ("//x:0/", "http://x:0/: nothing can be reached at port 0"),
        ] {
            assert_eq!(from.join(bad.as_bytes()).unwrap_err(), why);
        }
    }

    #[test]
    fn host_header() {
        assert_eq!(Url::parse("http://[::1]:80").unwrap().authority(), "[::1]");
        assert_eq!(Url::parse("https://a:80").unwrap().authority(), "a:80");
    }
}
