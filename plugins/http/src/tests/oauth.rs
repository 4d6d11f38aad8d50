//! Tokens of OAuth: one for many runs, and whose fault it is when there is none.

use super::{LONG, check, told};
use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::MockHost;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Peer;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A token server and a target: which tokens were given and taken.
struct OAuth {
    token: Peer,
    target: Peer,
    asked: Arc<Mutex<Vec<String>>>,
}

fn oauth(
    mut answer: impl FnMut(usize) -> String + Send + 'static,
    mut takes: impl FnMut(&str) -> bool + Send + 'static,
) -> OAuth {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let read = |stream: &mut std::net::TcpStream| {
        let mut bytes = [0; 8192];
        let n = std::io::Read::read(stream, &mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let token = Peer::new(move |mut stream| {
        let mut asked = seen.lock().expect("no panic");
        asked.push(read(&mut stream));
        let _ = stream.write_all(answer(asked.len()).as_bytes());
    });
    let target = Peer::new(move |mut stream| {
        let request = read(&mut stream);
        let bearer = request
            .lines()
            .find_map(|l| l.strip_prefix("Authorization: Bearer "));
        let status = if bearer.is_some_and(&mut takes) {
            "200 OK"
        } else {
            "401 Unauthorized"
        };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    });
    OAuth {
        token,
        target,
        asked,
    }
}

fn token_answer(n: usize) -> String {
    let body = format!(r#"{{"access_token":"t0k-{n}","token_type":"Bearer","expires_in":3600}}"#);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl OAuth {
    fn options(&self, auth: &str) -> Value {
        json!({
            "url": format!("http://{}/", self.target.addr),
            "oauth2": {
                "token_url": format!("http://{}/token", self.token.addr),
                "client_id": "me and you", "client_secret": "s3cret&", "scope": "a b", "auth": auth,
            },
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

#[test]
fn one_token_for_a_thousand_runs() {
    let o = oauth(token_answer, |t| t == "t0k-1");
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    for _ in 0..10 {
        for outcome in check.run_many(100, LONG) {
            assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        }
    }
    let asked = o.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // RFC 6749, 2.3.1: id and secret are encoded before base64.
    assert!(
        asked[0].contains("\r\nAuthorization: Basic bWUrYW5kK3lvdTpzM2NyZXQlMjY=\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0].ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b"),
        "{asked:?}"
    );
}

#[test]
fn the_client_may_name_itself_in_the_form() {
    let o = oauth(token_answer, |_| true);
    assert_eq!(check(o.options("body")).status, Status::Ok);
    let asked = o.asked();
    assert!(!asked[0].contains("Authorization"), "{asked:?}");
    let form =
        "grant_type=client_credentials&scope=a+b&client_id=me+and+you&client_secret=s3cret%26";
    assert!(asked[0].ends_with(form), "{asked:?}");
}

/// A target that takes no token at all: one that this very run has got is not asked for again.
#[test]
fn a_401_with_a_new_token_is_the_targets_word() {
    let o = oauth(token_answer, |_| false);
    let outcome = check(o.options("basic"));
    assert_eq!(
        told(&outcome),
        (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
    );
    assert_eq!(o.asked().len(), 1);
}

/// The target forgets its tokens: all runs that hear of it share one new token, and are fine.
#[test]
fn a_401_with_a_kept_token_gets_one_new_token_for_all() {
    let good = Arc::new(Mutex::new("t0k-1"));
    let takes = good.clone();
    let o = oauth(token_answer, move |t| t == *takes.lock().expect("no panic"));
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    *good.lock().expect("no panic") = "t0k-2";
    for outcome in check.run_many(50, LONG) {
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }
    assert_eq!(o.asked().len(), 2);
    // The next one that is forgotten is the second of its kind within ten seconds: the target's word.
    *good.lock().expect("no panic") = "t0k-3";
    for outcome in check.run_many(50, LONG) {
        assert_eq!(
            told(&outcome),
            (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
        );
    }
    assert_eq!(o.asked().len(), 2);
}

/// It refuses the new one as well: that is its answer.
#[test]
fn a_second_401_is_the_targets_word() {
    let mut requests = 0;
    let o = oauth(token_answer, move |_| {
        requests += 1;
        requests == 1
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    for outcome in check.run_many(20, LONG) {
        assert_eq!(
            told(&outcome),
            (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
        );
    }
    assert_eq!(o.asked().len(), 2);
}

/// No new token: nobody knows what the target would have said to it.
#[test]
fn a_401_without_a_new_token_is_not_the_targets_word() {
    let mut requests = 0;
    let answer = |n| match n {
        1 => token_answer(n),
        _ => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into(),
    };
    let o = oauth(answer, move |_| {
        requests += 1;
        requests == 1
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    assert_eq!(check.run(LONG).status, Status::Ok);
    let outcome = check.run(LONG);
    let why = "oauth2: no token from 127.0.0.1: HTTP 503";
    assert_eq!(told(&outcome), (Status::Unknown, why));
}

/// Says when so much time is over, by a run that has no more.
fn after(time: Duration) -> std::sync::mpsc::Receiver<()> {
    let (over, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let url = format!("http://{}/", silent.local_addr().expect("bound"));
        let plugin = MockHost::new(hd_plugin_v1).plugin("http");
        let check = plugin.create(json!({"url": url}).to_string());
        check.expect("fine").run(time);
        over.send(())
    });
    wait
}

/// Token and answer together take longer than the timeout, the answer alone does not.
#[test]
fn the_time_for_a_token_is_not_the_targets() {
    let token_after = after(Duration::from_millis(3000));
    let answer_after = after(Duration::from_millis(5500));
    let o = oauth(
        move |n| {
            let _ = token_after.recv();
            token_answer(n)
        },
        move |_| answer_after.recv().is_ok(),
    );
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let check = plugin.create(o.options("basic").to_string()).expect("fine");
    let outcome = check.run(Duration::from_secs(5));
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
}

#[test]
fn no_token_is_not_the_targets_fault() {
    let o = oauth(
        |_| "HTTP/1.1 400 Bad\r\nContent-Length: 26\r\n\r\n{\"error\":\"invalid_client\"}".into(),
        |_| true,
    );
    let outcome = check(o.options("basic"));
    let why = "oauth2: no token from 127.0.0.1: HTTP 400, invalid_client";
    assert_eq!(told(&outcome), (Status::Unknown, why));
    // Those who waited hear the same, and nothing is kept: the next run asks again.
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let both = plugin.create(o.options("basic").to_string()).expect("fine");
    let before = o.asked().len();
    for outcome in both.run_many(20, LONG) {
        assert_eq!(told(&outcome), (Status::Unknown, why));
    }
    assert_eq!(o.asked().len(), before + 1);
    // Silent: UNKNOWN before its time is up, not a timeout of the target.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let mut options = o.options("basic");
    options["oauth2"]["token_url"] =
        format!("http://{}/", silent.local_addr().expect("bound")).into();
    let silent = plugin.create(options.to_string()).expect("fine");
    let outcome = silent.run(Duration::from_millis(300));
    assert_eq!(outcome.status, Status::Unknown, "{outcome:?}");
    assert!(
        outcome
            .message
            .starts_with("oauth2: no token from 127.0.0.1: no answer in"),
        "{outcome:?}"
    );
    let e = plugin.create(
        json!({"url": "http://h/", "bearer": "x", "oauth2": {
        "token_url": "http://h/", "client_id": "x", "client_secret": "y"}})
        .to_string(),
    );
    assert_eq!(
        e.err().expect("refused"),
        "oauth2 beside basic_auth or bearer: only one of them"
    );
}
