//! What the tests of both notifiers share; and words and templates.

use crate::hd_plugin_v1;
use crate::message::Message;
use crate::templates::Templates;
use crate::words;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, MockNotice, MockPlugin, Outcome};
use healthd_plugin::serde_json::{Value, json};
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(60);

pub fn plugin(name: &str) -> MockPlugin {
    MockHost::new(hd_plugin_v1).plugin(name)
}

/// A message about one check, as the daemon sends it.
pub fn message(kind: &str) -> Value {
    let over = kind == "recovery";
    json!({
        "id": "1795917600000002", "notice": "1795917600000001", "kind": kind, "route": "mail", "host": "web1.example.org",
        "time": "2026-11-29T02:39:12Z", "count": 1, "bad": usize::from(!over),
        "checks": [{
            "name": "shop/db", "verdict": if over { "ok" } else { "critical" }, "was": if over { "critical" } else { "ok" },
            "message": "connect: connection refused", "since": "2026-11-29T02:39:01Z", "labels": {"team": "web"},
            "runbook": "https://wiki.example.org/db",
        }],
        "from": "2026-11-29T02:39:01Z", "to": if over { json!("2026-11-29T02:50:00Z") } else { Value::Null },
    })
}

/// The same about many.
pub fn storm(kind: &str, count: usize) -> Value {
    let mut message = message(kind);
    let check = message["checks"][0].clone();
    let checks = (0..count).map(|n| {
        let mut check = check.clone();
        check["name"] = format!("host-{n:04}/größe").into();
        check
    });
    message["checks"] = checks.collect();
    message["count"] = count.into();
    message["bad"] = if kind == "recovery" {
        0.into()
    } else {
        count.into()
    };
    message
}

pub fn notice(message: &Value) -> MockNotice {
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    MockNotice {
        id: text("id"),
        notice: text("notice"),
        kind: text("kind"),
        json: message.to_string(),
    }
}

pub fn deliver(name: &str, options: &Value, message: &Value) -> Outcome {
    let made = plugin(name).create(options.to_string());
    made.unwrap_or_else(|e| panic!("{options}: {e}"))
        .deliver(&notice(message), LONG)
}

pub fn refused(name: &str, options: &Value) -> String {
    let made = plugin(name).create(options.to_string());
    made.err().unwrap_or_else(|| panic!("{options} are taken"))
}

fn read(message: &Value) -> Message {
    Message::read(&message.to_string()).expect("a message")
}

fn title(message: &Value) -> String {
    words::title(&read(message))
}

#[test]
fn titles_say_what_has_happened() {
    let mut unsure = message("recovery");
    unsure["unsure"] = true.into();
    let mut removed = message("recovery");
    removed["checks"][0]["verdict"] = "removed".into();
    let mut update = storm("update", 500);
    update["bad"] = 2.into();
    for n in 2..500 {
        update["checks"][n]["verdict"] = "ok".into();
    }
    for (message, expected) in [
        (
            message("problem"),
            "CRITICAL shop/db: connect: connection refused",
        ),
        (
            message("repeat"),
            "still CRITICAL shop/db: connect: connection refused",
        ),
        (message("recovery"), "ok again: shop/db (was critical)"),
        (unsure, "shop/db was critical and is ok again"),
        (removed, "shop/db was removed (was critical)"),
        (
            storm("problem", 500),
            "500 problems: host-0000/größe, host-0001/größe, host-0002/größe, ...",
        ),
        (
            storm("recovery", 2),
            "2 checks are ok again: host-0000/größe, host-0001/größe",
        ),
        (
            update,
            "498 of 500 are ok again, not: host-0000/größe, host-0001/größe",
        ),
        (message("test"), "test of route mail"),
        (message("alive"), "alerts work"),
    ] {
        assert_eq!(title(&message), expected);
    }
    let mut hostile = message("problem");
    hostile["checks"][0]["name"] = "a\r\nBcc: x@example.org".into();
    assert!(!title(&hostile).contains(['\r', '\n']));
}

#[test]
fn the_text_has_what_one_needs_at_night() {
    let mut problem = message("problem");
    problem["behind"] = json!(["a", "b"]);
    problem["behind_count"] = 30.into();
    problem["checks"][0]["last_ok"] = "2026-11-29T02:38:51Z".into();
    problem["checks"][0]["why"] = json!([
        {"at": "2026-11-29T02:39:01.104Z", "what": "due", "text": "run 7 was due"},
        {"at": null, "what": "lost", "text": "try 1 was lost"},
    ]);
    problem["instead_of"] = json!({"route": "slack", "reason": "404 no_service"});
    problem["url"] = "https://health.example.org/check/shop/db".into();
    let text = words::text(&read(&problem));
    for part in [
        "CRITICAL  shop/db: connect: connection refused (since 2026-11-29T02:39:01Z)",
        "what to do: https://wiki.example.org/db",
        "last ok: 2026-11-29T02:38:51Z",
        "          02:39:01.104 due        run 7 was due\n                       lost       try 1 was lost\n",
        "30 checks behind it cannot be evaluated: a, b, ...",
        "route slack cannot reach its receiver: 404 no_service",
        "healthd on web1.example.org, 2026-11-29T02:39:12Z\nhttps://health.example.org/check/shop/db",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let mut over = message("recovery");
    over["unsure"] = true.into();
    let text = words::text(&read(&over));
    assert!(
        text.contains("Was down from 2026-11-29T02:39:01Z to 2026-11-29T02:50:00Z."),
        "{text}"
    );
    assert!(text.contains("not known whether you were told"), "{text}");
}

/// Each field that WEBHOOK.md names can be used.
#[test]
fn every_field_of_the_page_is_there() {
    let page = include_str!("../WEBHOOK.md");
    // `{{ checks[0].phases[0].name }}`, `.at_ms` are two fields of one thing.
    let fields = page.lines().filter_map(|line| {
        let (names, _) = line.strip_prefix("| `{{ ")?.split_once(" |")?;
        let (first, others) = names.split_once(" }}`")?;
        let thing = first.rsplit_once('.').map_or("", |(thing, _)| thing);
        let others = others.split('`').filter(|part| part.starts_with('.'));
        let others = others.map(move |name| format!("{thing}{name}"));
        Some([first.to_owned()].into_iter().chain(others))
    });
    let all: Vec<String> = fields.flatten().collect();
    for field in [
        "url",
        "checks[0].phases[0].at_ms",
        "checks[0].metrics[0].unit",
        "ack.reason",
    ] {
        assert!(all.iter().any(|known| known == field), "{field}: {all:?}");
    }
    let mut full = message("recovery");
    full["behind"] = json!(["a"]);
    full["behind_count"] = 1.into();
    full["unsure"] = true.into();
    full["instead_of"] = json!({"route": "slack", "reason": "404"});
    full["near"] = json!(["uplink"]);
    full["lasted_s"] = 659.into();
    full["lasted"] = "10m59s".into();
    full["since"] = full["from"].clone();
    full["ack"] = json!({"author": "uid 0", "reason": "on it"});
    full["also"] = json!(["pager"]);
    full["url"] = "https://health.example.org/check/shop/db".into();
    for (name, value) in [
        ("title", json!("The shop")),
        ("plugin", json!("http")),
        ("attempt", json!(2)),
        ("attempts", json!(3)),
        ("took_ms", json!(2.5)),
        ("url", json!("https://health.example.org/check/shop/db")),
        ("phases", json!([{"name": "connect", "at_ms": 0.5}])),
        (
            "metrics",
            json!([{"name": "used", "value": 91.5, "unit": "%"}]),
        ),
        ("recent", json!("▁▁✖")),
        ("last_ok", json!("2026-11-29T02:38:51Z")),
        ("ack", json!({"author": "uid 0", "reason": "on it"})),
        (
            "why",
            json!([{"at": "2026-11-29T02:39:01.104Z", "what": "due", "text": "run 7 was due"}]),
        ),
    ] {
        full["checks"][0][name] = value;
    }
    for field in all {
        let template = format!("<{{{{ {field} }}}}>");
        let words = Templates::new(Some(&template), None)
            .expect(&field)
            .words(&read(&full), &full.to_string());
        let words = words.unwrap_or_else(|e| panic!("{field}: {e}"));
        assert!(words.title.len() > 2, "{field} is empty: {}", words.title);
    }
}

#[test]
fn templates_end_or_are_refused_by_name() {
    let apply = |title: Option<&str>, text: Option<&str>| {
        let message = storm("problem", 3);
        let words = Templates::new(title, text)?.words(&read(&message), &message.to_string())?;
        Ok::<_, String>((words.title, words.text))
    };
    let (title, text) = apply(
        Some("{{ count }} down on {{ host }}"),
        Some("{% for c in checks %}{{ c.name }}={{ c.labels.team }} {% endfor %}{{ title }}"),
    )
    .expect("good ones");
    assert_eq!(title, "3 down on web1.example.org");
    assert_eq!(
        text,
        "host-0000/größe=web host-0001/größe=web host-0002/größe=web 3 down on web1.example.org"
    );
    for (bad, why) in [
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{{ checks | nosuch }}", "filter"),
        ("{{ 1 / 0 }}", "text"),
        ("{% for c in %}", "syntax"),
    ] {
        let e = apply(None, Some(bad)).expect_err(bad);
        assert!(
            e.starts_with("text, line 1: ") || e.starts_with("text: "),
            "{e}"
        );
        assert!(e.contains(why), "{bad}: {e}");
    }
    // In a run that is a definite refusal with its reason.
    let options = json!({"url": "http://127.0.0.1:9", "text": "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}"});
    let o = deliver("webhook", &options, &message("problem"));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.contains("fuel"), "{}", o.message);
}

#[test]
fn a_run_without_a_message_delivers_nothing() {
    let o = plugin("webhook")
        .create(r#"{"url": "http://127.0.0.1:9"}"#)
        .expect("options")
        .run(LONG);
    assert_eq!(
        (o.status, o.message.starts_with("no message: ")),
        (Status::Critical, true),
        "{}",
        o.message
    );
}

#[test]
fn texts_are_cut_between_letters() {
    assert_eq!(words::cut("größe", 6), "gr...");
    assert_eq!(words::cut("xößex", 5), "x...");
    assert_eq!(words::cut("größe", 7), "größe");
    assert_eq!(words::cut_units("a\u{1f534}bcdef", 6), "a\u{1f534}...");
    assert_eq!(
        words::cut_units("\u{1f534}\u{1f534}", 4),
        "\u{1f534}\u{1f534}"
    );
}
