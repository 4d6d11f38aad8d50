//! The bytes of a request, made once in `create` and sent in one piece.

use crate::cookies::Jar;
use crate::failed::Failed;
use crate::options::{HttpVersion, Options};
use crate::response::Response;
use crate::url::Url;
use healthd_plugin::base64::base64;

/// The idempotent ones (RFC 9110, 9.2.2).
const CAN_BE_REPEATED: [&str; 6] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"];

#[derive(Clone, Debug)]
pub struct Request {
    pub url: Url,
    pub method: String,
    /// Names in the config's spelling; everything that is sent besides Host.
    headers: Vec<(String, String)>,
    body: Option<String>,
    /// What servers set on the way here.
    cookies: Jar,
    /// Credentials, headers and body may go to other origins too.
    trusted: bool,
    pub version: HttpVersion,
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn new(o: &Options) -> Result<Request, String> {
        let url = Url::parse(&o.url).map_err(|e| format!("url: {e}"))?;
        if o.basic_auth.is_some() && o.bearer.is_some() {
            return Err("basic_auth and bearer: only one of them".into());
        }
        if url.userinfo.is_some() && (o.basic_auth.is_some() || o.bearer.is_some()) {
            return Err(
                "url: user and password in it, beside basic_auth or bearer: only one of them"
                    .into(),
            );
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in &o.headers {
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(format!("headers: {name:?} is no header name"));
            }
            if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7F) {
                return Err(format!("headers.{name}: control characters"));
            }
            if ["content-length", "transfer-encoding"]
                .iter()
                .any(|n| name.eq_ignore_ascii_case(n))
            {
                return Err(format!("headers.{name}: is made from `body`"));
            }
            headers.push((name.clone(), value.clone()));
        }
        let authorization = match (&o.basic_auth, &o.bearer) {
            (Some(own), _) => Some(basic(&own.user, &own.password)),
            (_, Some(token)) if token.bytes().all(|b| b.is_ascii_graphic()) => {
                Some(format!("Bearer {token}"))
            }
            (_, Some(_)) => return Err("bearer: only printable ASCII".into()),
            _ => of_userinfo(&url),
        };
        let agent = concat!("healthd/", env!("CARGO_PKG_VERSION"));
        let connection = match o.keep_alive {
            true => "keep-alive",
            false => "close",
        };
        let ours = [
            ("Authorization", authorization.as_deref()),
            ("User-Agent", Some(agent)),
            ("Accept", Some("*/*")),
            ("Connection", Some(connection)),
        ];
        for (name, value) in ours {
            let Some(value) = value else { continue };
            if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                headers.push((name.into(), value.into()));
            }
        }
        if o.keep_alive
            && o.headers
                .keys()
                .any(|n| n.eq_ignore_ascii_case("connection"))
        {
            return Err("headers.Connection: beside keep_alive, which says that itself".into());
        }
        if o.keep_alive && !CAN_BE_REPEATED.contains(&o.method.as_str()) {
            return Err(format!(
                "keep_alive: where the server closes the connection meanwhile the request is sent once more, and {} must not be \
                 (RFC 9110, 9.2.2): leave keep_alive out, or ask by GET or HEAD",
                o.method
            ));
        }
        if o.method == "CONNECT" {
            return Err("method: CONNECT is for proxies".into());
        }
        let mut request = Request {
            url,
            method: o.method.clone(),
            headers,
            body: o.body.clone(),
            cookies: Jar::default(),
            trusted: o.location_trusted,
            version: o.http_version,
            bytes: Vec::new(),
        };
        request.render();
        Ok(request)
    }

    /// A form that is posted, and its answer read as JSON.
    pub fn form(url: Url, body: String, authorization: Option<String>) -> Request {
        let agent = concat!("healthd/", env!("CARGO_PKG_VERSION"));
        let mut headers: Vec<(String, String)> = [
            ("User-Agent", agent),
            ("Accept", "application/json"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Connection", "close"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        headers.extend(authorization.map(|value| ("Authorization".to_owned(), value)));
        let mut request = Request {
            url,
            method: "POST".into(),
            headers,
            body: Some(body),
            cookies: Jar::default(),
            trusted: false,
            version: HttpVersion::One,
            bytes: Vec::new(),
        };
        request.render();
        request
    }

    /// The same with this authorization.
    pub fn authorized(&self, authorization: String) -> Request {
        let mut next = self.clone();
        next.authorize(authorization);
        next.render();
        next
    }

    /// The same with the answer to a challenge, and the cookies that came with it.
    pub fn answered(&self, authorization: String, challenge: &Response) -> Request {
        let mut next = self.clone();
        next.cookies.take(&self.url, challenge);
        next.authorize(authorization);
        next.render();
        next
    }

    /// The request after a redirect. To another origin go no credentials, no body and no header of the config's that
    /// could be a secret.
    pub fn redirected(&self, answer: &Response) -> Result<Request, Failed> {
        let location = answer.header("location");
        let location = location.map(|h| h.value.as_slice()).unwrap_or_default();
        let mut next = self.clone();
        next.cookies.take(&self.url, answer);
        let to = self.url.join(location);
        next.url = to.map_err(|e| Failed::critical(format!("redirect: {e}")))?;
        // 303 asks for a GET; 301 and 302 get one from every browser, though the standard only tolerates it.
        let becomes_get = match answer.status {
            303 => self.method != "HEAD",
            301 | 302 => self.method == "POST",
            _ => false,
        };
        if becomes_get {
            next.method = "GET".into();
            next.body = None;
            next.headers
                .retain(|(n, _)| !n.eq_ignore_ascii_case("content-type"));
        }
        if !next.url.same_origin(&self.url) {
            next.headers
                .retain(|(n, _)| !n.eq_ignore_ascii_case("host"));
            if !self.trusted {
                if next.body.is_some() {
                    return Err(Failed::unknown(format!(
                        "redirect: {} wants the body to be sent to {}, which is another origin; \
                         `location_trusted = true` allows it",
                        answer.status,
                        next.url.origin()
                    )));
                }
                next.headers.retain(|(n, _)| is_harmless(n));
            }
        }
        if let Some(authorization) = of_userinfo(&next.url) {
            next.authorize(authorization);
        }
        next.render();
        Ok(next)
    }

    fn authorize(&mut self, authorization: String) {
        self.headers
            .retain(|(n, _)| !n.eq_ignore_ascii_case("authorization"));
        self.headers.push(("Authorization".into(), authorization));
    }

    /// Those of the config, and ours.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn body_bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default().as_bytes()
    }

    /// Each header but Host, with the cookies got on the way.
    fn fields(&self) -> Vec<(&str, String)> {
        let mut cookies = self.cookies.header(&self.url);
        let mut out: Vec<(&str, String)> = Vec::with_capacity(self.headers.len() + 2);
        for (name, value) in &self.headers {
            let own = name.eq_ignore_ascii_case("cookie").then(|| cookies.take());
            let value = match own.flatten() {
                Some(got) => format!("{value}; {got}"),
                None => value.clone(),
            };
            out.push((name, value));
        }
        out.extend(cookies.map(|got| ("Cookie", got)));
        if self.body.is_some() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            out.push(("Content-Length", self.body_bytes().len().to_string()));
        }
        out
    }

    /// The same for HTTP/2, which has no headers about the connection.
    pub fn to_http2(&self) -> Result<http::Request<()>, Failed> {
        const OF_CONNECTION: [&str; 6] = [
            "host",
            "connection",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "te",
        ];
        let host = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case("host"));
        let authority = host.map_or_else(|| self.url.authority(), |(_, value)| value.clone());
        let scheme = if self.url.https { "https" } else { "http" };
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(format!("{scheme}://{authority}{}", self.url.path))
            .version(http::Version::HTTP_2);
        for (name, value) in self.fields() {
            if !OF_CONNECTION.iter().any(|c| name.eq_ignore_ascii_case(c)) {
                request = request.header(name, value);
            }
        }
        let bad = |e: http::Error| Failed::critical(format!("send: not for HTTP/2: {e}"));
        request.body(()).map_err(bad)
    }

    fn render(&mut self) {
        self.bytes = self.rendered(&self.url.path, None);
    }

    /// As a proxy wants it: with the whole URL.
    pub fn to_proxy(&self, authorization: Option<&str>) -> Vec<u8> {
        let whole = format!("{}{}", self.url.origin(), self.url.path);
        self.rendered(&whole, authorization)
    }

    fn rendered(&self, target: &str, to_proxy: Option<&str>) -> Vec<u8> {
        let mut head = format!("{} {target} HTTP/1.1\r\n", self.method);
        if let Some(authorization) = to_proxy {
            head += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        if !self
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case("host"))
        {
            head += &format!("Host: {}\r\n", self.url.authority());
        }
        for (name, value) in self.fields() {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        head += self.body.as_deref().unwrap_or_default();
        head.into_bytes()
    }
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

fn of_userinfo(url: &Url) -> Option<String> {
    let (user, password) = url.userinfo.as_ref()?;
    Some(basic(user, password))
}

/// Headers that say how to answer, and nothing of who asks.
fn is_harmless(name: &str) -> bool {
    const HARMLESS: [&str; 6] = [
        "user-agent",
        "connection",
        "content-type",
        "cache-control",
        "pragma",
        "range",
    ];
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    HARMLESS.iter().any(is)
        || name
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("accept"))
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::Options as _;

    fn request(json: &str) -> Result<Request, String> {
        Request::new(&Options::parse(json.as_bytes())?)
    }

    fn text(r: &Request) -> &str {
        std::str::from_utf8(&r.bytes).unwrap()
    }

    #[test]
    fn a_plain_request() {
        let r = request(r#"{"url": "http://h:81/p"}"#).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text(&r),
            format!(
                "GET /p HTTP/1.1\r\nHost: h:81\r\nUser-Agent: healthd/{version}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            )
        );
    }

    #[test]
    fn headers_replace_ours_and_are_checked() {
        let r = request(
            r#"{"url": "http://h", "method": "POST", "body": "x=ü", "headers": {"host": "v", "ACCEPT": "a/b"}, "bearer": "t"}"#,
        );
        let r = r.unwrap();
        let t = text(&r);
        assert!(
            t.contains("\r\nhost: v\r\n") && !t.contains("Host:") && !t.contains("*/*"),
            "{t}"
        );
        assert!(
            t.contains("Authorization: Bearer t\r\n")
                && t.ends_with("Content-Length: 4\r\n\r\nx=ü"),
            "{t}"
        );
        for bad in [
            r#"{"a b": "c"}"#,
            r#"{"a": "b\r\nc: d"}"#,
            r#"{"Content-Length": "3"}"#,
            r#"{"": ""}"#,
        ] {
            assert!(
                request(&format!(r#"{{"url": "http://h", "headers": {bad}}}"#)).is_err(),
                "{bad}"
            );
        }
        assert!(
            request(r#"{"url": "http://h", "bearer": "t", "basic_auth": {"user": "u"}}"#).is_err()
        );
    }

    fn answer(status: u16, headers: &str) -> Response {
        let mut r = Response::new(crate::response::Wanted {
            is_head_request: true,
            headers: false,
            body: false,
            max_body: 0,
        });
        r.feed(format!("HTTP/1.1 {status} x\r\n{headers}\r\n\r\n").as_bytes())
            .unwrap();
        r
    }

    fn redirected(r: &Request, status: u16, location: &str) -> Result<Request, Failed> {
        r.redirected(&answer(status, &format!("Location: {location}")))
    }

    #[test]
    fn redirects_keep_secrets_at_home() {
        let options = r#"{"url": "http://h/a", "method": "POST", "body": "x", "headers": {"Cookie": "c=1", "X-Api-Key": "k", "Accept": "a/b"},
            "basic_auth": {"user": "u", "password": "p"}}"#;
        let r = request(options).unwrap();
        assert!(text(&r).contains("Authorization: Basic dTpw\r\n"));
        let same = redirected(&r, 307, "/b").unwrap();
        assert!(
            text(&same).starts_with("POST /b ")
                && text(&same).contains("Basic")
                && text(&same).contains("X-Api-Key: k")
                && text(&same).ends_with("\r\n\r\nx")
        );
        let other = redirected(&r, 302, "http://h:81/b").unwrap();
        let sent = text(&other);
        assert!(sent.starts_with("GET /b ") && !sent.contains("Content-Length"));
        assert!(sent.contains("Accept: a/b"));
        for secret in ["Basic", "Cookie", "X-Api-Key"] {
            assert!(!sent.contains(secret), "{sent}");
        }
        // Nor do they come back when the way leads home again.
        let home = redirected(&other, 302, "http://h/c").unwrap();
        assert!(!text(&home).contains("Basic"));
        for to in ["https://h/b", "http://other/b", "http://h:81/b"] {
            let failed = redirected(&r, 307, to).unwrap_err();
            assert_eq!(failed.status, healthd_plugin::Status::Unknown);
            assert!(failed.why.contains("location_trusted"), "{}", failed.why);
        }
        let trusted = options.replacen('{', r#"{"location_trusted": true, "#, 1);
        let all = redirected(&request(&trusted).unwrap(), 308, "http://other/b").unwrap();
        assert!(text(&all).contains("X-Api-Key: k") && text(&all).ends_with("\r\n\r\nx"));
    }

    #[test]
    fn cookies_and_users_on_the_way() {
        let r = request(r#"{"url": "http://us%40er:p@h/a", "headers": {"cookie": "own=1"}}"#);
        let r = r.unwrap();
        assert!(text(&r).contains("Authorization: Basic dXNAZXI6cA==\r\n"));
        let next = answer(302, "Location: /b\r\nSet-Cookie: sid=7\r\nSet-Cookie: x=y");
        let next = r.redirected(&next).unwrap();
        assert!(text(&next).contains("cookie: own=1; sid=7; x=y\r\n"));
        let challenge = answer(401, "Set-Cookie: sid=8");
        let known = next.answered("Digest x".into(), &challenge);
        assert!(text(&known).contains("cookie: own=1; x=y; sid=8\r\n"));
        assert!(text(&known).contains("Authorization: Digest x\r\n"));
        let away = redirected(&next, 302, "http://v:w@other/").unwrap();
        assert!(!text(&away).contains("ookie"), "{}", text(&away));
        assert!(text(&away).contains("Authorization: Basic djp3\r\n"));
        assert!(
            request(r#"{"url": "http://u:p@h", "bearer": "t"}"#)
                .unwrap_err()
                .starts_with("url: user and password in it")
        );
    }
}
