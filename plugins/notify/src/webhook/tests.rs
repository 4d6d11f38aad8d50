//! Each preset's form and limits, what answers mean, and a real Alertmanager.

use crate::message::Message;
use crate::templates::Words;
use crate::tests::{deliver, message, plugin, refused, storm};
use crate::webhook::answer::seconds;
use crate::webhook::options::Options;
use crate::webhook::presets::{self, Post};
use crate::words;
use healthd_client::http::url::Url;
use healthd_plugin::Options as _;
use healthd_plugin::Status;
use healthd_plugin::serde_json::{self, Value, json};
use healthd_testing::{Nginx, Peer, Server, accepts, free_port, program};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

fn post(options: &Value, message: &Value) -> Result<Post, String> {
    let o = Options::parse(options.to_string().as_bytes()).expect("options");
    presets::check(&o)?;
    let url = o
        .url
        .clone()
        .or_else(|| o.preset.usual_url().map(str::to_owned))
        .expect("a url");
    let m = Message::read(&message.to_string()).expect("a message");
    let words = Words {
        title: words::title(&m),
        text: words::text(&m),
        body: None,
    };
    presets::post(
        &o,
        &Url::parse(&url).expect("a url"),
        &m,
        &words,
        message.clone(),
    )
}

fn body(options: &Value, message: &Value) -> Value {
    post(options, message)
        .unwrap_or_else(|e| panic!("{options}: {e}"))
        .body
}

fn of(preset: &str) -> Value {
    match preset {
        "telegram" | "pushover" => json!({"preset": preset, "key": "k", "user": "u"}),
        "pagerduty" | "opsgenie" => json!({"preset": preset, "key": "k"}),
        "gotify" => json!({"preset": preset, "key": "k", "url": "http://h/gotify"}),
        _ => json!({"preset": preset, "url": "http://h/a/topic"}),
    }
}

const ALL: [&str; 12] = [
    "generic",
    "slack",
    "discord",
    "teams",
    "mattermost",
    "telegram",
    "ntfy",
    "gotify",
    "pushover",
    "pagerduty",
    "opsgenie",
    "alertmanager",
];

#[test]
fn the_page_has_all_options_and_presets() {
    let page = include_str!("../../WEBHOOK.md");
    plugin("webhook").assert_documented(page);
    for preset in ALL {
        assert!(page.contains(&format!("| `{preset}` |")), "{preset}");
    }
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (json!({}), "url: missing"),
        (json!({"url": "ftp://x/"}), "url: "),
        (
            json!({"url": "http://x/", "insecure": true}),
            "ca_file, insecure: need an https:// URL",
        ),
        (json!({"preset": "telegram", "key": "k"}), "user: missing"),
        (json!({"preset": "pagerduty"}), "key: missing"),
        (
            json!({"preset": "pagerduty", "key": "a b"}),
            "key, user: no blanks in them",
        ),
        (
            json!({"url": "http://x/", "headers": {"A": "b\r\nC: d"}}),
            "headers: \"A\" cannot be sent",
        ),
        (
            json!({"url": "http://x/", "text": "{% if %}"}),
            "text, line 1: ",
        ),
        (
            json!({"url": "http://x/", "proxy": "http://p/x"}),
            "proxy: http://HOST:PORT is all that can be given",
        ),
    ] {
        let said = refused("webhook", &options);
        assert!(said.starts_with(text), "{said} and not {text}");
    }
}

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

/// Answers each request with this; keeps what it heard.
fn server(answer: &'static str) -> (Peer, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = heard.clone();
    let peer = Peer::new(move |mut stream| {
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            let length = text
                .split("Content-Length: ")
                .nth(1)
                .and_then(|t| t.split("\r\n").next()?.parse::<usize>().ok());
            let head = text.find("\r\n\r\n");
            if let (Some(head), Some(length)) = (head, length)
                && request.len() >= head + 4 + length
            {
                break;
            }
            match stream.read(&mut piece) {
                Ok(n @ 1..) => request.extend_from_slice(&piece[..n]),
                _ => return,
            }
        }
        keep.lock()
            .expect("no panic")
            .push(String::from_utf8_lossy(&request).into_owned());
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    (peer, heard)
}

#[test]
fn what_an_answer_means() {
    for (answer, status, text, retry_after) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            Status::Ok,
            "HTTP 204",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service",
            Status::Critical,
            "HTTP 404 no_service",
            None,
        ),
        (
            "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
            Status::Critical,
            "HTTP 400",
            None,
        ),
        (
            "HTTP/1.1 429 Slow\r\nRetry-After: 47\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 429",
            Some(47.0),
        ),
        (
            "HTTP/1.1 429 Slow\r\nContent-Length: 20\r\n\r\n{\"retry_after\": 1.5}",
            Status::Unknown,
            "HTTP 429 {\"retry_after\": 1.5}",
            Some(2.0),
        ),
        (
            "HTTP/1.1 503 Later\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 503",
            Some(9.0),
        ),
        (
            "HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 408",
            None,
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://u:p@new.example/?token=x\r\nContent-Length: 0\r\n\r\n",
            Status::Unknown,
            "HTTP 302: it has moved to https://***@new.example/; write that URL",
            None,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Status::Unknown,
            "HTTP 304",
            None,
        ),
        (
            "nonsense\r\n",
            Status::Unknown,
            "answer: the answer is not HTTP",
            None,
        ),
        (
            "",
            Status::Unknown,
            "answer: connection closed without an answer",
            None,
        ),
        // Its head has said enough.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
            Status::Ok,
            "HTTP 200 ok",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\na\r\nb\x1b[1m",
            Status::Ok,
            "HTTP 200 a  b [1m",
            None,
        ),
    ] {
        let (peer, _) = server(answer);
        let o = deliver(
            "webhook",
            &json!({"url": format!("http://{}/x", peer.addr)}),
            &message("problem"),
        );
        assert_eq!((o.status, o.message.as_str()), (status, text), "{answer:?}");
        let said = o
            .metrics
            .iter()
            .find(|m| m.name == "retry_after")
            .map(|m| m.value);
        assert_eq!(said, retry_after, "{answer:?}");
    }
    // Nothing has left.
    let o = deliver(
        "webhook",
        &json!({"url": "http://127.0.0.1:1/"}),
        &message("problem"),
    );
    assert_eq!(
        (o.status, o.message.starts_with("connect: ")),
        (Status::Critical, true),
        "{}",
        o.message
    );
}

/// Each of these has been seen with a status of 200.
#[test]
fn what_a_service_has_not_taken_it_may_say_with_200() {
    for (preset, body, status, text) in [
        (
            "slack",
            r#"{"ok":false,"error":"channel_not_found"}"#,
            Status::Critical,
            "HTTP 200 channel_not_found",
        ),
        (
            "slack",
            r#"{"ok":true,"ts":"1503435956.000247","message":{"text":"x"}}"#,
            Status::Ok,
            "HTTP 200 1503435956.000247",
        ),
        ("slack", "ok", Status::Ok, "HTTP 200 ok"),
        (
            "telegram",
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            Status::Critical,
            "HTTP 200 Bad Request: chat not found",
        ),
        (
            "teams",
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
            Status::Critical,
            "HTTP 200 Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429",
        ),
        ("teams", "1", Status::Ok, "HTTP 200 1"),
        (
            "pushover",
            r#"{"status":0,"request":"r","errors":["user identifier is invalid"]}"#,
            Status::Critical,
            "HTTP 200 [\"user identifier is invalid\"]",
        ),
        (
            "pushover",
            r#"{"status":1,"request":"647d2300"}"#,
            Status::Ok,
            "HTTP 200 647d2300",
        ),
        // Nobody knows what it means elsewhere.
        (
            "generic",
            r#"{"ok":false}"#,
            Status::Ok,
            r#"HTTP 200 {"ok":false}"#,
        ),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (peer, _) = server(answer.leak());
        let mut options = of(preset);
        options["url"] = format!("http://{}/hook", peer.addr).into();
        let o = deliver("webhook", &options, &message("problem"));
        assert_eq!((o.status, o.message.as_str()), (status, text), "{preset}");
    }
}

#[test]
fn a_user_in_the_url_is_who_asks() {
    let (peer, heard) = server("HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nana");
    let ask = |more: &Value| {
        let mut options = json!({"url": format!("http://ana:p%40ssw0rd@{}/x", peer.addr)});
        for (key, value) in more.as_object().expect("a table") {
            options[key] = value.clone();
        }
        let o = deliver("webhook", &options, &message("problem"));
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        let request = heard.lock().expect("no panic").pop().expect("a request");
        let lines = request.lines().map(str::to_owned);
        lines
            .filter(|l| l.contains("uthorization: "))
            .collect::<Vec<_>>()
    };
    // ana:p@ssw0rd
    let basic = "Authorization: Basic YW5hOnBAc3N3MHJk";
    assert_eq!(ask(&json!({})), [basic]);
    let own = json!({"headers": {"authorization": "Bearer t0ken"}});
    assert_eq!(ask(&own), ["authorization: Bearer t0ken"]);
}

/// A real nginx, which takes no more than so much.
#[test]
fn what_is_too_large_is_said_of_the_first_checks() {
    if !Nginx::installed() {
        return;
    }
    let nginx = Nginx::start(
        "location /x { client_max_body_size 16k; return 200 $content_length; } location /no { client_max_body_size 1; return 200; }",
    );
    let send = |path: &str, count: usize| {
        let options = json!({ "url": nginx.url(path) });
        let o = deliver("webhook", &options, &storm("problem", count));
        (o.status, o.message)
    };
    let (status, said) = send("/x", 500);
    assert_eq!(status, Status::Ok, "{said}");
    let length: usize = said["HTTP 200 ".len()..].parse().expect("a length");
    assert!((2_000..16_000).contains(&length), "{said}");
    let (status, said) = send("/no", 500);
    assert_eq!(status, Status::Critical, "{said}");
    assert!(said.starts_with("HTTP 413 "), "{said}");
}

/// A real tinyproxy, and nginx behind it, in plain and inside of TLS.
#[test]
fn through_a_proxy() {
    if !Nginx::installed() {
        return;
    }
    let Some(tinyproxy) = program("/usr/bin/tinyproxy", "tinyproxy-bin") else {
        return;
    };
    let nginx = Nginx::start(
        "location /x { return 200 \"$request_method $host via=$http_via $http_proxy_authorization\"; }",
    );
    let proxy = Server::start(
        |folder, port| {
            let conf = folder.write(
                "conf",
                format!(
                    "Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth u s3cret\nViaProxyName \"tiny\"\nConnectPort {}\n",
                    nginx.port_tls
                ),
            );
            let mut command = Command::new(&tinyproxy);
            command.arg("-d").arg("-c").arg(conf);
            command
        },
        |_, port| accepts(port),
    );
    let at = |who: &str| format!("http://{who}127.0.0.1:{}", proxy.port);
    let ca = nginx.certs.ca();
    let tls = format!("https://localhost:{}/x", nginx.port_tls);
    let send = |url: &str, proxy: &str| {
        let mut options = json!({"url": url, "proxy": proxy});
        if url.starts_with("https") {
            options["ca_file"] = ca.display().to_string().into();
        }
        let o = deliver("webhook", &options, &message("problem"));
        (o.status, o.message)
    };
    let (status, said) = send(&nginx.url("/x"), &at("u:s3cret@"));
    assert_eq!(
        (status, said.as_str()),
        (
            Status::Ok,
            "HTTP 200 POST 127.0.0.1 via=1.1 tiny (tinyproxy/1.11.1)"
        ),
        "{}",
        proxy.log()
    );
    let (status, said) = send(&tls, &at("u:s3cret@"));
    assert_eq!(
        (status, said.as_str()),
        (Status::Ok, "HTTP 200 POST localhost via="),
        "{}",
        proxy.log()
    );
    // Nothing has left: a definite refusal, and none of the secrets is told.
    let nobody = format!("http://127.0.0.1:{}", free_port("127.0.0.1"));
    for (url, proxy, why) in [
        (nginx.url("/x"), at(""), "HTTP 407"),
        (tls.clone(), at("u:wr0ngpass@"), "when asked for localhost:"),
        (tls.clone(), nobody, "connect: connection refused"),
        (
            "https://localhost:1/".into(),
            at("u:s3cret@"),
            "HTTP 403 when asked for localhost:1",
        ),
    ] {
        let (status, said) = send(&url, &proxy);
        assert_eq!(status, Status::Critical, "{said}");
        assert!(said.contains(why) && !said.contains("wr0ng"), "{said}");
    }
}

#[test]
fn the_request_has_its_id_its_signature_and_no_secret_comes_back() {
    let (peer, heard) =
        server("HTTP/1.1 403 No\r\nContent-Length: 32\r\n\r\nbad key t0ken for /hooks/T0/B0/x");
    let options = json!({
        "url": format!("http://{}/hooks/T0/B0/x", peer.addr), "hmac_key": "t0ken", "headers": {"X-Team": "web-team"},
    });
    let o = deliver("webhook", &options, &message("problem"));
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Critical, "HTTP 403 bad key *** for ***")
    );
    let request = heard.lock().expect("no panic")[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.starts_with("POST /hooks/T0/B0/x HTTP/1.1\r\n"),
        "{head}"
    );
    let mac = crate::sign::hex(&crate::sign::hmac_sha256(b"t0ken", body.as_bytes()));
    for line in [
        "Idempotency-Key: 1795917600000002".to_owned(),
        "X-Team: web-team".to_owned(),
        format!("X-Healthd-Signature: sha256={mac}"),
        format!("Content-Length: {}", body.len()),
    ] {
        assert!(head.lines().any(|l| l == line), "{line}\n{head}");
    }
    let json: Value = serde_json::from_str(body).expect("json");
    for key in [
        "id", "notice", "kind", "route", "host", "time", "count", "checks",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
}

#[test]
fn a_body_of_ones_own_is_sent_as_it_is_written() {
    let (peer, heard) = server("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
    let options = json!({
        "url": format!("http://{}/x", peer.addr), "hmac_key": "t0ken", "headers": {"content-type": "text/plain"},
        "title": "{{ count }} down",
        "body": "{\"what\": {{ title | tojson }}, \"names\": [{% for c in checks %}{{ c.name | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}]}",
    });
    let mut quoted = storm("problem", 30);
    quoted["checks"][0]["name"] = "a \"b\"".into();
    let o = deliver("webhook", &options, &quoted);
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Critical, "HTTP 413")
    );
    let heard = heard.lock().expect("no panic").clone();
    // It is whole or nothing: no second try with less of it.
    let [request] = &heard[..] else {
        panic!("{heard:#?}")
    };
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let types: Vec<&str> = head
        .lines()
        .filter(|l| l.to_ascii_lowercase().starts_with("content-type:"))
        .collect();
    assert_eq!(types, ["content-type: text/plain"]);
    let mac = crate::sign::hex(&crate::sign::hmac_sha256(b"t0ken", body.as_bytes()));
    assert!(
        head.contains(&format!("X-Healthd-Signature: sha256={mac}")),
        "{head}"
    );
    let json: Value = serde_json::from_str(body).expect("json");
    assert_eq!(
        (&json["what"], &json["names"][0]),
        (&json!("30 down"), &json!("a \"b\""))
    );
    assert_eq!(json["names"].as_array().map(Vec::len), Some(30));
    let said = refused("webhook", &json!({"url": "http://x/", "body": "{% for %}"}));
    assert!(said.starts_with("body, line 1: "), "{said}");
}

#[test]
fn retry_after_is_a_number_or_a_date() {
    let now: jiff::Timestamp = "2026-11-29T02:00:00Z".parse().expect("a time");
    assert_eq!(seconds("120", now), Some(120));
    assert_eq!(seconds("Sun, 29 Nov 2026 02:01:30 GMT", now), Some(90));
    assert_eq!(seconds("Sun, 29 Nov 2026 01:00:00 GMT", now), Some(0));
    assert_eq!(seconds("Sunday, 29-Nov-26 02:01:30 GMT", now), Some(90));
    assert_eq!(seconds("Sun Nov 29 02:01:30 2026", now), Some(90));
    assert_eq!(seconds("soon", now), None);
}

fn alertmanager() -> Option<Server> {
    let program = program("prometheus-alertmanager", "prometheus-alertmanager")?;
    Some(Server::start(
        |folder, port| {
            let conf = folder.write(
                "am.yml",
                "route:\n  receiver: none\nreceivers:\n  - name: none\n",
            );
            let mut command = Command::new(&program);
            command
                .arg(format!("--config.file={}", conf.display()))
                .arg(format!("--storage.path={}", folder.file("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--cluster.listen-address=");
            command
        },
        |_, port| get(port, "/-/ready").is_some_and(|(status, _)| status == 200),
    ))
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[test]
fn a_real_alertmanager_takes_our_alerts_and_ends_them() {
    let Some(server) = alertmanager() else { return };
    let options =
        json!({"preset": "alertmanager", "url": format!("http://127.0.0.1:{}", server.port)});
    let active = || {
        let (_, body) = get(server.port, "/api/v2/alerts?active=true")
            .unwrap_or_else(|| panic!("{}", server.log()));
        let alerts: Value = serde_json::from_str(&body).expect("json");
        let alerts = alerts.as_array().expect("a list").clone();
        alerts
            .iter()
            .map(|a| a["labels"]["check"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let at = |mut message: Value, to: bool| {
        let now = jiff::Timestamp::now();
        message["time"] = now.to_string().into();
        message["from"] = (now - jiff::SignedDuration::from_secs(60))
            .to_string()
            .into();
        if to {
            message["to"] = now.to_string().into();
        }
        message
    };
    let o = deliver("webhook", &options, &at(storm("problem", 3), false));
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Ok, "HTTP 200"),
        "{}",
        server.log()
    );
    let mut there = active();
    there.sort();
    assert_eq!(
        there,
        ["host-0000/größe", "host-0001/größe", "host-0002/größe"]
    );
    // Labels as people have them; and a clock that was set back while it lasted.
    let mut odd = at(message("problem"), false);
    odd["checks"][0]["labels"] = json!({"1st": "a", "größe": "b", "x.y/z": "c", "empty": ""});
    let o = deliver("webhook", &options, &odd);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(active().len(), 4);
    let mut over = at(message("recovery"), true);
    over["checks"][0]["labels"] = odd["checks"][0]["labels"].clone();
    over["to"] = "2026-11-01T00:00:00Z".into();
    let o = deliver("webhook", &options, &over);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(active().len(), 3);
    // Told again it is the same alert.
    deliver("webhook", &options, &at(storm("repeat", 3), false));
    assert_eq!(active().len(), 3);
    let o = deliver("webhook", &options, &at(storm("recovery", 3), true));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(active(), [""; 0]);
}
