//! A delivery as the JSON that a notifier is handed, and that the `generic` webhook sends: part of what others build on.

use crate::delivery::{Delivery, Line, Sure, Word};
use healthd_core::page_paths::{self, check_path};
use healthd_core::text::cut;
use healthd_units::duration;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What else is known of a check.
pub type More<'m> = dyn Fn(usize, &str) -> Map<String, Value> + 'm;

/// The machine that tells.
#[derive(Clone, Copy, Debug)]
pub struct Home<'h> {
    pub host: &'h str,
    /// Where its page is, without a slash at its end.
    pub page: Option<&'h str>,
}

impl Delivery {
    /// `wall`: CLOCK_REALTIME, ns. `more`: what else is known of a check, by its place in the message and its name.
    pub fn json(&self, home: Home<'_>, wall: u64, more: &More<'_>) -> Value {
        let lasted = self.to.unwrap_or(wall).saturating_sub(self.from);
        let lasted = Duration::from_secs(lasted / 1_000_000_000);
        let mut message = json!({
            "id": self.id.to_string(),
            "notice": self.notice.to_string(),
            "kind": self.kind.as_str(),
            "route": &*self.route,
            "host": home.host,
            "time": time(wall),
            "count": self.checks.len(),
            "bad": self.bad,
            "checks": self.checks.iter().take(CHECKS_MAX).enumerate().map(|(n, line)| check(n, line, more)).collect::<Vec<_>>(),
            "behind": self.behind.iter().map(|name| &**name).collect::<Vec<_>>(),
            "behind_count": self.behind_count,
            "near": self.near.iter().map(|name| &**name).collect::<Vec<_>>(),
            "also": self.also.iter().map(|name| &**name).collect::<Vec<_>>(),
            "from": time(self.from),
            "since": time(self.from),
            "lasted_s": lasted.as_secs(),
            "lasted": duration::show(lasted),
            "to": self.to.map(time),
            "unsure": self.sure == Sure::Not,
        });
        if let Some((author, reason)) = self.checks.iter().find_map(|line| line.ack.as_ref()) {
            message["ack"] = json!({ "author": author, "reason": reason });
        }
        if let Some(page) = home.page {
            message["url"] = format!("{page}{}", self.path()).into();
        }
        if let Some((route, reason)) = &self.instead_of {
            message["instead_of"] =
                json!({ "route": &**route, "reason": cut(reason, MESSAGE_MAX) });
        }
        message
    }

    /// The page of what this is about: of its check, if it is one that is there.
    fn path(&self) -> String {
        match &*self.checks {
            [only] if only.verdict != Word::Removed => check_path(&only.name),
            _ => page_paths::ALERTS.to_owned(),
        }
    }
}

fn check(place: usize, line: &Line, more: &More<'_>) -> Value {
    let mut check = json!({
        "name": &*line.name,
        "verdict": line.verdict.as_str(),
        "was": line.was.as_str(),
        "message": cut(&line.message, MESSAGE_MAX),
        "since": time(line.since),
        "labels": &*line.labels,
    });
    if line.flaps {
        check["flaps"] = true.into();
    }
    if let Some((author, reason)) = &line.ack {
        check["ack"] = json!({ "author": author, "reason": reason });
    }
    if let Value::Object(fields) = &mut check {
        fields.extend(more(place, &line.name));
    }
    check
}

/// RFC 3339 in UTC, to the second.
fn time(wall: u64) -> String {
    let seconds = i64::try_from(wall / 1_000_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// So many checks are named; `count` says how many there are.
const CHECKS_MAX: usize = 500;
const MESSAGE_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Kind;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    #[test]
    fn the_form_that_others_build_on_stays() {
        let line = |name: &str| Line {
            name: name.into(),
            verdict: Word::Critical,
            was: Word::Ok,
            message: "x".repeat(5_000),
            since: 1_795_917_600_000_000_000,
            labels: Arc::new(BTreeMap::from([("team".to_owned(), "web".to_owned())])),
            flaps: false,
            ack: Some(("uid 0".to_owned(), "on it".to_owned())),
        };
        let mut delivery = Delivery {
            id: 8,
            notice: 7,
            kind: Kind::Problem,
            route: "mail".into(),
            sure: Sure::Told,
            checks: vec![line("shop/db")],
            bad: 1,
            behind: vec!["a".into()],
            behind_count: 30,
            near: vec!["uplink".into()],
            also: vec!["mail".into()],
            from: 1_795_917_600_000_000_000,
            to: None,
            instead_of: Some(("slack".into(), "404".into())),
        };
        let runbook = |_: usize, name: &str| {
            let url = format!("https://wiki/{name}");
            Map::from_iter([("runbook".to_owned(), url.into())])
        };
        let home = Home {
            host: "web1",
            page: Some("https://health.example.org"),
        };
        let json = delivery.json(home, 1_795_917_612_345_000_000, &runbook);
        let expected = json!({
            "id": "8", "notice": "7", "kind": "problem", "route": "mail", "host": "web1", "time": "2026-11-29T02:00:12Z",
            "count": 1, "bad": 1,
            "checks": [{
                "name": "shop/db", "verdict": "critical", "was": "ok", "message": "x".repeat(1_000),
                "since": "2026-11-29T02:00:00Z", "labels": {"team": "web"}, "runbook": "https://wiki/shop/db",
                "ack": {"author": "uid 0", "reason": "on it"},
            }],
            "behind": ["a"], "behind_count": 30, "near": ["uplink"], "also": ["mail"], "lasted_s": 12, "lasted": "12s", "from": "2026-11-29T02:00:00Z",
            "since": "2026-11-29T02:00:00Z", "ack": {"author": "uid 0", "reason": "on it"}, "to": null, "unsure": false,
            "instead_of": {"route": "slack", "reason": "404"}, "url": "https://health.example.org/check/shop/db",
        });
        assert_eq!(json, expected);
        delivery.checks[0].verdict = Word::Removed;
        let url =
            |delivery: &Delivery, home: Home<'_>| delivery.json(home, 0, &runbook)["url"].clone();
        assert_eq!(url(&delivery, home), "https://health.example.org/alerts");
        delivery.checks = (0..1_500).map(|n| line(&format!("{n:0>255}"))).collect();
        assert_eq!(url(&delivery, home), "https://health.example.org/alerts");
        assert_eq!(url(&delivery, Home { page: None, ..home }), Value::Null);
        let largest = delivery.json(home, 0, &runbook).to_string();
        assert!(largest.len() < 1 << 20, "{}", largest.len());
        assert!(largest.contains("\"count\":1500"));
    }
}
