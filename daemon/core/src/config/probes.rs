//! `probe = true`: a check that does not run by itself, but once for each request of `/probe?target=...&module=NAME`, as a
//! module of Prometheus' blackbox_exporter does. `{target}` in its options is whatever the request names.
//!
//! A plugin's schema judges options before there is a target, so a name that no host has stands in for it until then.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::time::Duration;

use super::checks::Owner;
use super::model::CheckSpec;
use super::raw::{Entry, Node, RawCheck, Table, Value};
use super::reading::Reading;
use super::report::error;

const TARGET: &str = "{target}";
/// No host has it (RFC 6761).
const NAME: &str = "target.probe.invalid";
/// Where `url` begins with the target, which may bring its own scheme.
const URL: &str = "http://target.probe.invalid";
/// The longest target, in bytes.
pub const TARGET_MAX: usize = 2048;

/// What makes a check one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The target has to bring a port: the options have none.
    pub wants_port: bool,
}

/// The key `config` as it can be judged; None: it is no probe, or what is wrong was reported.
pub(super) fn prepare(
    block: &RawCheck,
    schema: Option<&Json>,
    owner: Owner<'_>,
    cx: &mut Reading<'_>,
) -> Option<(Probe, Entry)> {
    let probe = block.table.get("probe")?;
    if !cx.boolean("probe", &probe.node, owner)? {
        return None;
    }
    if let Some(each) = block.table.get("for_each") {
        let e = error(format!("{owner} has `probe` and `for_each`"));
        let help = "a probe is one check; its targets come with the requests";
        cx.push(e.at(each.key_span).help(help));
        return None;
    }
    let mut entry = block.table.get("config").cloned().unwrap_or(Entry {
        key: "config".to_owned(),
        key_span: block.span,
        node: Node {
            span: block.span,
            value: Value::Table(Table::default()),
        },
    });
    let Value::Table(options) = &mut entry.node.value else {
        // Reported where it is read.
        return Some((Probe { wants_port: false }, entry));
    };
    let mut places = 0;
    for option in &mut options.entries {
        let is_url = option.key == "url";
        fill(&mut option.node, is_url, &mut places);
    }
    if places == 0 {
        let e = error(format!(
            "{owner} has `probe`, and no `{TARGET}` in its `config`"
        ));
        let help = format!(
            "write it where the target belongs, as `url = \"{TARGET}\"` or `host = \"{TARGET}\"`"
        );
        cx.push(e.at(probe.key_span).help(help));
        return None;
    }
    let knows = |key: &str| schema.and_then(|s| s.get("properties")?.get(key)).is_some();
    let span = entry.key_span;
    let mut add = |key: &str, value: Value| {
        options.entries.push(Entry {
            key: key.to_owned(),
            key_span: span,
            node: Node { span, value },
        });
    };
    let has = |key: &str| block_has(block, key);
    let by_host = host_is_target(block);
    let wants_port = by_host && knows("port") && !has("port");
    if wants_port {
        add("port", Value::Int(1));
    }
    if knows("facts") && !has("facts") {
        add("facts", Value::Bool(true));
    }
    Some((Probe { wants_port }, entry))
}

fn options_of(block: &RawCheck) -> Option<&Table> {
    match &block.table.get("config")?.node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

fn block_has(block: &RawCheck, key: &str) -> bool {
    options_of(block).is_some_and(|t| t.get(key).is_some())
}

fn host_is_target(block: &RawCheck) -> bool {
    let host = options_of(block).and_then(|t| t.get("host"));
    matches!(host.map(|e| &e.node.value), Some(Value::Str(s)) if s == TARGET)
}

fn fill(node: &mut Node, is_url: bool, places: &mut usize) {
    match &mut node.value {
        Value::Str(text) if text.contains(TARGET) => {
            *places += 1;
            if let (true, Some(rest)) = (is_url, text.strip_prefix(TARGET)) {
                *text = format!("{URL}{rest}");
            }
            *text = text.replace(TARGET, NAME);
        }
        Value::Array(items) => items.iter_mut().for_each(|n| fill(n, false, places)),
        Value::Table(table) => {
            for entry in &mut table.entries {
                fill(&mut entry.node, false, places);
            }
        }
        _ => {}
    }
}

impl CheckSpec {
    /// The same check, asked of this target. `hostname`: what it is to be asked for, whatever its address is.
    /// Err: why it cannot be asked.
    pub fn aimed(
        &self,
        target: &str,
        hostname: Option<&str>,
        timeout: Duration,
    ) -> Result<CheckSpec, String> {
        if target.len() > TARGET_MAX {
            return Err(format!("the target is longer than {TARGET_MAX} bytes"));
        }
        if target.chars().any(char::is_control) {
            return Err("the target holds a control character".to_owned());
        }
        let wants_port = self.probe.is_some_and(|p| p.wants_port);
        let address = host_and_port(target);
        if wants_port && address.is_none() {
            return Err(format!(
                "the target `{target}` has no port: `HOST:PORT` is wanted"
            ));
        }
        let read = |text: &str| -> Result<Map<String, Json>, String> {
            serde_json::from_str(text).map_err(|e| format!("its options cannot be read: {e}"))
        };
        let mut shown = read(&self.shown_config)?;
        let mut config = read(&self.config)?;
        for (key, value) in &mut config {
            aim(value, shown.get(key), target);
        }
        for value in shown.values_mut() {
            let as_is = value.clone();
            aim(value, Some(&as_is), target);
        }
        for options in [&mut config, &mut shown] {
            if let Some((host, port)) = &address
                && options.get("host").and_then(Json::as_str) == Some(target)
                && options.contains_key("port")
            {
                options.insert("host".to_owned(), host.as_str().into());
                options.insert("port".to_owned(), (*port).into());
            }
            if let Some(hostname) = hostname {
                self.ask_for(options, hostname)?;
            }
        }
        let text = |options| Json::Object(options).to_string();
        Ok(CheckSpec {
            name: format!("probe {}", self.name),
            needs: Vec::new(),
            timeout: self.timeout.min(timeout),
            config: text(config),
            shown_config: text(shown),
            ..self.clone()
        })
    }

    /// As blackbox_exporter does: the Host header of http, and the name that TLS asks for.
    fn ask_for(&self, options: &mut Map<String, Json>, hostname: &str) -> Result<(), String> {
        let speaks_tls = |options: &Map<String, Json>| {
            options.get("tls") == Some(&true.into()) || options.contains_key("starttls")
        };
        match self.plugin.as_str() {
            "http" => {
                let headers = options
                    .entry("headers")
                    .or_insert_with(|| Json::Object(Map::new()));
                let Json::Object(headers) = headers else {
                    return Ok(());
                };
                let own = headers.iter().find(|(k, _)| k.eq_ignore_ascii_case("host"));
                match own {
                    Some((_, own)) if own.as_str() != Some(hostname) => {
                        return Err(format!(
                            "its options have a Host header ({own}), and `hostname` is another one"
                        ));
                    }
                    Some(_) => {}
                    None => drop(headers.insert("Host".to_owned(), hostname.into())),
                }
            }
            "tcp" if speaks_tls(options) => {}
            _ => return Ok(()),
        }
        options
            .entry("server_name")
            .or_insert_with(|| hostname.into());
        Ok(())
    }
}

/// `shown`: the same for everybody; what differs there is a secret, which holds no target.
fn aim(value: &mut Json, shown: Option<&Json>, target: &str) {
    match value {
        Json::String(text) => {
            if shown.and_then(Json::as_str) != Some(text.as_str()) {
                return;
            }
            if let Some(rest) = text.strip_prefix(URL) {
                let has_scheme = ["http://", "https://"].iter().any(|s| {
                    target
                        .get(..s.len())
                        .is_some_and(|t| t.eq_ignore_ascii_case(s))
                });
                let scheme = if has_scheme { "" } else { "http://" };
                *text = format!("{scheme}{target}{rest}");
            } else if text.contains(NAME) {
                *text = text.replace(NAME, target);
            }
        }
        Json::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                aim(item, shown.and_then(|s| s.get(n)), target);
            }
        }
        Json::Object(map) => {
            for (key, item) in map {
                aim(item, shown.and_then(|s| s.get(key)), target);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// `HOST:PORT`, `[v6]:PORT`; None: there is no port.
fn host_and_port(target: &str) -> Option<(String, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|p| *p != 0)?;
    let bare = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6,
        None if host.contains(':') || host.is_empty() => return None,
        None => host,
    };
    Some((bare.to_owned(), port))
}

/// The host that a target names, without scheme, user, port and path: what `targets` of `[web]` are asked of.
pub fn host_of(target: &str) -> &str {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next().unwrap_or_default();
    }
    match host.split_once(':') {
        // A bare address of version 6.
        Some((_, rest)) if rest.contains(':') => host,
        Some((host, _)) => host,
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_target() {
        for (target, host) in [
            ("example.org", "example.org"),
            ("example.org:443", "example.org"),
            ("http://u:p@example.org:80/x@y?z", "example.org"),
            ("https://example.org?x=://evil", "example.org"),
            ("http://good.example#@169.254.169.254/", "good.example"),
            ("http://good.example\\@169.254.169.254/", "good.example"),
            ("[::1]:53", "::1"),
            ("::1", "::1"),
            ("http://[fe80::1]/", "fe80::1"),
            ("", ""),
        ] {
            assert_eq!(host_of(target), host, "{target}");
        }
    }

    #[test]
    fn ports_of_targets() {
        let of = |target| host_and_port(target);
        assert_eq!(of("a:80"), Some(("a".into(), 80)));
        assert_eq!(of("[::1]:80"), Some(("::1".into(), 80)));
        for without in ["a", "a:", "a:0", "a:70000", "::1", ":80", "[::1]"] {
            assert_eq!(of(without), None, "{without}");
        }
    }

    #[test]
    fn a_target_is_put_where_it_belongs_and_into_no_secret() {
        let aimed = |shown: &str, config: &str, target: &str| {
            let mut value: Json = serde_json::from_str(config).expect("JSON");
            let shown: Json = serde_json::from_str(shown).expect("JSON");
            aim(&mut value, Some(&shown), target);
            value.to_string()
        };
        let same = |config: &str, target: &str| aimed(config, config, target);
        let url = r#"{"url":"http://target.probe.invalid/x"}"#;
        assert_eq!(same(url, "a:1"), r#"{"url":"http://a:1/x"}"#);
        assert_eq!(same(url, "https://a"), r#"{"url":"https://a/x"}"#);
        let other = r#"{"a":["x target.probe.invalid"],"b":{"c":"https://target.probe.invalid"}}"#;
        assert_eq!(same(other, "h"), r#"{"a":["x h"],"b":{"c":"https://h"}}"#);
        assert_eq!(
            aimed(r#"{"a":"***"}"#, r#"{"a":"target.probe.invalid"}"#, "h"),
            r#"{"a":"target.probe.invalid"}"#
        );
    }
}
