//! The mail itself as Python reads it, and its way to Debian's Exim and Dovecot and to servers that do as no real one would.

use crate::mail::compose::{address, domain, escaped};
use crate::mail::send::stuffed;
use crate::mail::servers::{PASSWORD, Submission, USER};
use crate::tests::{deliver, message, plugin, refused};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{self, Value, json};
use healthd_testing::{Exim, Folder, Peer, Postfix, program, until};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[test]
fn the_page_has_all_options() {
    plugin("mail").assert_documented(include_str!("../../MAIL.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"to": "ops"}),
            "\"ops\" is no address; write it as ops@example.org",
        ),
        (
            json!({"to": []}),
            "to: [] is no address; write \"ops@example.org\"",
        ),
        (
            json!({"to": "a@b\r\nBcc: c@d"}),
            "\"a@b\\r\\nBcc: c@d\" is no address; write it as ops@example.org",
        ),
        (
            json!({"to": "a@b", "insecure": true}),
            "ca_file, insecure: need `tls`",
        ),
        (
            json!({"to": "a@b", "user": "x", "tls": "implicit"}),
            "user: needs `password` or `token`",
        ),
        (
            json!({"to": "a@b", "password": "x"}),
            "password, token, auth: need `user`",
        ),
        (
            json!({"to": "a@b", "user": "x", "password": "y"}),
            "user: a password is only told inside of TLS; see the option tls",
        ),
        (
            json!({"to": "a@b", "user": "x", "token": "y", "auth": "plain", "tls": "starttls"}),
            "auth: xoauth2 goes with `token`, the others with `password`",
        ),
        (
            json!({"to": "a@b", "server": "a:b:c"}),
            "server: \"a:b:c\" is no host or host:port",
        ),
        (
            json!({"to": "a@b", "title": "{{"}),
            "title, line 1: syntax error",
        ),
    ] {
        let said = refused("mail", &options);
        assert!(said.starts_with(text), "{said} and not {text}");
    }
}

#[test]
fn small_parts() {
    for bad in [
        "",
        "a",
        "@b",
        "a@",
        "a b@c",
        "a@b>",
        "a@b,c@d",
        "ö@example.org",
    ] {
        assert!(address(bad).is_err(), "{bad}");
    }
    assert_eq!(domain("web1.example.org"), "web1.example.org");
    assert_eq!(domain("we b\r\n1"), "web1");
    assert_eq!(domain("..-"), "localhost");
    assert_eq!(
        escaped("<a href=\"x\">&\u{7}"),
        "&lt;a href=&quot;x&quot;&gt;&amp; "
    );
    assert_eq!(
        stuffed(b".a\r\n..b\r\n.\r\nc.\r\n"),
        (b"..a\r\n...b\r\n..\r\nc.\r\n".to_vec(), &b".\r\n"[..])
    );
    assert_eq!(stuffed(b"a"), (b"a".to_vec(), &b"\r\n.\r\n"[..]));
}

/// A mail server that follows a script: what it says to each command; `DATA` is read to its dot. What it heard is kept.
fn server(say: impl Fn(&str) -> Option<String> + Send + 'static) -> (Peer, Arc<Mutex<String>>) {
    let heard = Arc::new(Mutex::new(String::new()));
    let keep = heard.clone();
    let peer = Peer::new(move |mut stream| {
        let Ok(copy) = stream.try_clone() else { return };
        let mut lines = BufReader::new(copy);
        let mut say_now = |text: Option<String>| {
            text.is_some_and(|text| stream.write_all(text.as_bytes()).is_ok())
        };
        if !say_now(say("")) {
            return;
        }
        let mut in_data = false;
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            keep.lock().expect("no panic").push_str(&line);
            let command = line.trim_end().to_owned();
            line.clear();
            let end = in_data && command == ".";
            if !in_data || end {
                let word = if end { "." } else { &command };
                in_data = command.eq_ignore_ascii_case("DATA");
                if !say_now(say(word)) {
                    return;
                }
            }
        }
    });
    (peer, heard)
}

fn usual(command: &str) -> Option<String> {
    let word = command.split(' ').next().unwrap_or_default();
    let text = match word {
        "" => "220 mail.example.org",
        "EHLO" => "250-hello\r\n250-8BITMIME\r\n250 AUTH PLAIN",
        "DATA" => "354 go",
        "." => "250 2.0.0 queued as 4F1",
        "QUIT" => return None,
        _ => "250 ok",
    };
    Some(format!("{text}\r\n"))
}

fn ask(peer: &Peer, more: Value, message: &Value) -> healthd_plugin::mock::Outcome {
    let mut options =
        json!({"to": ["ops@example.org", "b@example.org"], "server": peer.addr.to_string()});
    for (key, value) in more.as_object().expect("options") {
        options[key] = value.clone();
    }
    deliver("mail", &options, message)
}

/// What a server says to each command; to the empty one at once.
type Script = Box<dyn Fn(&str) -> Option<String> + Send>;

#[test]
fn what_a_server_may_say() {
    let at = |word: &'static str, text: &'static str| -> Script {
        Box::new(move |c: &str| {
            if c.starts_with(word) && (word.is_empty() == c.is_empty()) {
                if text.is_empty() {
                    None
                } else {
                    Some(format!("{text}\r\n"))
                }
            } else {
                usual(c)
            }
        })
    };
    let cases: Vec<(Script, Status, &str)> = vec![
        (Box::new(usual), Status::Ok, "250 2.0.0 queued as 4F1"),
        (at("", "421 busy"), Status::Critical, "banner: 421 busy"),
        (
            at("MAIL", "451 later"),
            Status::Critical,
            "MAIL FROM: 451 later",
        ),
        (
            at("RCPT", "550 who"),
            Status::Critical,
            "RCPT TO ops@example.org: 550 who; RCPT TO b@example.org: 550 who",
        ),
        (
            at("RCPT TO:<b", "450 grey"),
            Status::Ok,
            "250 2.0.0 queued as 4F1; but RCPT TO b@example.org: 450 grey",
        ),
        (at("DATA", "552 full"), Status::Critical, "DATA: 552 full"),
        (at("DATA", ""), Status::Critical, "data: connection closed"),
        (at(".", "554 spam"), Status::Critical, "DATA: 554 spam"),
        // The dot has left: nobody knows.
        (at(".", ""), Status::Unknown, "data: connection closed"),
    ];
    for (say, status, text) in cases {
        let (peer, _) = server(say);
        let o = ask(&peer, json!({}), &message("problem"));
        assert_eq!((o.status, o.message.as_str()), (status, text));
    }
    let o = deliver(
        "mail",
        &json!({"to": "a@b.example", "server": "127.0.0.1:1"}),
        &message("problem"),
    );
    assert_eq!(
        o.status,
        Status::Critical,
        "nothing has left: {}",
        o.message
    );
}

/// What Python's `email` makes of what a server has heard between DATA and the dot.
fn parsed(data: &str) -> Option<Value> {
    let folder = Folder::new();
    let body = data.split_once("DATA\r\n").map_or(data, |(_, rest)| rest);
    let end = body.rfind("\r\n.\r\n").map_or(body, |end| &body[..end + 2]);
    read(&folder.write("mail", end.replace("\r\n..", "\r\n.")))
}

/// What Python's `email` makes of a mail in a file.
fn read(file: &Path) -> Option<Value> {
    let python = program("python3", "python3")?;
    let script = "import sys, json, email, email.policy\n\
        m = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)\n\
        parts = {p.get_content_type(): p.get_content() for p in m.walk() if not p.is_multipart()}\n\
        print(json.dumps({'headers': [[k, str(v)] for k, v in m.items()], 'parts': parts, 'defects': [str(d) for p in m.walk() for d in p.defects]}))";
    let done = Command::new(python)
        .args(["-c", script])
        .arg(file)
        .output()
        .expect("python runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    Some(serde_json::from_slice(&done.stdout).expect("json"))
}

fn header<'m>(mail: &'m Value, name: &str) -> Vec<&'m str> {
    let all = mail["headers"].as_array().expect("headers").iter();
    let of = all.filter(|h| h[0].as_str().is_some_and(|k| k.eq_ignore_ascii_case(name)));
    of.filter_map(|h| h[1].as_str()).collect()
}

#[test]
fn a_hostile_check_cannot_write_headers_and_everything_arrives_as_it_was() {
    let (peer, heard) = server(usual);
    let mut hostile = message("problem");
    let body = format!(
        "größe \u{1f534}\r\nBcc: evil@example.org\r\n\r\n.\r\n.leading dot\r\n{}",
        "0123456789".repeat(2_000)
    );
    hostile["checks"][0]["message"] = body.into();
    hostile["checks"][0]["name"] = "x\r\nSubject: evil".into();
    hostile["host"] = "web1\r\nX-Evil: 1".into();
    let o = ask(&peer, json!({}), &hostile);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let now = || heard.lock().expect("no panic").clone();
    until(|| now().ends_with("\r\nQUIT\r\n"), now);
    let heard = now();
    assert!(
        heard.lines().all(|l| l.len() <= 998),
        "RFC 5321's longest line"
    );
    assert!(
        heard.ends_with("\r\n.\r\nQUIT\r\n"),
        "one dot ends it, and it is ours"
    );
    let Some(mail) = parsed(&heard) else { return };
    assert_eq!(mail["defects"], json!([]));
    for name in ["Bcc", "X-Evil"] {
        assert!(header(&mail, name).is_empty(), "{name}");
    }
    assert_eq!(header(&mail, "Subject").len(), 1);
    let text = mail["parts"]["text/plain"].as_str().expect("a text");
    for part in [
        "größe \u{1f534}",
        ".leading dot",
        &"0123456789".repeat(2_000),
    ] {
        assert!(text.contains(part), "{}", &part[..part.len().min(40)]);
    }
    assert!(
        mail["parts"]["text/html"]
            .as_str()
            .is_some_and(|html| html.contains("größe"))
    );
}

#[test]
fn a_problem_and_what_follows_it_are_one_thread() {
    let mails: Option<Vec<Value>> = [("problem", "2"), ("repeat", "3"), ("recovery", "4")]
        .iter()
        .map(|(kind, id)| {
            let (peer, heard) = server(usual);
            let mut message = message(kind);
            message["id"] = (*id).into();
            let o = ask(
                &peer,
                json!({"html": false, "reply_to": "team@example.org"}),
                &message,
            );
            assert_eq!(o.status, Status::Ok, "{}", o.message);
            let heard = heard.lock().expect("no panic").clone();
            assert!(
                heard.contains("EHLO web1.example.org\r\n")
                    && heard.contains("MAIL FROM:<healthd@web1.example.org> BODY=8BITMIME\r\n")
            );
            parsed(&heard)
        })
        .collect();
    let Some(mails) = mails else { return };
    let root = header(&mails[0], "Message-ID")[0].to_owned();
    assert_eq!(root, "<1795917600000001.healthd@web1.example.org>");
    assert!(header(&mails[0], "References").is_empty());
    for mail in &mails[1..] {
        assert_eq!(header(mail, "References"), [root.as_str()]);
        assert_eq!(header(mail, "In-Reply-To"), [root.as_str()]);
        assert_ne!(header(mail, "Message-ID")[0], root);
    }
    assert_eq!(
        header(&mails[2], "Subject"),
        ["[web1.example.org] ok again: shop/db (was critical)"]
    );
    assert_eq!(header(&mails[0], "Reply-To"), ["team@example.org"]);
    assert_eq!(header(&mails[0], "Auto-Submitted"), ["auto-generated"]);
    assert_eq!(
        header(&mails[0], "Date"),
        ["Sun, 29 Nov 2026 02:39:12 +0000"]
    );
}

/// The id by which Exim's own log knows a mail.
fn queue_id(receipt: &str) -> String {
    let id = receipt.split(['=', ';']).nth(1);
    id.unwrap_or_else(|| panic!("no id in {receipt}"))
        .to_owned()
}

#[test]
fn exim_takes_a_problem_and_its_recovery_from_who_has_logged_in() {
    let Some(exim) = Exim::start() else { return };
    let ask = |more: Value, kind: &str| {
        let mut options = json!({
            "to": ["ops@example.org", "x@elsewhere.example"], "server": format!("localhost:{}", exim.port()), "family": "ipv4",
            "tls": "starttls", "ca_file": exim.certs.ca(), "user": USER, "password": PASSWORD,
        });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        deliver("mail", &options, &message(kind))
    };
    for (count, kind, auth) in [(1, "problem", "plain"), (2, "recovery", "cram-md5")] {
        let o = ask(json!({"auth": auth}), kind);
        assert_eq!(o.status, Status::Ok, "{}\n{}", o.message, exim.log());
        assert!(
            o.message
                .contains("; but RCPT TO x@elsewhere.example: 550 "),
            "{}",
            o.message
        );
        let id = queue_id(&o.message);
        until(|| exim.log().contains(&id), || exim.log());
        until(
            || exim.inbox().matches("\nMessage-ID:").count() == count,
            || exim.log(),
        );
    }
    assert!(
        exim.inbox()
            .contains("References: <1795917600000001.healthd@web1.example.org>"),
        "{}",
        exim.inbox()
    );
    for (more, why) in [
        (
            json!({"to": "x@elsewhere.example"}),
            "RCPT TO x@elsewhere.example: 550 ",
        ),
        (json!({"password": "wrong word"}), "AUTH: 535 "),
        (
            json!({"auth": "login"}),
            "the server offers PLAIN, CRAM-MD5, and not LOGIN",
        ),
    ] {
        let o = ask(more.clone(), "problem");
        assert_eq!(o.status, Status::Critical, "{more}: {}", o.message);
        assert!(o.message.starts_with(why), "{more}: {}", o.message);
        assert!(!o.message.contains("wrong word"), "{}", o.message);
    }
}

/// All the way into a mailbox: letters of every kind, a long text, lines that begin with dots, and no header of a check's.
#[test]
fn postfix_takes_all_that_is_hard_from_who_has_logged_in_and_it_is_one_thread() {
    let Some(postfix) = Postfix::start() else {
        return;
    };
    let ask = |more: Value, message: &Value| {
        let mut options = json!({
            "to": "ops@example.org", "server": format!("localhost:{}", postfix.port()), "family": "ipv4", "tls": "starttls",
            "ca_file": postfix.certs.ca(), "user": USER, "password": PASSWORD,
        });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        options
            .as_object_mut()
            .expect("options")
            .retain(|_, v| !v.is_null());
        deliver("mail", &options, message)
    };
    let long = "0123456789".repeat(2_000);
    let mut mails = BTreeMap::new();
    for (n, (kind, auth)) in [
        ("problem", "plain"),
        ("update", "cram-md5"),
        ("recovery", "login"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut message = message(kind);
        message["id"] = format!("179591760000000{}", n + 2).into();
        message["checks"][0]["message"] =
            format!("größe \u{1f534}\r\nBcc: evil@example.org\r\n\r\n.\r\n.leading dot\r\n{long}")
                .into();
        let o = ask(json!({"auth": auth}), &message);
        assert_eq!(
            o.status,
            Status::Ok,
            "{auth}: {}\n{}",
            o.message,
            postfix.log()
        );
        // By the receipt its mail is found in the server's own log.
        let id = o.message.rsplit(' ').next().expect("250 ... queued as ID");
        let delivered = format!("{id}: to=<ops@example.org>");
        until(
            || {
                postfix
                    .log()
                    .lines()
                    .any(|l| l.contains(&delivered) && l.contains("status=sent"))
            },
            || postfix.log(),
        );
        until(|| postfix.mails().len() > n, || postfix.log());
        for file in postfix.mails() {
            let known = mails.values().any(|(of, _)| *of == file);
            if !known && let Some(mail) = read(&file) {
                mails.insert(n, (file, mail));
            }
        }
    }
    for (more, why) in [
        (json!({"password": "wrong word"}), "AUTH: 535 "),
        (
            json!({"user": null, "password": null}),
            "RCPT TO ops@example.org: ",
        ),
    ] {
        let o = ask(more.clone(), &message("problem"));
        assert_eq!(o.status, Status::Critical, "{more}: {}", o.message);
        assert!(o.message.starts_with(why), "{more}: {}", o.message);
    }
    let mails: Vec<Value> = mails.into_values().map(|(_, mail)| mail).collect();
    let [problem, update, recovery] = &mails[..] else {
        return; // Python is missing, which was said.
    };
    let root = header(problem, "Message-ID")[0];
    for later in [update, recovery] {
        assert_eq!(header(later, "References"), [root]);
        assert_eq!(header(later, "In-Reply-To"), [root]);
    }
    for mail in &mails {
        assert_eq!(mail["defects"], json!([]));
        assert_eq!(header(mail, "Subject").len(), 1);
        assert!(header(mail, "Bcc").is_empty());
    }
    let text = problem["parts"]["text/plain"].as_str().expect("a text");
    for part in ["größe \u{1f534}", ".leading dot", &long] {
        assert!(text.contains(part), "{}", &part[..part.len().min(40)]);
    }
}

#[test]
fn dovecot_with_starttls_and_every_way_to_log_in() {
    let Some(exim) = Exim::start() else { return };
    let Some(dovecot) = Submission::start(&exim) else {
        return;
    };
    let ask = |more: Value| {
        let mut options = json!({
            "to": "ops@example.org", "server": format!("localhost:{}", dovecot.port()), "family": "ipv4", "tls": "starttls",
            "ca_file": dovecot.certs.ca(), "user": USER,
        });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        options
            .as_object_mut()
            .expect("options")
            .retain(|_, v| !v.is_null());
        deliver("mail", &options, &message("problem"))
    };
    let ways = [
        json!({"password": PASSWORD}),
        json!({"password": PASSWORD, "auth": "login"}),
        json!({"password": PASSWORD, "auth": "cram-md5"}),
        json!({"token": Submission::token()}),
    ];
    for (n, more) in ways.into_iter().enumerate() {
        let o = ask(more.clone());
        assert_eq!(
            o.status,
            Status::Ok,
            "{more}: {}\n{}",
            o.message,
            dovecot.log()
        );
        until(
            || exim.inbox().matches("\nMessage-ID:").count() == n + 1,
            || format!("{}{}", dovecot.log(), exim.log()),
        );
    }
    for (more, why) in [
        (json!({"password": "wrong word"}), "AUTH: 535 "),
        (
            json!({"password": "wrong word", "auth": "cram-md5"}),
            "AUTH: 535 ",
        ),
        (json!({"token": "a.wrong.token"}), "AUTH: 535 "),
        (
            json!({"password": PASSWORD, "ca_file": Value::Null}),
            "tls: ",
        ),
        (json!({"user": Value::Null}), "MAIL FROM: 530 "),
    ] {
        let o = ask(more.clone());
        assert_eq!(o.status, Status::Critical, "{more}: {}", o.message);
        assert!(o.message.starts_with(why), "{more}: {}", o.message);
        assert!(
            !o.message.contains("wrong word") && !o.message.contains("wrong.token"),
            "{}",
            o.message
        );
    }
}

#[test]
fn what_a_login_is_made_of() {
    use crate::mail::auth::Login;
    use crate::mail::options::Options;
    use healthd_plugin::Options as _;
    for (options, good) in [
        (json!({"to": "a@b", "user": "ana", "password": "x"}), true),
        (
            json!({"to": "a@b", "user": "ana", "token": "x", "auth": "xoauth2"}),
            true,
        ),
        (json!({"to": "a@b", "auth": "plain"}), false),
        (
            json!({"to": "a@b", "user": "ana", "password": "x", "token": "y"}),
            false,
        ),
    ] {
        let options_read = Options::parse(options.to_string().as_bytes()).expect("options");
        assert_eq!(
            Login::new(&options_read).is_ok_and(|l| l.is_some()),
            good,
            "{options}"
        );
    }
}
