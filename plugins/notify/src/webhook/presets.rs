//! What each service wants to be told, and how long it may be.

use super::options::{Options, Preset};
use crate::message::{Check, Kind, Message};
use crate::templates::Words;
use crate::words::{cut, cut_units};
use healthd_client::http::url::Url;
use healthd_plugin::serde_json::{Map, Value, json};

pub struct Post {
    /// Path and query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

impl Preset {
    pub fn usual_url(self) -> Option<&'static str> {
        match self {
            Preset::Telegram => Some("https://api.telegram.org"),
            Preset::Pushover => Some("https://api.pushover.net"),
            Preset::PagerDuty => Some("https://events.pagerduty.com"),
            Preset::Opsgenie => Some("https://api.opsgenie.com"),
            _ => None,
        }
    }
}

/// What a preset cannot do without.
pub fn check(o: &Options) -> Result<(), String> {
    let (key, user) = match o.preset {
        Preset::Telegram | Preset::Pushover => (true, true),
        Preset::Gotify | Preset::PagerDuty | Preset::Opsgenie => (true, false),
        _ => (false, false),
    };
    let missing = |what: &str| {
        Err(format!(
            "{what}: missing; the preset needs it, see WEBHOOK.md"
        ))
    };
    if key && o.key.is_none() {
        return missing("key");
    }
    if user && o.user.is_none() {
        return missing("user");
    }
    let bad = |t: &&String| t.contains(|c: char| c.is_control() || c == ' ');
    match [&o.key, &o.user].into_iter().flatten().find(bad) {
        Some(_) => Err("key, user: no blanks in them".into()),
        None => Ok(()),
    }
}

/// Err: this service has no word for such a message.
pub fn post(
    o: &Options,
    base: &Url,
    m: &Message,
    words: &Words,
    fields: Value,
) -> Result<Post, String> {
    let key = o.key.as_deref().unwrap_or_default();
    let user = o.user.as_deref().unwrap_or_default();
    let both = format!("{}\n{}", words.title, words.text);
    // For those who read Markdown.
    let (title, text) = (unlinked(&words.title), unlinked(&words.text));
    let below = |path: &str| format!("{}{path}", base.path.trim_end_matches('/'));
    let mut headers = Vec::new();
    let mut path = base.path.clone();
    let mut body = match o.preset {
        Preset::Generic => fields,
        Preset::Slack => json!({
            "text": cut(&slack(&format!("{} {}", sign(m), words.title)), 3_000),
            "attachments": [{ "color": colour(m), "text": cut(&slack(&words.text), 7_000), "fallback": cut(&slack(&words.title), 3_000) }],
        }),
        Preset::Mattermost => json!({
            "text": cut(&format!("{} **{}**", sign(m), title.replace('@', "@\u{200b}")), 4_000),
            "attachments": [{ "color": colour(m), "text": cut(&format!("```\n{}\n```", words.text.replace("```", "'''")), 12_000), "fallback": cut(&words.title, 4_000) }],
        }),
        Preset::Discord => json!({
            "content": cut_units(&format!("{} {title}\n{text}", sign(m)), 2_000),
            // A check's message calls nobody.
            "allowed_mentions": { "parse": [] },
        }),
        Preset::Teams => json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        { "type": "TextBlock", "text": cut(&format!("{} {title}", sign(m)), 2_000), "weight": "Bolder", "wrap": true },
                        { "type": "TextBlock", "text": cut(&text, 16_000).replace('\n', "\n\n"), "wrap": true },
                    ],
                },
            }],
        }),
        Preset::Telegram => {
            path = below(&format!("/bot{key}/sendMessage"));
            json!({
                "chat_id": user,
                "text": cut_units(&format!("{} {both}", sign(m)), 4_096),
                "link_preview_options": { "is_disabled": true },
                "disable_notification": !is_loud(m),
            })
        }
        Preset::Ntfy => {
            let (above, topic) = base.path.rsplit_once('/').unwrap_or(("", &base.path));
            if topic.is_empty() {
                return Err("url: ends with no topic, as in https://ntfy.sh/TOPIC".into());
            }
            path = format!("{above}/");
            if !key.is_empty() {
                headers.push(("Authorization", format!("Bearer {key}")));
            }
            json!({
                "topic": topic,
                "title": cut(&words.title, 250),
                "message": cut(&words.text, 4_000),
                "priority": match (m.is_over(), m.worst()) { (true, _) => 2, (_, "critical") => 5, _ => 3 },
                "tags": [if m.is_over() { "white_check_mark" } else { "rotating_light" }],
            })
        }
        Preset::Gotify => {
            path = below("/message");
            headers.push(("X-Gotify-Key", key.to_owned()));
            json!({ "title": cut(&words.title, 500), "message": cut(&words.text, 16_000), "priority": if is_loud(m) { 8 } else { 3 } })
        }
        Preset::Pushover => {
            path = below("/1/messages.json");
            json!({
                "token": key,
                "user": user,
                "title": chars(&words.title, 250),
                "message": chars(&words.text, 1_024),
                "priority": i32::from(is_loud(m)),
            })
        }
        Preset::PagerDuty => {
            path = below("/v2/enqueue");
            pagerduty(key, m, words)?
        }
        Preset::Opsgenie => {
            headers.push(("Authorization", format!("GenieKey {key}")));
            let alias = alias(m);
            match m.kind {
                Kind::Alive => return Err(no_alive("Opsgenie")),
                Kind::Recovery => {
                    path = below(&format!("/v2/alerts/{alias}/close?identifierType=alias"));
                    json!({ "source": cut(&m.host, 100), "note": cut(&both, 25_000) })
                }
                _ => {
                    path = below("/v2/alerts");
                    json!({
                        "message": chars(&words.title, 130),
                        "alias": alias,
                        "description": chars(&words.text, 15_000),
                        "source": cut(&m.host, 100),
                        "entity": m.checks.first().map(|c| cut(&c.name, 512)).unwrap_or_default(),
                        "priority": match m.worst() { "critical" => "P1", "unknown" => "P3", "warning" => "P3", _ => "P5" },
                        "tags": ["healthd"],
                    })
                }
            }
        }
        Preset::Alertmanager => {
            path = below("/api/v2/alerts");
            alertmanager(m)
        }
    };
    if let Some(url) = &m.url {
        link(o.preset, &mut body, url, &m.host);
    }
    Ok(Post {
        path,
        headers,
        body,
    })
}

/// Where the service has a place for a link of its own; in the text it stands anyway.
fn link(preset: Preset, body: &mut Value, url: &str, host: &str) {
    let on = format!("healthd on {host}");
    match preset {
        Preset::Slack | Preset::Mattermost => {
            let attachment = &mut body["attachments"][0];
            attachment["title"] = on.into();
            attachment["title_link"] = url.into();
        }
        Preset::Teams => {
            body["attachments"][0]["content"]["actions"] =
                json!([{ "type": "Action.OpenUrl", "title": on, "url": url }]);
        }
        Preset::Ntfy => body["click"] = url.into(),
        Preset::Gotify => {
            body["extras"] = json!({ "client::notification": { "click": { "url": url } } });
        }
        Preset::Pushover => {
            // Longer ones are refused, and with them the message.
            if url.len() <= 512 {
                body["url"] = url.into();
                body["url_title"] = chars(&on, 100).into();
            }
        }
        Preset::PagerDuty if body["event_action"] == "trigger" => body["client_url"] = url.into(),
        Preset::Opsgenie if body.get("message").is_some() => {
            body["details"] = json!({ "url": url })
        }
        // That of the check: each is an alert of its own.
        Preset::Alertmanager
        | Preset::PagerDuty
        | Preset::Opsgenie
        | Preset::Generic
        | Preset::Discord
        | Preset::Telegram => {}
    }
}

/// Leaves the first checks of a list that is long. False: it is none, or short already.
pub fn shorten(body: &mut Value) -> bool {
    let checks = body.get_mut("checks").and_then(Value::as_array_mut);
    let Some(checks) = checks.filter(|list| list.len() > FIRST) else {
        return false;
    };
    checks.truncate(FIRST);
    true
}

/// So many checks are enough where there is no room for all.
const FIRST: usize = 20;

fn pagerduty(key: &str, m: &Message, words: &Words) -> Result<Value, String> {
    if m.kind == Kind::Alive {
        return Err(no_alive("PagerDuty"));
    }
    let mut event = json!({ "routing_key": key, "dedup_key": alias(m) });
    if m.is_over() {
        event["event_action"] = "resolve".into();
        return Ok(event);
    }
    event["event_action"] = "trigger".into();
    event["client"] = "healthd".into();
    event["payload"] = json!({
        "summary": chars(&words.title, 1_024),
        "source": if m.host.is_empty() { "healthd" } else { m.host.as_str() },
        "severity": match m.worst() { "critical" => "critical", "warning" => "warning", "unknown" => "error", _ => "info" },
        "timestamp": m.time,
        "component": m.checks.first().map(|c| c.name.clone()).unwrap_or_default(),
        "custom_details": { "text": cut(&words.text, 100_000), "count": m.count, "notice": m.notice },
    });
    Ok(event)
}

/// One alert a check, by its name: a recovery ends each of them. Without an end Alertmanager would forget them after
/// its `resolve_timeout`.
fn alertmanager(m: &Message) -> Value {
    let far = |hours| {
        let time: Option<jiff::Timestamp> = m.time.parse().ok();
        let far = time.and_then(|t| t.checked_add(jiff::Span::new().hours(hours)).ok());
        far.map(|t| t.to_string())
    };
    let alert = |name: &str, c: &Check| {
        let mut labels = Map::new();
        for (key, value) in &c.labels {
            labels.insert(label(key), value.clone().into());
        }
        labels.insert("alertname".into(), name.into());
        labels.insert("check".into(), c.name.clone().into());
        labels.insert("instance".into(), m.host.clone().into());
        labels.retain(|_, value| value.as_str() != Some(""));
        let mut annotations = Map::new();
        annotations.insert("summary".into(), cut(&c.message, 1_000).into());
        annotations.insert("verdict".into(), c.verdict.clone().into());
        if let Some(runbook) = &c.runbook {
            annotations.insert("runbook_url".into(), runbook.clone().into());
        }
        let over = m.is_over() || matches!(c.verdict.as_str(), "ok" | "removed");
        let ends = match (over, m.kind) {
            (true, _) => m.to.clone().or_else(|| Some(m.time.clone())),
            (_, Kind::Alive | Kind::Test) => far(1),
            _ => far(24 * 365),
        };
        // What ends before it began, as the clock was set meanwhile, is refused.
        let begun = if m.from.is_empty() { &m.time } else { &m.from };
        let begun = match ends.as_ref().filter(|ends| is_before(ends, begun)) {
            Some(ends) => ends,
            None => begun,
        };
        let mut alert = json!({ "labels": labels, "annotations": annotations, "startsAt": begun });
        if let Some(ends) = ends {
            alert["endsAt"] = ends.into();
        }
        if let Some(url) = c.url.as_ref().or(m.url.as_ref()) {
            alert["generatorURL"] = url.as_str().into();
        }
        alert
    };
    match m.kind {
        Kind::Test | Kind::Alive => {
            let check = Check {
                name: m.route.clone(),
                verdict: "unknown".into(),
                ..Check::default()
            };
            let name = if m.kind == Kind::Test {
                "healthd_test"
            } else {
                "healthd_alive"
            };
            json!([alert(name, &check)])
        }
        _ => m.checks.iter().map(|c| alert("healthd", c)).collect(),
    }
}

/// A name that Alertmanager takes: letters, digits and `_`, and no digit first.
fn label(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(plain).collect();
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

fn is_before(a: &str, b: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    matches!((time(a), time(b)), (Some(a), Some(b)) if a < b)
}

/// What this service knows the problem by.
fn alias(m: &Message) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    match m.kind {
        Kind::Test => format!(
            "healthd-test-{}",
            m.route.chars().filter(plain).collect::<String>()
        ),
        _ => format!(
            "healthd-{}",
            m.notice.chars().filter(plain).collect::<String>()
        ),
    }
}

fn no_alive(service: &str) -> String {
    format!("{service} would open an incident for each sign of life: send `alive` to another route")
}

fn is_loud(m: &Message) -> bool {
    matches!(m.kind, Kind::Problem | Kind::Worse | Kind::Test)
}

fn sign(m: &Message) -> &'static str {
    match (m.kind, m.worst()) {
        (Kind::Recovery, _) => "\u{2705}",
        (Kind::Test | Kind::Alive, _) => "\u{2139}\u{fe0f}",
        (_, "critical") => "\u{1f534}",
        (_, "warning") => "\u{1f7e1}",
        _ => "\u{2753}",
    }
}

fn colour(m: &Message) -> &'static str {
    match (m.is_over(), m.worst()) {
        (true, _) => "#1a7f37",
        (_, "critical") => "#b3261e",
        (_, "warning") => "#d4a017",
        _ => "#57606a",
    }
}

/// Slack's own escapes: nothing in a check's message is a link or calls `<!channel>`.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Without a link whose words hide where it leads.
fn unlinked(text: &str) -> String {
    text.replace("](", "]\u{200b}(")
}

/// At most so many letters.
fn chars(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 3).collect();
    format!("{kept}...")
}
