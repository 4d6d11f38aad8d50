//! `openapi.json` against real answers: each has a status that is described, and a body of the shape that is.

use super::{bad, good, send, stop, value};
use crate::harness::ctl::wait_for;
use crate::harness::http::{Page, address};
use crate::harness::{Config, check};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn each_answer_is_one_that_is_described() {
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let daemon = Config::new()
        .section("web", "listen = \"unix:web.sock\"\nlabels = [\"team\"]")
        .section("history", "")
        .notify(route)
        .check(good("web/a").set("labels", "{ team = \"x\" }"))
        .check(bad("db/b"))
        .check(check("later").script("sleep 1000").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    daemon.until_ok(&["web/a"]);
    // The recorder comes up beside the rest; before that there is no history to look into.
    wait_for("the recorder has begun", || {
        super::get(&at, "/v1/history/db/b", &[]).status == 200
    });
    let told = super::get(&at, "/v1/openapi.json", &[]);
    let described = value(&told);
    let mut asked = 0;
    let mut hold = |method: &str, path: &str, pattern: &str, body: &str| -> Page {
        let answer = send(&at, method, path, body, JSON);
        let operation = &described["paths"][pattern][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {pattern} is not described");
        let mut response = &operation["responses"][answer.status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = pointed(&described, reference);
        }
        assert!(
            response.is_object(),
            "{method} {path}: {} is not described: {}",
            answer.status,
            answer.body
        );
        let kind = answer
            .head
            .lines()
            .find_map(|l| l.strip_prefix("content-type: "));
        let kind = kind
            .expect("a kind")
            .split(';')
            .next()
            .expect("a kind")
            .to_owned();
        let schema = &response["content"][&kind]["schema"];
        assert!(
            schema.is_object(),
            "{method} {path}: {kind} is not described"
        );
        if kind.ends_with("/json") || kind.ends_with("+json") {
            let wrong = wrong(&described, schema, &value(&answer), "");
            assert!(
                wrong.is_empty(),
                "{method} {path}: {wrong:?}\n{}",
                answer.body
            );
        }
        asked += 1;
        answer
    };
    let ours = |name: &str| format!("{{\"name\":\"{name}\"}}");
    for (path, pattern, wanted) in [
        ("/v1/checks", "/v1/checks", 200),
        ("/v1/checks?match=team%3Dx&match=db*", "/v1/checks", 200),
        ("/v1/checks?match=", "/v1/checks", 400),
        ("/v1/checks?match=web/*+!web/a", "/v1/checks", 200),
        ("/v1/checks?match='web/a'+web*", "/v1/checks", 200),
        ("/v1/checks?match=%3D%3D", "/v1/checks", 400),
        ("/v1/checks/db/b", "/v1/checks/{name}", 200),
        ("/v1/checks/web%2Fa", "/v1/checks/{name}", 200),
        ("/v1/checks/web*", "/v1/checks/{name}", 404),
        ("/v1/history/none", "/v1/history/{name}", 404),
        (
            "/v1/history/db/b?since=yesterday",
            "/v1/history/{name}",
            400,
        ),
        ("/v1/events", "/v1/events", 200),
        ("/v1/events?after=3&match=db/*", "/v1/events", 200),
        ("/v1/events?match=none", "/v1/events", 200),
        ("/v1/events?after=99999999", "/v1/events", 200),
        ("/v1/events?after=x", "/v1/events", 400),
        ("/v1/workers", "/v1/workers", 200),
        ("/v1/plugins", "/v1/plugins", 200),
        ("/v1/alerts", "/v1/alerts", 200),
        ("/v1/silences", "/v1/silences", 200),
        ("/v1/openapi.json", "/v1/openapi.json", 200),
        ("/badge/db/b.svg", "/badge/{name}.svg", 200),
    ] {
        let answer = hold("GET", path, pattern, "");
        assert_eq!(answer.status, wanted, "{path}: {}", answer.body);
    }
    for (path, body, wanted) in [
        ("/v1/run", json!({ "match": "web/*" }).to_string(), 200),
        ("/v1/run", "{".to_owned(), 400),
        (
            "/v1/analyse",
            json!({ "values": [1, 2.5, -3e299] }).to_string(),
            200,
        ),
        ("/v1/analyse", json!({ "values": ["1"] }).to_string(), 400),
        (
            "/v1/analyse",
            json!({ "values": [1], "bins": 0 }).to_string(),
            400,
        ),
        (
            "/v1/silences",
            json!({ "match": "db/*", "for": "1h" }).to_string(),
            201,
        ),
        ("/v1/silences", json!({ "match": "a,," }).to_string(), 400),
        ("/v1/ack", ours("db/b"), 201),
        ("/v1/ack", ours("web/a"), 409),
        ("/v1/ack", ours("none"), 404),
    ] {
        let answer = hold("POST", path, path, &body);
        assert_eq!(answer.status, wanted, "{path} {body}: {}", answer.body);
        if path == "/v1/silences" && wanted == 201 {
            let id = value(&answer)["id"].as_str().expect("an id").to_owned();
            let path = format!("/v1/silences/{id}");
            let ended = hold("DELETE", &path, "/v1/silences/{name}", "");
            assert_eq!(ended.status, 200, "{}", ended.body);
            let again = hold("DELETE", &path, "/v1/silences/{name}", "");
            assert_eq!(again.status, 404, "{}", again.body);
        }
    }
    let without = send(&at, "POST", "/v1/run", "{}", "");
    assert_eq!(without.status, 415, "{}", without.body);
    assert!(asked > 25);
    stop(daemon);
}

fn pointed<'a>(described: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference.strip_prefix('#').expect("of this document");
    described.pointer(pointer).expect("it is there")
}

/// Where the value is not of this shape: the words of JSON Schema that the description uses.
fn wrong(described: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return wrong(described, pointed(described, reference), value, at);
    }
    let mut all = Vec::new();
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("a type `{other}`"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        all.push(format!("{at} is no {kinds:?}: {value}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        all.push(format!("{at} is none of {words:?}: {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        all.extend(wrong(described, &schema["items"], item, &format!("{at}[]")));
    }
    if let Some(object) = value.as_object() {
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().expect("a key");
            if !object.contains_key(key) {
                all.push(format!("{at} lacks {key}"));
            }
        }
        for (key, inner) in object {
            let known = &schema["properties"][key];
            all.extend(wrong(described, known, inner, &format!("{at}.{key}")));
        }
    }
    all
}
