//! `[push]`: where metrics are sent by a machine that nobody can scrape, and where some runs are told as traces. The
//! process of `[web]` does it; without that section it listens nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys::Section;
use super::raw::{Node, Table, Value};
use super::readers::{Listen, Web, secret_of};
use super::reading::Reading;
use super::report::{error, warning};
use super::source::Span;
use super::values::Values;

/// What `[push]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Of metrics; None: they are not sent.
    pub url: Option<Endpoint>,
    pub format: PushFormat,
    pub interval: Duration,
    /// A secret: it is sent as a bearer token, or as the password of `user`.
    pub token: Option<String>,
    pub user: Option<String>,
    /// A file with the certificates that are trusted, in place of the machine's.
    pub ca: Option<PathBuf>,
    /// Of each series, beside its own.
    pub labels: BTreeMap<String, String>,
    /// Takes OTLP; None: no run is traced.
    #[serde(default)]
    pub traces: Option<Endpoint>,
    /// Share of the runs that are traced.
    #[serde(default)]
    pub sample: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushFormat {
    /// Prometheus' remote write 1.0.
    RemoteWrite,
    /// OpenTelemetry's OTLP over HTTP, as JSON.
    Otlp,
}

/// What an `http://` or `https://` URL says, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// With what follows a `?`.
    pub path: String,
}

impl Endpoint {
    /// Err: what is wrong with it.
    pub fn parse(text: &str) -> Result<Endpoint, &'static str> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("has to begin with `https://` or `http://`"),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("has a blank or a letter beyond ASCII in it");
        }
        if rest.contains('#') {
            return Err("has a `#` in it, and what follows one is never sent");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("has a user in it: that is what `user` and `token` are for");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, behind) = v6.split_once(']').ok_or("has a `[` without its `]`")?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err("has no IPv6 address between its brackets");
                }
                (host, behind)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None if port.is_empty() => Some(if tls { 443 } else { 80 }),
            None => None,
        };
        if host.is_empty() {
            return Err("names no host");
        }
        let path = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("/{path}"),
        };
        Ok(Endpoint {
            tls,
            host: host.to_owned(),
            port: port.ok_or("has a port that is no number from 1 to 65535")?,
            path,
        })
    }

    /// As it stands in the head of a request.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// What the path says of its receiver.
    fn takes_otlp(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        path.ends_with("/v1/metrics")
    }

    fn is_near(&self) -> bool {
        let ip = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        // A key may stand in what follows the path.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl Web {
    /// What the process is that only pushes.
    pub fn that_listens_nowhere() -> Web {
        Web {
            listen: Listen::Nowhere,
            token: None,
            read_with_token: false,
            labels: Vec::new(),
            max_series: Section::Web
                .default_of("max_series")
                .parse()
                .expect("a number of the table"),
            targets: Vec::new(),
            url: None,
        }
    }
}

/// None: it was told what is wrong. `secrets`: read them, or leave them for the one who runs this.
pub fn push(given: Values<'_>, at: Span, secrets: bool, cx: &mut Reading<'_>) -> Option<Push> {
    let url = (given.get("url")).and_then(|entry| endpoint("url", &entry.node, cx));
    let traces = (given.get("traces")).and_then(|entry| endpoint("traces", &entry.node, cx));
    if given.get("url").is_none() && given.get("traces").is_none() {
        let e = error("[push] does not say where to: `url` is missing");
        let help = "write `url = \"https://HOST/api/v1/write\"`, or `.../v1/metrics` for OTLP; `traces` has a URL of its own";
        cx.push(e.at(at).code("missing-key").help(help));
    }
    let format = given.word("format", cx);
    let token = secret_of(given, "token", secrets, cx);
    let user = given.text("user", cx);
    if let (Some(entry), None) = (given.get("user"), given.get("token")) {
        let e = error("`user` of [push] has no `token`, which is its password");
        cx.push(
            e.at(entry.node.span)
                .help("add `token = { file = \"...\" }`"),
        );
    }
    let goes_open = (url.iter().chain(&traces)).any(|url| !url.tls && !url.is_near());
    if let (true, Some(entry)) = (goes_open, given.get("token")) {
        let w = warning("`token` of [push] goes over the network in clear");
        let help = "write `https://` where the receiver has it";
        cx.push(w.at(entry.node.span).code("open-secret").help(help));
    }
    let ca = given.path("ca", cx);
    let interval = given.duration("interval", cx);
    let labels = labels(given.table, cx);
    let sample = given.share("sample", cx);
    if let (Some(entry), None) = (given.get("sample"), given.get("traces")) {
        let e = error("`sample` of [push] is the share of the runs in `traces`, which is missing");
        let help = "add `traces = \"https://HOST/v1/traces\"`, or remove it";
        cx.push(e.at(entry.node.span).help(help));
    }
    // It was told what is wrong with them.
    if url.is_none() && traces.is_none() {
        return None;
    }
    Some(Push {
        format: match format {
            "otlp" => PushFormat::Otlp,
            "" if url.as_ref().is_some_and(Endpoint::takes_otlp) => PushFormat::Otlp,
            _ => PushFormat::RemoteWrite,
        },
        url,
        interval,
        token,
        user,
        ca,
        labels,
        // As the standard has it for a receiver that is named without a path.
        traces: traces.map(|url| match url.path.as_str() {
            "/" => Endpoint {
                path: "/v1/traces".into(),
                ..url
            },
            _ => url,
        }),
        sample,
    })
}

fn endpoint(key: &str, node: &Node, cx: &mut Reading<'_>) -> Option<Endpoint> {
    let text = cx.text(key, node, OWNER)?;
    match Endpoint::parse(&text) {
        Ok(endpoint) => Some(endpoint),
        Err(what) => {
            let e = error(format!("`{key}` of [push] {what}")).code("bad-value");
            let help = format!("write it as `{key} = \"https://HOST/PATH\"`");
            cx.push(e.at(node.span).help(help));
            None
        }
    }
}

fn labels(table: &Table, cx: &mut Reading<'_>) -> BTreeMap<String, String> {
    let Some(entry) = table.get("labels") else {
        return BTreeMap::new();
    };
    let Value::Table(all) = &entry.node.value else {
        let example = "{ site = \"rack7\" }";
        return cx
            .wrong_type("labels", &entry.node, OWNER, "a table", example)
            .unwrap_or_default();
    };
    let mut labels = BTreeMap::new();
    for entry in &all.entries {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !entry.key.bytes().all(fits) || entry.key.starts_with(|c: char| c.is_ascii_digit()) {
            let e = error(format!(
                "`{}` in `labels` of [push] is no name of a label",
                entry.key
            ));
            let help = "such a name has letters, digits and `_`, and begins with no digit";
            cx.push(e.at(entry.key_span).code("bad-value").help(help));
            continue;
        }
        if let Some(value) = cx.text(&entry.key, &entry.node, "`labels` of [push]") {
            labels.insert(entry.key.clone(), value);
        }
    }
    labels
}

const OWNER: &str = "[push]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_what_its_url_says() {
        for (text, tls, host, port, path, shown) in [
            (
                "https://a.example/api/v1/write",
                true,
                "a.example",
                443,
                "/api/v1/write",
                "https://a.example/api/v1/write",
            ),
            ("http://a:9090", false, "a", 9090, "/", "http://a:9090/"),
            (
                "http://[::1]:4318/v1/metrics?key=s",
                false,
                "::1",
                4318,
                "/v1/metrics?key=s",
                "http://[::1]:4318/v1/metrics",
            ),
            ("https://a?x", true, "a", 443, "/?x", "https://a/"),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            let said = (
                endpoint.tls,
                endpoint.host.as_str(),
                endpoint.port,
                endpoint.path.as_str(),
            );
            assert_eq!(said, (tls, host, port, path), "{text}");
            assert_eq!(endpoint.to_string(), shown);
        }
        for (text, wrong) in [
            ("a.example/x", "begin with"),
            ("https://", "no host"),
            ("https://:80/", "no host"),
            ("https://u:p@a/", "user"),
            ("https://a b/", "blank"),
            ("https://ä/", "ASCII"),
            ("https://a:0/", "port"),
            ("https://a:70000/", "port"),
            ("https://a:/", "port"),
            ("https://[::1/", "`]`"),
            ("https://[x]/", "IPv6"),
            ("https://[::1]x/", "port"),
            ("https://a/#x", "`#`"),
        ] {
            let said = Endpoint::parse(text).expect_err(text);
            assert!(said.contains(wrong), "{text}: {said}");
        }
    }
}
