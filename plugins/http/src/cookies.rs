//! Cookies that servers set on the way through a chain of redirects (RFC 6265). They live as long as one run.

use crate::response::Response;
use crate::url::Url;
use std::time::{SystemTime, UNIX_EPOCH};

/// As many as browsers keep of one site; what comes after is not kept.
const MAX: usize = 180;

#[derive(Clone, Debug, Default)]
pub struct Jar(Vec<Cookie>);

#[derive(Clone, Debug, PartialEq)]
struct Cookie {
    name: String,
    value: String,
    host: String,
    /// Subdomains of `host` get it too.
    domain: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Takes what an answer from `url` sets and unsets.
    pub fn take(&mut self, url: &Url, response: &Response) {
        for header in response.all("set-cookie") {
            let Some((cookie, gone)) = parse(url, &header.text()) else {
                continue;
            };
            self.0.retain(|c| {
                (&c.name, &c.host, &c.path) != (&cookie.name, &cookie.host, &cookie.path)
            });
            if !gone && self.0.len() < MAX {
                self.0.push(cookie);
            }
        }
    }

    /// The value of the Cookie header for this URL, longer paths first; None: there is none.
    pub fn header(&self, url: &Url) -> Option<String> {
        let mut fit: Vec<&Cookie> = self.0.iter().filter(|c| c.fits(url)).collect();
        fit.sort_by_key(|c| std::cmp::Reverse(c.path.len()));
        let pairs: Vec<String> = fit
            .iter()
            .map(|c| format!("{}={}", c.name, c.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    fn fits(&self, url: &Url) -> bool {
        let path = url.path.split('?').next().unwrap_or("/");
        let host = self.host == url.host || (self.domain && is_below(&url.host, &self.host));
        let below = path.strip_prefix(self.path.as_str());
        let folder = below.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/')
        });
        host && folder && (url.https || !self.secure)
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
        && host.parse::<std::net::IpAddr>().is_err()
}

/// A cookie, and whether it is to be forgotten. None: it is none, or for somebody else.
fn parse(url: &Url, line: &str) -> Option<(Cookie, bool)> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || line.contains(['\r', '\n', '\0']) {
        return None;
    }
    let folder = url.path.split('?').next().unwrap_or("/");
    let folder = &folder[..folder.rfind('/').unwrap_or(0).max(1)];
    let mut cookie = Cookie {
        name: name.into(),
        value: value.into(),
        host: url.host.clone(),
        domain: false,
        path: folder.into(),
        secure: false,
    };
    let (mut max_age, mut expires) = (None, None);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "path" if value.starts_with('/') => cookie.path = value.into(),
            "secure" => cookie.secure = true,
            "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
            "expires" => expires = moment(value).or(expires),
            "domain" => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                if domain.is_empty() || domain == url.host {
                    continue;
                }
                // Not for a whole top-level domain.
                if !is_below(&url.host, &domain) || !domain.contains('.') {
                    return None;
                }
                (cookie.host, cookie.domain) = (domain, true);
            }
            _ => {}
        }
    }
    // Whatever the order, what says how long goes before what says until when.
    let gone = match (max_age, expires) {
        (Some(seconds), _) => seconds <= 0,
        (None, Some(at)) => at <= now(),
        (None, None) => false,
    };
    let allowed = (!cookie.secure || url.https) && prefix_holds(&cookie);
    allowed.then_some((cookie, gone))
}

/// What these prefixes of a name promise; as browsers, curl and RFC 6265bis have it.
fn prefix_holds(cookie: &Cookie) -> bool {
    let begins = |prefix: &str| {
        let start = cookie.name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let host = cookie.secure && !cookie.domain && cookie.path == "/";
    (!begins("__Secure-") || cookie.secure) && (!begins("__Host-") || host)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds since 1970 of a date as servers write it: in any order, with any of the web's separators (RFC 6265, 5.1.1).
fn moment(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_between = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    for word in text.split(is_between).filter(|w| !w.is_empty()) {
        let number = word.parse::<i64>().ok();
        if time.is_none() && word.contains(':') {
            let parts: Option<Vec<i64>> = word.split(':').map(|n| n.parse().ok()).collect();
            time = match parts.as_deref() {
                Some([h @ 0..=23, m @ 0..=59, s @ 0..=59]) => Some(h * 3600 + m * 60 + s),
                _ => return None,
            };
        } else if let (None, Some(n @ 1..=31), 1..=2) = (day, number, word.len()) {
            day = Some(n);
        } else if let (None, Some(start)) = (month, word.get(..3)) {
            let start = start.to_ascii_lowercase();
            match (MONTHS.iter().position(|m| *m == start), number, year) {
                (Some(at), ..) => month = Some(at as i64 + 1),
                (None, Some(n), None) => year = Some(n),
                _ => {}
            }
        } else if let (None, Some(n)) = (year, number) {
            year = Some(match (word.len(), n) {
                (2, 70..) => 1900 + n,
                (2, _) => 2000 + n,
                _ => n,
            });
        }
    }
    let year = year.filter(|y| (1601..=9999).contains(y))?;
    Some(days_since_1970(year, month?, day?) * 86_400 + time?)
}

/// Of the Gregorian calendar: years begin in March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400;
    days + (month * 306 + 5) / 10 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Wanted;

    fn jar(steps: &[(&str, &str)]) -> Jar {
        let mut jar = Jar::default();
        for (url, line) in steps {
            let mut r = Response::new(Wanted {
                is_head_request: true,
                headers: false,
                body: false,
                max_body: 0,
            });
            r.feed(format!("HTTP/1.1 200 OK\r\nSet-Cookie: {line}\r\n\r\n").as_bytes())
                .expect("an answer");
            jar.take(&Url::parse(url).expect("a URL"), &r);
        }
        jar
    }

    fn sent(jar: &Jar, url: &str) -> String {
        jar.header(&Url::parse(url).expect("a URL"))
            .unwrap_or_default()
    }

    #[test]
    fn a_prefix_of_a_name_is_a_promise() {
        let url = "https://shop.test/a";
        for (line, expected) in [
            ("__Host-a=1; Path=/; Secure", "__Host-a=1"),
            ("__Host-a=1; Path=/", ""),
            ("__host-a=1; Path=/a; Secure", ""),
            ("__Host-a=1; Path=/; Secure; Domain=.test.shop.test", ""),
            ("__Secure-a=1; Secure", "__Secure-a=1"),
            ("__Secure-a=1", ""),
            ("__Hosta=1", "__Hosta=1"),
        ] {
            assert_eq!(sent(&jar(&[(url, line)]), url), expected, "{line}");
        }
    }

    #[test]
    fn as_many_are_kept_as_browsers_keep() {
        let lines: Vec<String> = (0..300).map(|n| format!("c{n}=1; Path=/")).collect();
        let steps: Vec<(&str, &str)> = lines.iter().map(|l| ("http://a.test/", &**l)).collect();
        let sent = sent(&jar(&steps), "http://a.test/");
        assert_eq!(sent.split("; ").count(), MAX);
        assert!(sent.ends_with("c179=1"), "{sent}");
    }

    #[test]
    fn dates_as_servers_write_them() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Tue, 29 Feb 2000 12:00:00 GMT", Some(951_825_600)),
            ("Mon, 01-Mar-2100 00:00:00 GMT", Some(4_107_542_400)),
            ("Sat, 01 Jan 38 00:00:00 GMT", Some(2_145_916_800)),
            ("0", None),
            ("", None),
            ("Thu, 01 Jan 1970", None),
            ("Thu, 01 Jan 1970 25:00:00 GMT", None),
            ("32 Jan 1970 00:00:00", None),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let at = "http://a.example.org/x/y";
        for (line, url, expected) in [
            ("s=7", "http://a.example.org/x/z", "s=7"),
            ("s=7", "http://a.example.org:81/x/z", "s=7"),
            ("s=7", "http://a.example.org/", ""),
            ("s=7; Path=/", "http://a.example.org/", "s=7"),
            ("s=7; Path=/x", "http://a.example.org/xy", ""),
            ("s=7; path=/", "http://b.example.org/", ""),
            (
                "s=7; path=/; Domain=.example.org",
                "http://b.example.org/",
                "s=7",
            ),
            ("s=7; path=/; Domain=org", "http://a.example.org/", ""),
            ("s=7; path=/; Domain=other.org", "http://other.org/", ""),
            ("s=7; path=/; Secure", "https://a.example.org/", ""),
            ("s=7; path=/; Max-Age=0", "http://a.example.org/", ""),
            (
                "s=7; path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
                "http://a.example.org/",
                "",
            ),
            (
                "s=7; path=/; expires=Wednesday, 09-Nov-99 23:12:40 GMT",
                "http://a.example.org/",
                "",
            ),
            (
                "s=7; path=/; expires=Fri, 31-Dec-2199 23:59:59 GMT",
                "http://a.example.org/",
                "s=7",
            ),
            (
                "s=7; path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
                "http://a.example.org/",
                "s=7",
            ),
            ("s=7; path=/; expires=never", "http://a.example.org/", "s=7"),
            ("s=a=b; path=/", "http://a.example.org/", "s=a=b"),
            ("nonsense", "http://a.example.org/", ""),
            ("=x", "http://a.example.org/", ""),
            ("s=a\x01b; path=/", "http://a.example.org/", "s=a\x01b"),
        ] {
            assert_eq!(sent(&jar(&[(at, line)]), url), expected, "{line} to {url}");
        }
        let secure = jar(&[("https://a.example.org/", "s=7; Secure")]);
        assert_eq!(sent(&secure, "https://a.example.org/"), "s=7");
        assert_eq!(sent(&secure, "http://a.example.org/"), "");
        let both = jar(&[
            (at, "a=1; path=/"),
            (at, "b=2; path=/x"),
            (at, "a=3; path=/"),
        ]);
        assert_eq!(sent(&both, at), "b=2; a=3");
        let gone = jar(&[(at, "a=1; path=/"), (at, "a=; path=/; max-age=-1")]);
        assert_eq!(sent(&gone, at), "");
        let address = jar(&[("http://127.0.0.1/", "a=1; domain=0.0.1")]);
        assert_eq!(sent(&address, "http://127.0.0.1/"), "");
    }
}
