//! `facts = true`: what was seen, as labels. `/probe` makes metrics of them; so they are there also when the check fails.

use crate::chain::Answer;
use healthd_plugin::Cx;

pub fn tell(cx: Cx<'_>, answer: &Answer) {
    let (r, t) = (&answer.response, &answer.times);
    cx.label("status", &r.status.to_string());
    cx.label(
        "http_version",
        match (t.http2, r.minor_version) {
            (true, _) => "2.0",
            (false, 0) => "1.0",
            (false, _) => "1.1",
        },
    );
    let header = |name: &str| r.header(name).map(|h| h.text().trim().to_owned());
    if let Some(length) = header("content-length").filter(|n| n.parse::<u64>().is_ok()) {
        cx.label("content_length", &length);
    }
    cx.label("body_bytes", &r.body_bytes.to_string());
    if let Some(date) = header("last-modified") {
        cx.label("last_modified", &date);
    }
    for (key, value) in t.facts.iter().flatten() {
        cx.label(key, value);
    }
}

/// Which of the rules was broken first, by the words of `why`.
pub fn broken(cx: Cx<'_>, why: &str) {
    let rule = if why.starts_with("HTTP ") {
        "status"
    } else if why.starts_with("header ") || why.starts_with("no header ") {
        "header"
    } else if why.contains(" expect_url ") || why.contains(" expect_tls ") {
        "url"
    } else {
        "body"
    };
    cx.label("broken_rule", rule);
}
