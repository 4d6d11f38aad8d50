//! URLs, as far as a check needs them. The `url` crate would bring Unicode tables for names nobody monitors; such a
//! name is written in its ASCII form (`xn--...`).

use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq)]
pub struct Url {
    pub https: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Path and query, at least "/".
    pub path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, String> {
        let bad = |why: &str| format!("{text}: {why}");
        if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(bad(&format!("{c:?} must be percent-encoded in a URL")));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad("no http:// or https:// URL"))?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(bad("no http:// or https:// URL")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("user and password belong into `basic_auth`"));
        }
        let default_port = if https { 443 } else { 80 };
        let (host, port) = split_port(authority).ok_or_else(|| bad("bad host or port"))?;
        let port = match port {
            "" => default_port,
            digits => digits
                .parse()
                .ok()
                .filter(|p| *p != 0 && !digits.starts_with('+'))
                .ok_or_else(|| bad("bad port"))?,
        };
        let path = if path.starts_with('/') {
            path.to_string()
        } else {
            format!("/{path}")
        };
        Ok(Url {
            https,
            host: host.to_ascii_lowercase(),
            port,
            path,
        })
    }

    /// Where a `Location` header leads to from here.
    pub fn join(&self, location: &str) -> Result<Url, String> {
        let location = location.trim();
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Url::parse(location);
        }
        let scheme = if self.https { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        let path_only = self.path.split('?').next().unwrap_or("/");
        let path = match location.chars().next() {
            Some('/') => location.to_string(),
            Some('?') => format!("{path_only}{location}"),
            None | Some('#') => self.path.clone(),
            Some(_) => {
                let folder = &path_only[..path_only.rfind('/').map_or(0, |i| i + 1)];
                format!("{folder}{location}")
            }
        };
        Url::parse(&format!(
            "{scheme}://{}{}",
            self.authority(),
            without_dots(&path)
        ))
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub fn same_origin(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
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

fn split_port(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return Some((host, after.strip_prefix(':').unwrap_or(after)))
            .filter(|_| after.is_empty() || after.starts_with(':'));
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    (!host.is_empty() && host.chars().all(legal)).then_some((host, port))
}

/// Takes `.` and `..` out of a path.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for part in path.split('/').skip(1) {
        ends_in_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let slash = if ends_in_folder && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}{query}", kept.join("/"))
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
            "http://u:p@a/",
            "http://[::1",
            "http://[x]/",
            "http://[::1]x",
            "http://ä/",
            "http://a/\n",
            "http://a:+80/",
            "http://a\\b/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
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
            ("#f", "http://h:81/a/b?q"),
            ("", "http://h:81/a/b?q"),
        ] {
            assert_eq!(
                from.join(location).unwrap(),
                Url::parse(to).unwrap(),
                "{location}"
            );
        }
        assert!(from.join("javascript://x").is_err());
    }

    #[test]
    fn host_header() {
        assert_eq!(Url::parse("http://[::1]:80").unwrap().authority(), "[::1]");
        assert_eq!(Url::parse("https://a:80").unwrap().authority(), "a:80");
    }
}
