//! `[web]` and `[history]`: each switches on a process beside the manager, which is given what stands here as JSON.
//! A section that is not there starts nothing.

use std::collections::BTreeMap;

use healthd_units::size;
use serde::{Deserialize, Serialize};

use super::keys::Section;
use super::model::{CheckSpec, Model};
use super::push::{Endpoint, Push};
use super::raw::{Node, Value, shortened};
use super::reading::Reading;
use super::report::{error, warning};
use super::secrets::SecretKind;
use super::slo::{self, Slo};
use super::source::Span;
use super::values::Values;
use super::words::thousands;
use crate::matching::Match;
use crate::wire::history::rows_bytes;
use crate::wire::roles::Reader;

/// What `[web]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Web {
    pub listen: Listen,
    /// A secret: who brings it as a bearer token may do more.
    pub token: Option<String>,
    /// Reading needs the token too.
    #[serde(rename = "read", alias = "read_with_token")]
    pub read_with_token: bool,
    /// Labels of checks that become labels of their metrics.
    pub labels: Vec<String>,
    /// The most series of plugins' own metrics.
    pub max_series: u32,
    /// Globs: hosts that `/probe` may ask. Without any there is no `/probe`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Under which address people reach the page, without a slash at its end.
    #[serde(default)]
    pub url: Option<String>,
}

/// Where HTTP is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// An address with its port.
    Tcp(std::net::SocketAddr),
    Unix(std::path::PathBuf),
    /// The socket that the service manager hands over (LISTEN_FDS).
    Systemd,
    /// It only pushes.
    Nowhere,
}

/// What `[history]` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Bytes of the file and its log together, which are never exceeded.
    pub max_size: u64,
    /// Globs: the metrics of plugins whose values are kept.
    pub keep: Vec<String>,
    /// Objectives of all checks that fit, together.
    #[serde(default)]
    pub slo: Vec<(Match, Slo)>,
}

/// What `web` is started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebSettings {
    pub web: Web,
    /// History is written, so whether it is can be told.
    pub history: bool,
    /// None: nothing is pushed.
    #[serde(default)]
    pub push: Option<Push>,
}

/// In `runtime_dir`: the labels of checks that `[web] labels` chose, and `public`, by check, as JSON. They change with the checks, and
/// `web` goes on.
pub const LABELS_FILE: &str = "web.labels";
/// The label that `public = "group"` is: for the page that is for everybody.
pub const PUBLIC_LABEL: &str = "public";
pub type ChosenLabels = BTreeMap<String, BTreeMap<String, String>>;

/// What `recorder` is started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecorderSettings {
    pub history: History,
}

impl Model {
    /// The readers that this config wants, each with its settings as JSON.
    pub fn readers(&self) -> Vec<(Reader, Vec<u8>)> {
        let json = |settings: Result<Vec<u8>, _>| settings.expect("plain data has a JSON form");
        let recorder = self.history.as_ref().map(|history| {
            let settings = RecorderSettings {
                history: history.clone(),
            };
            (Reader::Recorder, json(serde_json::to_vec(&settings)))
        });
        let web = self.web.as_ref().map(|web| {
            let settings = WebSettings {
                web: web.clone(),
                history: self.history.is_some(),
                push: self.push.clone(),
            };
            (Reader::Web, json(serde_json::to_vec(&settings)))
        });
        recorder.into_iter().chain(web).collect()
    }
}

impl Model {
    /// Does anybody read what plugins measure?
    pub fn wants_metrics(&self) -> bool {
        let web = self.web.as_ref().is_some_and(|w| w.max_series > 0);
        web || self.history.as_ref().is_some_and(|h| !h.keep.is_empty())
    }

    /// Where people find the page, without a slash at its end. None: there is none, or nobody knows.
    pub fn page_url(&self) -> Option<String> {
        let web = self.web.as_ref()?;
        match web.listen {
            _ if web.url.is_some() => web.url.clone(),
            Listen::Tcp(at) if !at.ip().is_unspecified() => Some(format!("http://{at}")),
            _ => None,
        }
    }
}

impl Web {
    /// Of each check that has one of `labels`: those.
    pub fn chosen<'a>(&self, checks: impl Iterator<Item = &'a CheckSpec>) -> ChosenLabels {
        let of_check = |check: &CheckSpec| -> BTreeMap<String, String> {
            let own = check.labels.iter();
            own.filter(|(key, _)| *key == PUBLIC_LABEL || self.labels.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        checks
            .map(|check| (check.name.clone(), of_check(check)))
            .filter(|(_, labels)| !labels.is_empty())
            .collect()
    }
}

/// Whether this build has what the section needs; told where it has not.
pub fn is_built(section: Section, span: Span, cx: &mut Reading<'_>) -> bool {
    #[allow(
        clippy::match_like_matches_macro,
        reason = "where none of them is built it is one"
    )]
    let built = match section {
        Section::Web => cfg!(feature = "web"),
        Section::Push => cfg!(feature = "push"),
        Section::History => cfg!(feature = "history"),
        _ => true,
    };
    if !built {
        let e = error(format!(
            "this healthd was built without what {} needs",
            section.header()
        ));
        let feature = section.word();
        let help = format!("remove the section, or build with `--features {feature}`");
        cx.push(e.at(span).help(help));
    }
    built
}

/// `secrets`: read them, or leave them for the one who runs this.
pub fn web(given: Values<'_>, secrets: bool, cx: &mut Reading<'_>) -> Web {
    let listen = match given.get("listen") {
        Some(entry) => listen(&entry.node, cx),
        None => None,
    };
    let default = given.section.default_of("listen").parse();
    let listen = listen.unwrap_or_else(|| Listen::Tcp(default.expect("an address of the table")));
    let token = secret_of(given, "token", secrets, cx);
    let read = given.word("read", cx);
    if let (Some(entry), None, "token") = (given.get("read"), given.get("token"), read) {
        let e = error("`read = \"token\"` of [web], but there is no `token`");
        let help = "add `token = { file = \"...\" }`";
        cx.push(e.at(entry.node.span).help(help));
    }
    let may_be_far = match &listen {
        Listen::Tcp(address) => !address.ip().is_loopback(),
        // What its unit says is not known here.
        Listen::Systemd => true,
        Listen::Unix(_) | Listen::Nowhere => false,
    };
    let says_open = given.get("read").is_some() && read == "open";
    if may_be_far
        && given.get("token").is_none()
        && !says_open
        && let Some(entry) = given.get("listen")
    {
        let e = error("`listen` of [web] may be open to other machines, and there is no `token`");
        let help =
            "add `token = { file = \"...\" }`, or say `read = \"open\"` if everybody may read";
        cx.push(e.at(entry.node.span).help(help));
    }
    Web {
        listen,
        token,
        read_with_token: read == "token",
        labels: given.texts("labels", "[\"team\"]", cx),
        max_series: given.number("max_series", cx),
        targets: given.texts("targets", "[\"*.example.org\"]", cx),
        url: given.get("url").and_then(|entry| url(&entry.node, cx)),
    }
}

/// Where people reach the page.
fn url(node: &Node, cx: &mut Reading<'_>) -> Option<String> {
    let text = cx.text("url", node, WEB)?;
    let wrong = match Endpoint::parse(&text) {
        Err(_) if text.contains('@') => {
            "has a user in it, and everybody who is told would read that"
        }
        Err(what) => what,
        Ok(_) if text.contains('?') => "has a `?` in it, and paths are put behind it",
        Ok(_) if text.len() > URL_MAX => "is too long",
        Ok(_) => return Some(text.trim_end_matches('/').to_owned()),
    };
    let e = error(format!("`url` of [web] {wrong}: `{}`", shortened(&text)));
    let help = "write the address at which people reach the page, as `https://health.example.org`";
    cx.push(e.at(node.span).code("bad-value").help(help));
    None
}

fn listen(node: &Node, cx: &mut Reading<'_>) -> Option<Listen> {
    if let Value::Int(port) = node.value {
        let example = format!("\"127.0.0.1:{port}\"");
        return cx.wrong_type("listen", node, WEB, "an address with its port", &example);
    }
    let text = cx.text("listen", node, WEB)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(Listen::Unix(cx.absolute(std::path::Path::new(path))));
    }
    if text == "systemd" {
        return Some(Listen::Systemd);
    }
    if text == "none" {
        return Some(Listen::Nowhere);
    }
    if let Ok(address) = text.parse() {
        return Some(Listen::Tcp(address));
    }
    let bare = text.split_once("://").map_or(&*text, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let of_all = |host: &str| matches!(host, "" | "*" | "localhost");
    let port = match bare.rsplit_once(':') {
        Some((host, port)) if of_all(host) => port.parse::<u16>().ok(),
        _ => bare.parse().ok(),
    };
    let help = match port {
        Some(port) => {
            format!("write `listen = \"127.0.0.1:{port}\"`, or `\"[::]:{port}\"` for all addresses")
        }
        None if bare.parse::<std::net::SocketAddr>().is_ok() => {
            format!("write `listen = \"{bare}\"`")
        }
        None if bare.parse::<std::net::IpAddr>().is_ok() => {
            format!("write `listen = \"{bare}:8420\"`, with its port")
        }
        None => "write an address and a port as `127.0.0.1:8420` or `[::1]:8420`, `unix:PATH`, or `systemd`"
            .to_owned(),
    };
    let e = error(format!("`listen` of [web] is no address: `{text}`"));
    cx.push(e.at(node.span).code("bad-value").help(help));
    None
}

/// A key that says where a secret is.
pub fn secret_of(
    given: Values<'_>,
    key: &str,
    secrets: bool,
    cx: &mut Reading<'_>,
) -> Option<String> {
    let (owner, node) = (given.section.header(), &given.get(key)?.node);
    let kind = |key: &str| match key {
        "env" => Some(SecretKind::Env),
        "file" => Some(SecretKind::File),
        "credential" => Some(SecretKind::Credential),
        _ => None,
    };
    if let Value::Table(table) = &node.value
        && let [entry] = table.entries.as_slice()
        && let (Some(kind), Value::Str(name)) = (kind(&entry.key), &entry.node.value)
    {
        if !secrets {
            return None;
        }
        return match cx.secret(kind, name) {
            Ok(secret) => Some(secret.to_string()),
            Err(unread) => {
                let e = error(unread.message).code("secret-unread");
                cx.push(e.at(node.span).help(unread.help));
                None
            }
        };
    }
    let message = match node.value {
        Value::Str(_) => format!(
            "`{key}` of {owner} stands in the config, where everybody reads it who may read that"
        ),
        _ => format!("`{key}` of {owner} has to say where the secret is"),
    };
    let help = format!(
        "write `{key} = {{ file = \"...\" }}`, `{{ credential = \"...\" }}` or `{{ env = \"...\" }}`"
    );
    cx.push(error(message).at(node.span).code("open-secret").help(help));
    None
}

pub fn history(given: Values<'_>, cx: &mut Reading<'_>) -> History {
    History {
        max_size: match given.size("max_size", cx) {
            0 => u64::MAX,
            n => n,
        },
        keep: given.texts("keep", "[\"used\"]", cx),
        slo: slo::of_history(given.table, cx),
    }
}

/// Whether the roll-ups of so many checks fit. Events take what is left.
pub fn judge_room(history: &History, checks: usize, span: Span, cx: &mut Reading<'_>) {
    let full = rows_bytes(checks as u64);
    if full <= history.max_size {
        return;
    }
    let about = |bytes: u64| size::about(bytes as f64);
    let w = warning(format!(
        "`max_size` of [history] is {}, and the roll-ups of {} checks take {} when all levels are full",
        about(history.max_size),
        thousands(checks as u64),
        about(full)
    ));
    let whole = full.div_ceil(1 << 20);
    let help = format!(
        "the oldest roll-ups of 5 minutes are cut first, then the oldest events; `max_size = \"{whole}MiB\"` keeps all"
    );
    cx.push(w.at(span).code("history-size").help(help));
}

const WEB: &str = "[web]";
const URL_MAX: usize = 200;
