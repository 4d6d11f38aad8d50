//! The form and the limits of each service.

use super::{body, of, post};
use crate::tests::{message, storm};
use healthd_plugin::serde_json::{Value, json};

/// What each service's own page says that it takes.
#[test]
fn the_form_of_each_service() {
    let (problem, over) = (message("problem"), message("recovery"));
    assert_eq!(body(&of("generic"), &problem), problem);
    let slack = body(&of("slack"), &problem);
    assert!(
        slack["text"]
            .as_str()
            .is_some_and(|t| t.contains("CRITICAL shop/db"))
    );
    assert_eq!(slack["attachments"][0]["color"], "#b3261e");
    assert_eq!(
        body(&of("discord"), &problem)["allowed_mentions"],
        json!({"parse": []})
    );
    let card = &body(&of("teams"), &problem)["attachments"][0];
    assert_eq!(
        card["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    assert_eq!(
        (&card["content"]["type"], &card["content"]["version"]),
        (&json!("AdaptiveCard"), &json!("1.4"))
    );
    let telegram = post(&of("telegram"), &problem).expect("a post");
    assert_eq!(
        (telegram.path.as_str(), &telegram.body["chat_id"]),
        ("/botk/sendMessage", &json!("u"))
    );
    assert_eq!(
        telegram.body.get("parse_mode"),
        None,
        "plain text needs no escapes"
    );
    let ntfy = post(&of("ntfy"), &problem).expect("a post");
    assert_eq!(
        (
            ntfy.path.as_str(),
            &ntfy.body["topic"],
            &ntfy.body["priority"]
        ),
        ("/a/", &json!("topic"), &json!(5))
    );
    let gotify = post(&of("gotify"), &problem).expect("a post");
    assert_eq!(
        (gotify.path.as_str(), gotify.headers[0].clone()),
        ("/gotify/message", ("X-Gotify-Key", "k".to_owned()))
    );
    let pushover = body(&of("pushover"), &problem);
    assert_eq!(
        (&pushover["token"], &pushover["user"], &pushover["priority"]),
        (&json!("k"), &json!("u"), &json!(1))
    );

    let begun = body(&of("pagerduty"), &problem);
    let ended = body(&of("pagerduty"), &over);
    assert_eq!(
        (&begun["event_action"], &ended["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    assert_eq!(begun["dedup_key"], ended["dedup_key"]);
    assert_eq!(begun["payload"]["severity"], "critical");
    assert!(
        ["summary", "source"]
            .iter()
            .all(|k| begun["payload"][k].is_string())
    );

    let begun = post(&of("opsgenie"), &problem).expect("a post");
    let ended = post(&of("opsgenie"), &over).expect("a post");
    assert_eq!(begun.headers, [("Authorization", "GenieKey k".to_owned())]);
    assert_eq!(begun.path, "/v2/alerts");
    let alias = begun.body["alias"].as_str().expect("an alias");
    assert_eq!(
        ended.path,
        format!("/v2/alerts/{alias}/close?identifierType=alias")
    );

    let begun = body(
        &json!({"preset": "alertmanager", "url": "http://h"}),
        &problem,
    );
    let ended = body(&json!({"preset": "alertmanager", "url": "http://h"}), &over);
    assert_eq!(begun[0]["labels"], ended[0]["labels"]);
    assert_eq!(
        begun[0]["labels"],
        json!({"alertname": "healthd", "check": "shop/db", "instance": "web1.example.org", "team": "web"})
    );
    assert_eq!(ended[0]["endsAt"], "2026-11-29T02:50:00Z");
    assert!(
        begun[0]["endsAt"]
            .as_str()
            .is_some_and(|t| t.starts_with("2027-"))
    );
    for preset in ["pagerduty", "opsgenie"] {
        let e = post(&of(preset), &message("alive"))
            .err()
            .expect("no word for it");
        assert!(e.contains("another route"), "{e}");
    }
    assert_eq!(
        body(
            &json!({"preset": "alertmanager", "url": "http://h"}),
            &message("alive")
        )[0]["labels"]["alertname"],
        "healthd_alive"
    );
}

#[test]
fn a_link_stands_where_a_service_has_a_place_for_it() {
    let to = "https://health.example.org/check/shop/db";
    let (mut problem, mut over) = (message("problem"), message("recovery"));
    for message in [&mut problem, &mut over] {
        message["url"] = to.into();
        message["checks"][0]["url"] = to.into();
    }
    for (preset, place) in [
        ("generic", "/url"),
        ("slack", "/attachments/0/title_link"),
        ("mattermost", "/attachments/0/title_link"),
        ("teams", "/attachments/0/content/actions/0/url"),
        ("ntfy", "/click"),
        ("gotify", "/extras/client::notification/click/url"),
        ("pushover", "/url"),
        ("pagerduty", "/client_url"),
        ("opsgenie", "/details/url"),
        ("alertmanager", "/0/generatorURL"),
    ] {
        let options = match preset {
            "generic" | "alertmanager" => json!({"preset": preset, "url": "http://h"}),
            preset => of(preset),
        };
        let linked = body(&options, &problem);
        assert_eq!(
            linked.pointer(place),
            Some(&json!(to)),
            "{preset}: {linked}"
        );
        let without = body(&options, &message("problem"));
        assert_eq!(without.pointer(place), None, "{preset}: {without}");
        // An end has no place for it at these.
        let ended = body(&options, &over);
        let has = !matches!(preset, "pagerduty" | "opsgenie");
        assert_eq!(ended.pointer(place).is_some(), has, "{preset}: {ended}");
    }
    for (preset, key) in [("discord", "content"), ("telegram", "text")] {
        let linked = body(&of(preset), &problem);
        let text = linked[key].as_str().expect("a text");
        assert!(text.ends_with(to), "{preset}: {text}");
    }
}

#[test]
fn five_hundred_members_fit_into_what_each_service_takes() {
    let units = |v: &Value| v.as_str().expect("a text").encode_utf16().count();
    let chars = |v: &Value| v.as_str().expect("a text").chars().count();
    for kind in ["problem", "recovery"] {
        let storm = storm(kind, 500);
        assert!(units(&body(&of("telegram"), &storm)["text"]) <= 4_096);
        assert!(units(&body(&of("discord"), &storm)["content"]) <= 2_000);
        assert!(body(&of("teams"), &storm).to_string().len() <= 28 << 10);
        assert!(chars(&body(&of("mattermost"), &storm)["attachments"][0]["text"]) <= 16_383);
        assert!(chars(&body(&of("slack"), &storm)["attachments"][0]["text"]) <= 8_000);
        assert!(
            body(&of("ntfy"), &storm)["message"]
                .as_str()
                .expect("a text")
                .len()
                <= 4_096
        );
        let pushover = body(&of("pushover"), &storm);
        assert!(chars(&pushover["title"]) <= 250 && chars(&pushover["message"]) <= 1_024);
        assert!(body(&of("pagerduty"), &storm).to_string().len() <= 512 << 10);
    }
    let storm = storm("problem", 500);
    assert!(chars(&body(&of("pagerduty"), &storm)["payload"]["summary"]) <= 1_024);
    let opsgenie = body(&of("opsgenie"), &storm);
    assert!(chars(&opsgenie["message"]) <= 130 && chars(&opsgenie["description"]) <= 15_000);
    assert_eq!(
        body(&of("alertmanager"), &storm).as_array().map(Vec::len),
        Some(500)
    );
}

#[test]
fn a_check_cannot_call_people_nor_make_links() {
    let mut hostile = message("problem");
    hostile["checks"][0]["message"] =
        "<!channel> <http://evil|here> @everyone [here](http://evil) ``` \u{1b}[31m".into();
    let slack = body(&of("slack"), &hostile).to_string();
    assert!(slack.contains("&lt;!channel&gt;") && !slack.contains("<!channel>"));
    assert_eq!(
        body(&of("discord"), &hostile)["allowed_mentions"]["parse"],
        json!([])
    );
    for preset in ["discord", "teams"] {
        let said = body(&of(preset), &hostile).to_string();
        assert!(said.contains("[here]") && !said.contains("]("), "{said}");
    }
    let mattermost = body(&of("mattermost"), &hostile);
    let title = mattermost["text"].as_str().expect("a text");
    assert!(title.contains("everyone") && !title.contains("@everyone"));
    assert!(!title.contains("]("), "{title}");
    assert_eq!(
        mattermost["attachments"][0]["text"]
            .as_str()
            .expect("a text")
            .matches("```")
            .count(),
        2
    );
}
