//! The options of an HTTP check. `README.md` beside this folder shows them in use.

use healthd_plugin::options::Bad::{Above, Below};
pub use healthd_plugin::options::Scalar;
use healthd_plugin::options::{Limits, OptionValue, ReadPath};
use healthd_plugin::serde_json::Value;
use healthd_plugin::tls::{Pin, Version};
use healthd_plugin::{Range, Rate, options};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

options! {
    /// Requests a URL and checks the answer.
    pub struct Options {
        /// What to request: http:// or https://, with percent-encoding where it is needed.
        url: String { pattern: "^[Hh][Tt][Tt][Pp][Ss]?://." },
        /// Request method, in capitals.
        method: String { pattern: "^[A-Z]+$", max_length: 32 } = "GET".into(),
        /// Request headers, in addition to Host, User-Agent, Accept and Connection, or instead of them.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Request body. Its Content-Length is sent; set Content-Type in `headers`.
        body: Option<String>,
        /// User and password for basic authentication.
        basic_auth: Option<BasicAuth>,
        /// User and password for digest authentication (RFC 7616: MD5, SHA-256, SHA-512-256).
        digest_auth: Option<BasicAuth>,
        /// Token for `Authorization: Bearer`.
        bearer: Option<String> { min_length: 1 },
        /// Token by OAuth2 client credentials (RFC 6749, section 4.4), sent as `Authorization: Bearer`.
        oauth2: Option<OAuth2>,
        /// Status codes that are fine: a code, a class like "2xx" or a range like "200-299". Any other is critical.
        status: Vec<StatusSet> { min_items: 1 } = vec![StatusSet { low: 200, high: 299 }],
        /// Text the body must contain.
        body_contains: Option<String> { min_length: 1 },
        /// Regular expression the body must match.
        body_regex: Option<String>,
        /// Text the body must not contain.
        body_not_contains: Option<String> { min_length: 1 },
        /// Regular expression the body must not match.
        body_not_regex: Option<String>,
        /// JSONPath (RFC 9535, without match and search) that must find something in the body.
        json_path: Option<String>,
        /// What `json_path` must find: one of its finds must equal this text, number or boolean.
        json_equals: Option<Scalar>,
        /// What the body's JSON must say, place by place.
        json: Vec<JsonRule> = Vec::new(),
        /// Response headers that must be there, each with a regular expression that its value must match. Of several of
        /// one name any may match.
        expect_headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Response headers each with a regular expression that no value of it may match. One that is not there is fine.
        expect_not_headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Turns the verdict around: what would be critical is ok, and what would be ok is critical. For what must not
        /// be reachable.
        invert: bool = false,
        /// HTTP version: "auto" agrees on 2 or 1.1 with an https server and speaks 1.1 to others; "2" speaks it to http
        /// servers too, without asking.
        http_version: HttpVersion = HttpVersion::Auto,
        /// Keep the connection for the next run, if the answer was read to its end and allows it: at most an hour, and only
        /// of HTTP/1. Such a run has no times of dns, connect and tls.
        keep_alive: bool = false,
        /// So many redirects are followed; one more is critical. With 0 a redirect is an answer like any other.
        /// Unless given, 10 are followed, but none whose code `status` names.
        redirects: Option<u8> { max: 20 },
        /// After a redirect to another origin send credentials, body and all headers there too, as curl's option of this
        /// name does.
        location_trusted: bool = false,
        /// Regular expression that the URL must match where the redirects end.
        expect_url: Option<String>,
        /// The redirects must end at an https URL.
        expect_tls: bool = false,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// Path of a unix socket to connect to, instead of the URL's host.
        unix_socket: Option<String> { min_length: 1, max_length: 107 },
        /// HTTP proxy to go through: http://HOST:PORT, with user:password@ before the host if it wants that. https URLs are
        /// tunnelled (CONNECT).
        proxy: Option<String> { pattern: "^http://." },
        /// Hosts that are asked without the proxy: names with all below them, networks like "10.0.0.0/8", or "*".
        no_proxy: Vec<String> = Vec::new(),
        /// Other addresses for hosts, at every hop: "HOST" or "HOST:PORT" or "*", and the address or name, with or without a
        /// port, to connect to instead.
        connect_to: BTreeMap<String, String> = BTreeMap::new(),
        /// Address of this machine to send from.
        source_address: Option<String> { format: "ip" },
        /// Interface of this machine to send through.
        interface: Option<String> { min_length: 1, max_length: 15 },
        /// Begin each connection with the line of the PROXY protocol, as a load balancer does.
        proxy_protocol: Option<ProxyProtocol>,
        /// PEM file of the CA certificates to trust, instead of the machine's. A server's own certificate in it is trusted
        /// for itself. Read anew when it changes.
        ca_file: Option<ReadPath>,
        /// Accept any certificate and any key; the message says what was seen.
        insecure: bool = false,
        /// Name the certificate must be for, instead of the URL's host; also sent as SNI. Other hosts to which redirects
        /// lead are asked for by their own names.
        server_name: Option<String> { min_length: 1 },
        /// Warn when a certificate of the chain, of any hop, is valid for fewer days than this.
        certificate_warn_days: Option<f64> { min: 0, bad: Below },
        /// Critical when a certificate of the chain, of any hop, is valid for fewer days than this.
        certificate_crit_days: Option<f64> { min: 0 },
        /// PEM file of the client's own certificate, with its chain. Read anew when it changes.
        cert_file: Option<ReadPath>,
        /// PEM file of the key of `cert_file`, without a password. Read anew when it changes.
        key_file: Option<ReadPath>,
        /// Oldest version of TLS to speak.
        tls_min: Version = Version::Tls12,
        /// Newest version of TLS to speak.
        tls_max: Version = Version::Tls13,
        /// The server's own certificate must be one of these: "sha256//" and the hash of its public key in base64, as for
        /// curl's pinnedpubkey, or "sha256:" and its fingerprint in hexadecimal.
        pins: Vec<Pin> = Vec::new(),
        /// So many bytes of the body are read; what comes after is not looked at.
        max_body: u32 { max: 67_108_864 } = 1_048_576,
        /// At most so many requests to the URL's host, like "50/s", "10/m" or "1/h", at even distances: over all checks
        /// with this option and all workers.
        rate_limit: Option<Rate>,
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
        /// Labels on the result tell what was seen: address, status, version, redirects, lengths, TLS.
        facts: bool = false,
    }
}

options! {
    /// What must be found in the body's JSON. One find must pass all that is asked here, or with `of = "all"` each.
    pub struct JsonRule {
        /// JSONPath (RFC 9535, without match and search).
        path: String { min_length: 1 },
        /// Text, number or boolean that it must equal.
        equals: Option<Scalar>,
        /// Text, number or boolean that it must not equal.
        not_equals: Option<Scalar>,
        /// It must be a number above this,
        above: Option<f64>,
        /// below this,
        below: Option<f64>,
        /// not below this,
        min: Option<f64>,
        /// not above this.
        max: Option<f64>,
        /// Least characters of a text, elements of a list or members of an object.
        min_length: Option<usize>,
        /// Most of them.
        max_length: Option<usize>,
        /// Regular expression that it must match; a text is taken without its quotes.
        regex: Option<String>,
        /// Regular expression that it must not match.
        not_regex: Option<String>,
        /// With false the path must find nothing.
        exists: bool = true,
        /// Of several finds any must pass, or all.
        of: Quantity = Quantity::Any,
        /// Warn when the first find is a number outside of this range (Nagios: "10", "5:10", "@5:10").
        warn: Option<Range>,
        /// Critical when the first find is a number outside of this range.
        crit: Option<Range>,
        /// Name of a metric with the first find. With warn or crit it is "value" unless given.
        metric: Option<String> { min_length: 1, max_length: 64 },
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Quantity { Any = "any", All = "all" }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum ProxyProtocol { V1 = "v1", V2 = "v2" }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum HttpVersion { Auto = "auto", One = "1.1", Two = "2" }
}

options! {
    pub struct BasicAuth {
        /// User name, without a colon.
        user: String { pattern: "^[^:]*$" },
        password: String = String::new(),
    }
}

options! {
    pub struct OAuth2 {
        /// Where the token is asked for.
        token_url: String { pattern: "^[Hh][Tt][Tt][Pp][Ss]?://." },
        client_id: String { min_length: 1 },
        client_secret: String,
        /// What is asked for: words with spaces between them.
        scope: Option<String> { min_length: 1 },
        /// How the client says who it is: in the Authorization header, or in the form.
        auth: AuthStyle = AuthStyle::Basic,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum AuthStyle { Basic = "basic", Body = "body" }
}

options! {
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

/// Some status codes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatusSet {
    pub low: u16,
    pub high: u16,
}

impl StatusSet {
    pub fn contains(self, code: u16) -> bool {
        (self.low..=self.high).contains(&code)
    }

    fn parse(text: &str) -> Option<StatusSet> {
        let code = |s: &str| {
            s.parse::<u16>()
                .ok()
                .filter(|n| s.len() == 3 && (100..=999).contains(n))
        };
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class
                .parse()
                .ok()
                .filter(|n| class.len() == 1 && (1..=9).contains(n))?;
            return Some(StatusSet {
                low: class * 100,
                high: class * 100 + 99,
            });
        }
        let (low, high) = match text.split_once('-') {
            Some((low, high)) => (code(low)?, code(high)?),
            None => (code(text)?, code(text)?),
        };
        (low <= high).then_some(StatusSet { low, high })
    }
}

/// `200`, `200-299`.
impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low == self.high {
            true => self.low.fmt(f),
            false => write!(f, "{}-{}", self.low, self.high),
        }
    }
}

impl OptionValue for StatusSet {
    fn schema(_: &Limits) -> String {
        let code = "[1-9][0-9][0-9]";
        format!(
            r#""anyOf":[{{"type":"integer","minimum":100,"maximum":999}},{{"type":"string","pattern":"^([1-9]xx|{code}(-{code})?)$"}}]"#
        )
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let parsed = match &value {
            Value::Number(n) => StatusSet::parse(&n.to_string()),
            Value::String(s) => StatusSet::parse(s),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("{value} is no set of status codes; write 200, \"2xx\" or \"200-299\"")
        })
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_plugin::Options as _;

    #[test]
    fn status_sets() {
        let set = |s: &str| StatusSet::parse(s).map(|s| (s.low, s.high));
        assert_eq!(set("200"), Some((200, 200)));
        assert_eq!(set("4xx"), Some((400, 499)));
        assert_eq!(set("200-299"), Some((200, 299)));
        for bad in [
            "", "20", "2x", "0xx", "xx", "1000", "099", "300-200", "+20", "200-", "+200", "2xxx",
        ] {
            assert_eq!(set(bad), None, "{bad}");
        }
    }

    #[test]
    fn defaults() {
        let o = Options::parse(br#"{"url": "http://x"}"#).unwrap();
        assert_eq!(
            (o.method.as_str(), o.redirects, o.max_body),
            ("GET", None, 1 << 20)
        );
        assert!(o.status[0].contains(299) && !o.status[0].contains(304));
        let o = Options::parse(br#"{"url": "http://x", "status": [204, "5xx"], "json_equals": 1}"#)
            .unwrap();
        assert!(o.status[1].contains(503));
        assert!(o.json_equals.unwrap().equals(&Value::from(1.0)));
        let e = Options::parse(br#"{"url": "http://x", "status": ["0xx"]}"#)
            .err()
            .unwrap();
        assert_eq!(
            e,
            "status[0]: \"0xx\" is no set of status codes; write 200, \"2xx\" or \"200-299\""
        );
    }
}
