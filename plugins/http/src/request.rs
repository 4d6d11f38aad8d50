//! The bytes of a request, made once in `create` and sent in one piece.

use crate::options::Options;
use crate::url::Url;

#[derive(Clone, Debug)]
pub struct Request {
    pub url: Url,
    pub method: String,
    /// Names in the config's spelling; everything that is sent besides Host.
    headers: Vec<(String, String)>,
    body: Option<String>,
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn new(o: &Options) -> Result<Request, String> {
        if o.basic_auth.is_some() && o.bearer.is_some() {
            return Err("basic_auth and bearer: only one of them".into());
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
            (Some(basic), _) => Some(format!(
                "Basic {}",
                base64(format!("{}:{}", basic.user, basic.password).as_bytes())
            )),
            (_, Some(token)) if token.bytes().all(|b| b.is_ascii_graphic()) => {
                Some(format!("Bearer {token}"))
            }
            (_, Some(_)) => return Err("bearer: only printable ASCII".into()),
            _ => None,
        };
        let agent = concat!("healthd/", env!("CARGO_PKG_VERSION"));
        let ours = [
            ("Authorization", authorization.as_deref()),
            ("User-Agent", Some(agent)),
            ("Accept", Some("*/*")),
            ("Connection", Some("close")),
        ];
        for (name, value) in ours {
            let Some(value) = value else { continue };
            if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                headers.push((name.into(), value.into()));
            }
        }
        if o.method == "CONNECT" {
            return Err("method: CONNECT is for proxies".into());
        }
        let url = Url::parse(&o.url).map_err(|e| format!("url: {e}"))?;
        let mut request = Request {
            url,
            method: o.method.clone(),
            headers,
            body: o.body.clone(),
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
            bytes: Vec::new(),
        };
        request.render();
        request
    }

    /// The same with this authorization.
    pub fn authorized(&self, authorization: String) -> Request {
        let mut next = self.clone();
        next.headers
            .retain(|(n, _)| !n.eq_ignore_ascii_case("authorization"));
        next.headers.push(("Authorization".into(), authorization));
        next.render();
        next
    }

    /// The request after a redirect.
    pub fn redirected(&self, status: u16, location: &str) -> Result<Request, String> {
        let mut next = self.clone();
        next.url = self.url.join(location)?;
        // 303 asks for a GET; 301 and 302 get one from every browser, though the standard only tolerates it.
        let becomes_get = match status {
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
            // Secrets are for the host they were configured for.
            next.headers.retain(|(n, _)| {
                !["authorization", "cookie", "host"]
                    .iter()
                    .any(|secret| n.eq_ignore_ascii_case(secret))
            });
        }
        next.render();
        Ok(next)
    }

    fn render(&mut self) {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.url.path);
        if !self
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case("host"))
        {
            head += &format!("Host: {}\r\n", self.url.authority());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        head += body;
        self.bytes = head.into_bytes();
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
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
    fn base64_of_every_length() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xFF, 0xEF, 0xBE]), "/+++");
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

    #[test]
    fn redirects_keep_secrets_at_home() {
        let r = request(r#"{"url": "http://h/a", "method": "POST", "body": "x", "headers": {"Cookie": "c"}, "basic_auth": {"user": "u", "password": "p"}}"#).unwrap();
        assert!(text(&r).contains("Authorization: Basic dTpw\r\n"));
        let same = r.redirected(307, "/b").unwrap();
        assert!(
            text(&same).starts_with("POST /b ")
                && text(&same).contains("Basic")
                && text(&same).ends_with("\r\n\r\nx")
        );
        let other = r.redirected(302, "http://h:81/b").unwrap();
        assert!(text(&other).starts_with("GET /b ") && !text(&other).contains("Content-Length"));
        assert!(!text(&other).contains("Basic") && !text(&other).contains("Cookie"));
    }
}
