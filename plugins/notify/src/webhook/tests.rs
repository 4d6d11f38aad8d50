//! The request: its options, its body, its signature, and the way through a proxy.

mod alertmanager;
mod answers;
mod forms;
mod schemas;

use crate::message::Message;
use crate::templates::Words;
use crate::tests::{deliver, message, plugin, refused, storm};
use crate::webhook::options::Options;
use crate::webhook::presets::{self, Post};
use crate::words;
use healthd_client::http::url::Url;
use healthd_plugin::Options as _;
use healthd_plugin::Status;
use healthd_plugin::serde_json::{self, Value, json};
use healthd_testing::{Nginx, Peer, Server, accepts, free_port, program};
use std::io::{Read, Write};
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
