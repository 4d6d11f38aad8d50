//! What we send to each service, held against what that service says that it takes.

use super::{ALL, of, post};
use crate::tests::{message, storm};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Folder, program};
use std::process::Command;

/// Says of each body on a line whether it holds, and of each schema whether it takes what it should not.
const HOLD: &str = r#"
import json, sys
from jsonschema import Draft202012Validator as Hold
schemas = json.load(open(sys.argv[1]))
for line in open(sys.argv[2]):
    what, name, body = json.loads(line)
    Hold.check_schema(schemas[name])
    for e in Hold(schemas[name], format_checker=Hold.FORMAT_CHECKER).iter_errors(body):
        print(what, "/".join(map(str, e.absolute_path)), e.message[:200], sep=": ")
"#;

const KINDS: [&str; 7] = [
    "problem", "worse", "update", "repeat", "recovery", "test", "alive",
];

#[test]
fn what_is_sent_is_what_each_service_says_that_it_takes() {
    let Some(python) = program("python3", "python3") else {
        return;
    };
    let has = Command::new(&python)
        .args(["-c", "import jsonschema"])
        .output();
    if !has.is_ok_and(|has| has.status.success()) {
        return eprintln!("skipped: python3-jsonschema is missing");
    }
    let folder = Folder::new();
    let schemas = folder.write("schemas.json", include_str!("schemas.json"));
    let held = |bodies: &[(String, &str, Value)]| {
        let lines: Vec<String> = bodies.iter().map(|body| json!(body).to_string()).collect();
        let bodies = folder.write("bodies", lines.join("\n"));
        let said = Command::new(&python)
            .args(["-c", HOLD])
            .args([&schemas, &bodies])
            .output();
        let said = said.expect("it was there");
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let mut bodies = Vec::new();
    for preset in ALL {
        for kind in KINDS {
            for (size, mut message) in [("one", message(kind)), ("500", storm(kind, 500))] {
                for url in [None, Some("https://health.example.org/check/shop/db")] {
                    if let Some(url) = url {
                        message["url"] = url.into();
                    }
                    let options = match preset {
                        "generic" | "alertmanager" => json!({"preset": preset, "url": "http://h"}),
                        preset => of(preset),
                    };
                    // PagerDuty and Opsgenie have no word for a sign of life.
                    let Ok(post) = post(&options, &message) else {
                        assert_eq!(kind, "alive", "{preset}");
                        continue;
                    };
                    let schema = match (preset, kind) {
                        ("opsgenie", "recovery") => "opsgenie, over",
                        _ => preset,
                    };
                    let what = format!("{preset}, {kind} of {size}");
                    bodies.push((what, schema, post.body));
                }
            }
        }
    }
    assert_eq!(bodies.len(), (ALL.len() * KINDS.len() - 2) * 4);
    assert_eq!(held(&bodies), "");
    // A body with one key more than a service knows, or with none at all, does not hold.
    let wrong = ALL
        .iter()
        .filter(|preset| **preset != "generic")
        .map(|preset| {
            let (_, schema, body) = bodies
                .iter()
                .find(|(_, schema, _)| schema == preset)
                .expect("one");
            let mut body = body.clone();
            let of = if body.is_array() {
                &mut body[0]
            } else {
                &mut body
            };
            of["colour"] = "red".into();
            (format!("{preset}:"), *schema, body)
        });
    let mut wrong: Vec<_> = wrong.collect();
    wrong.push(("generic:".to_owned(), "generic", json!({})));
    let said = held(&wrong);
    for (what, ..) in &wrong {
        assert!(
            said.lines().any(|line| line.starts_with(what.as_str())),
            "{what} {said}"
        );
    }
}
