//! The plugin on MockHost against Debian's snmpd and against agents that say what it would not.

use super::ber::{Oid, response, response_pdu};
use super::v3::{Engine, User};
use crate::ber::{Reader, SEQUENCE};
use crate::tests::{LONG, at, check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Folder, Server, program, until};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

fn ask(port: u16, more: &Value) -> Outcome {
    check("snmp", &at(port, more))
}

/// net-snmp's agent. Below `OURS` it answers with what stands in the file `value`: a type and a value.
fn snmpd() -> Option<Server> {
    snmpd_after(None)
}

/// The users of version 3, their way to sign and to encrypt.
const USERS: [(&str, &str, &str); 10] = [
    ("plain", "", ""),
    ("signed", "MD5", ""),
    ("signed512", "SHA-512", ""),
    ("des", "MD5", "DES"),
    ("aes", "SHA", "AES"),
    ("aes192", "SHA-224", "AES-192"),
    ("aes256", "SHA-256", "AES-256"),
    ("long", "MD5", "AES-256"),
    ("cisco192", "MD5", "AES-192-C"),
    ("cisco256", "SHA", "AES-256-C"),
];
const AUTH_PASSWORD: &str = "signs all of it";
const PRIV_PASSWORD: &str = "hides all of it";

/// One that goes on where one before it ended, with what that one kept.
fn snmpd_after(before: Option<&Path>) -> Option<Server> {
    let snmpd = program("snmpd", "snmpd")?;
    let users: String = USERS
        .iter()
        .map(|(name, auth, cipher)| {
            let auth = match *auth {
                "" => String::new(),
                auth => format!(" {auth} \"{AUTH_PASSWORD}\""),
            };
            let (cipher, level) = match *cipher {
                "" if auth.is_empty() => (String::new(), "noauth"),
                "" => (String::new(), "auth"),
                cipher => (format!(" {cipher} \"{PRIV_PASSWORD}\""), "priv"),
            };
            format!("createUser {name}{auth}{cipher}\nrouser {name} {level}\n")
        })
        .collect();
    let server = Server::start(
        |folder, port| {
            let value = folder.write("value", "integer\n5\n");
            let script = folder.write(
                "pass",
                format!(
                    "while read -r what; do\n case $what in\n PING) echo PONG ;;\n \
                     get) read -r oid; echo \"$oid\"; cat {} ;;\n *) echo NONE ;;\n esac\ndone\n",
                    value.display()
                ),
            );
            let conf = format!(
                "rocommunity public 127.0.0.1\nview narrow included .1.3.6.1.2.1.1.5\n\
                 rocommunity narrow 127.0.0.1 -V narrow\nsysName box\nsysDescr a \"box\"\npass_persist .{OURS} /bin/sh {}\n{users}",
                script.display()
            );
            let conf = folder.write("snmpd.conf", conf);
            let mut command = Command::new(&snmpd);
            let state = before.map_or_else(|| folder.file("state"), Path::to_owned);
            command.env("SNMP_PERSISTENT_DIR", state);
            command
                .args(["-f", "-Lo", "-C", "-I", "-smux", "-c"])
                .arg(conf);
            command.arg(format!("udp:127.0.0.1:{port}"));
            command
        },
        |folder, _| {
            let log = std::fs::read_to_string(folder.file("log"));
            log.is_ok_and(|log| log.contains("NET-SNMP version"))
        },
    );
    until(
        || ask(server.port, &json!({})).status == Status::Ok,
        || server.log(),
    );
    Some(server)
}

const OURS: &str = "1.3.6.1.4.1.8072.9999.9999";
const SYS_NAME: &str = "1.3.6.1.2.1.1.5.0";

#[test]
fn the_page_has_all_options() {
    plugin("snmp").assert_documented(include_str!("../../SNMP.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (
            json!({"oid": "sysUpTime.0"}),
            "\"sysUpTime.0\" is no OID; write its numbers (`snmptranslate -On NAME` knows them)",
        ),
        (
            json!({"warn": 5}),
            "rate, expect, matches, warn, crit: need `oid`",
        ),
        (
            json!({"user": "me"}),
            "user, auth_password, priv_password, context: need version = \"3\"",
        ),
        (json!({"version": "3"}), "user: version 3 needs one"),
        (
            json!({"version": "3", "user": "me", "community": "x"}),
            "community: not for version 3, which has `user`",
        ),
        (
            json!({"version": "3", "user": "me", "priv_password": "long enough"}),
            "priv_password: needs `auth_password`",
        ),
        (
            json!({"version": "3", "user": "me", "auth_password": "short"}),
            "auth_password: shorter than 8 characters",
        ),
        (
            json!({"oid": "1.3.6", "rate": true, "expect": 5}),
            "expect, matches: the limits of a rate are `warn` and `crit`",
        ),
    ] {
        assert_eq!(refused("snmp", &at(161, &more)), text);
    }
    let text = refused("snmp", &at(161, &json!({"oid": "1.3.6", "matches": "("})));
    assert!(text.starts_with("matches: "), "{text}");
}

#[test]
fn an_agent_and_its_values() {
    let Some(snmpd) = snmpd() else {
        return;
    };
    for version in ["1", "2c"] {
        let o = ask(snmpd.port, &json!({"version": version}));
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert!(
            o.message.starts_with("the agent is up for "),
            "{}",
            o.message
        );
        assert_eq!(
            (
                o.metric("uptime").unit.as_str(),
                o.metric("query").unit.as_str()
            ),
            ("s", "s")
        );
        let missing = |text: &str| match version {
            "1" => "the agent says noSuchName".to_owned(),
            _ => format!("{text} at this agent"),
        };
        for (more, status, text) in [
            (
                json!({"oid": SYS_NAME}),
                Status::Ok,
                "value is \"box\"".to_owned(),
            ),
            (
                json!({"oid": SYS_NAME, "label": "name", "expect": "box"}),
                Status::Ok,
                "name is \"box\"".to_owned(),
            ),
            (
                json!({"oid": SYS_NAME, "expect": "bag"}),
                Status::Critical,
                "value is \"box\", expected \"bag\"".to_owned(),
            ),
            (
                json!({"oid": SYS_NAME, "matches": "^b.x$"}),
                Status::Ok,
                "value is \"box\"".to_owned(),
            ),
            (
                json!({"oid": SYS_NAME, "matches": "^x"}),
                Status::Critical,
                "value is \"box\", which does not match ^x; value is \"box\"".to_owned(),
            ),
            (
                json!({"oid": SYS_NAME, "warn": 5}),
                Status::Unknown,
                "value is \"box\", which has no place on a threshold: it is no number".to_owned(),
            ),
            (
                json!({"oid": format!("{OURS}.1"), "warn": 10}),
                Status::Ok,
                "value is 5".to_owned(),
            ),
            (
                json!({"oid": format!("{OURS}.1"), "scale": 0.5, "warn": 10}),
                Status::Ok,
                "value is 2.5".to_owned(),
            ),
            (
                json!({"oid": format!("{OURS}.1"), "warn": 2, "crit": 4}),
                Status::Critical,
                "value is 5, outside of 4".to_owned(),
            ),
            (
                json!({"oid": format!("{OURS}.1"), "rate": true}),
                Status::Unknown,
                "value is \"5\", which is no counter".to_owned(),
            ),
            (
                json!({"oid": "1.3.6.1.2.1.1.99.0"}),
                Status::Unknown,
                format!("1.3.6.1.2.1.1.99.0: {}", missing("no such object")),
            ),
            (
                json!({"oid": "1.3.6.1.2.1.1.5.7"}),
                Status::Unknown,
                format!("1.3.6.1.2.1.1.5.7: {}", missing("no such instance")),
            ),
        ] {
            let mut more = more;
            more["version"] = version.into();
            let o = ask(snmpd.port, &more);
            assert_eq!(told(&o), (status, text.as_str()), "{more}");
        }
        // A view in which the time since the start is not.
        let o = ask(
            snmpd.port,
            &json!({"version": version, "community": "narrow", "oid": SYS_NAME}),
        );
        assert_eq!(told(&o), (Status::Ok, "value is \"box\""));
    }
    let also = json!({"oid": SYS_NAME, "also": {"mtu": "1.3.6.1.2.1.2.2.1.4.1", "received": "1.3.6.1.2.1.31.1.1.1.6.1"}});
    let o = ask(snmpd.port, &also);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.metric("mtu").value > 0.0 && o.metric("received").value > 0.0);
    let o = check_for(
        "snmp",
        &at(snmpd.port, &json!({"community": "wrong"})),
        Duration::from_secs(3),
    );
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message
            .ends_with(" questions (a wrong community is not answered either)"),
        "{}",
        o.message
    );
}

/// The options of one of `USERS`.
fn as_user(name: &str) -> Value {
    let (_, auth, cipher) = USERS.iter().find(|(n, ..)| *n == name).unwrap();
    let mut options = json!({"version": "3", "user": name, "oid": SYS_NAME});
    let word = |s: &str| s.to_lowercase().replace("-c", "c").replace('-', "");
    if !auth.is_empty() {
        options["auth_protocol"] = word(auth).into();
        options["auth_password"] = AUTH_PASSWORD.into();
    }
    if !cipher.is_empty() {
        options["priv_protocol"] = word(cipher).into();
        options["priv_password"] = PRIV_PASSWORD.into();
    }
    options
}

#[test]
fn users_of_version_3() {
    let Some(snmpd) = snmpd() else {
        return;
    };
    for (name, ..) in USERS {
        let options = at(snmpd.port, &as_user(name));
        let check = plugin("snmp").create(options.to_string()).unwrap();
        // The first run asks who the agent is; the second one knows.
        for _ in 0..2 {
            let o = check.run(LONG);
            let good = (Status::Ok, "value is \"box\"");
            assert_eq!(told(&o), good, "{name}: {}", snmpd.log());
        }
    }
    let refused = |text: &str| (Status::Unknown, format!("the agent refuses: {text}"));
    for (name, more, wanted) in [
        (
            "plain",
            json!({"user": "nobody"}),
            refused("it does not know this user"),
        ),
        (
            "aes",
            json!({"auth_password": "something else"}),
            refused("the signature is wrong: another auth_password or auth_protocol"),
        ),
        (
            "aes",
            json!({"auth_protocol": "md5"}),
            refused("the signature is wrong: another auth_password or auth_protocol"),
        ),
        (
            "signed",
            json!({"priv_password": "of no use here"}),
            refused(
                "it does not take questions of this security level (auth_password, priv_password)",
            ),
        ),
        // Known, and without a right to anything at this level.
        (
            "aes",
            json!({"priv_password": null}),
            (
                Status::Unknown,
                "the agent says authorizationError".to_owned(),
            ),
        ),
        (
            "aes",
            json!({"oid": "1.3.6.1.2.1.1.99.0"}),
            (
                Status::Unknown,
                "1.3.6.1.2.1.1.99.0: no such object at this agent".to_owned(),
            ),
        ),
    ] {
        let mut options = as_user(name);
        for (key, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(options.as_object_mut().unwrap().remove(key)),
                value => options[key] = value.clone(),
            }
        }
        let o = ask(snmpd.port, &options);
        assert_eq!((o.status, o.message), wanted, "{name} {more}");
    }
    // It cannot read the question: some agents say so, net-snmp's says nothing.
    let mut options = at(snmpd.port, &as_user("aes"));
    options["priv_password"] = "something else".into();
    let o = check_for("snmp", &options, Duration::from_secs(3));
    let said = ["the agent refuses: it cannot decrypt: ", "no answer to "];
    assert!(said.iter().any(|s| o.message.starts_with(s)), "{o:?}");
    assert_ne!(o.status, Status::Ok);
}

/// Hands datagrams to the agent on the port that stands there now, and its answers back.
struct Relay {
    port: u16,
    to: Arc<AtomicU16>,
}

impl Relay {
    fn new(to: u16) -> Relay {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = front.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(to));
        let agent = to.clone();
        // Until the test's process ends: it holds no more than two sockets.
        std::thread::spawn(move || {
            let back = UdpSocket::bind("127.0.0.1:0").unwrap();
            // An agent that is gone answers nothing; the question comes again.
            back.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut buffer = [0; 4096];
            while let Ok((n, from)) = front.recv_from(&mut buffer) {
                back.send_to(&buffer[..n], ("127.0.0.1", agent.load(SeqCst)))
                    .unwrap();
                let Ok(n) = back.recv(&mut buffer) else {
                    continue;
                };
                front.send_to(&buffer[..n], from).unwrap();
            }
        });
        Relay { port, to }
    }
}

#[test]
fn an_agent_of_version_3_that_began_anew_and_another_in_its_place() {
    let Some(first) = snmpd() else {
        return;
    };
    let relay = Relay::new(first.port);
    let checks: Vec<_> = ["plain", "signed", "aes"]
        .map(|name| at(relay.port, &as_user(name)))
        .map(|options| plugin("snmp").create(options.to_string()).unwrap())
        .into();
    let all_are_well = |server: &Server| {
        for check in &checks {
            let o = check.run(LONG);
            assert_eq!(
                told(&o),
                (Status::Ok, "value is \"box\""),
                "{}",
                server.log()
            );
        }
    };
    all_are_well(&first);
    let kept = Folder::new();
    let state = first.folder().file("state");
    healthd_testing::run(Command::new("cp").arg("-r").arg(state).arg(kept.path()));
    drop(first);
    // The same engine, which counts that it began once more.
    let second = snmpd_after(Some(&kept.file("state"))).unwrap();
    relay.to.store(second.port, SeqCst);
    all_are_well(&second);
    drop(second);
    let third = snmpd().unwrap();
    relay.to.store(third.port, SeqCst);
    all_are_well(&third);
}

#[test]
fn what_an_agent_of_version_3_may_say() {
    const TIME: &str = "1.3.6.1.6.3.15.1.1.2.0";
    let options = json!({"version": "3", "user": "me", "oid": SYS_NAME});
    let nobody = User {
        name: "me".into(),
        context: String::new(),
        auth: None,
        privacy: None,
    };
    let engine = Engine::new(b"engine".to_vec(), &nobody);
    // Numbers with bytes like those of heads.
    for id in [1, 0x0102_A003, 0x2005_0202, 0x0203_0405, -2] {
        let asked = nobody.question(id, &engine, 0, &super::ber::get(id, &[]));
        assert_eq!(number_of(&asked), id);
    }
    // In the envelope of our own questions, which is that of answers too.
    let saying = |what: fn(i32) -> Vec<u8>| {
        let (nobody, engine) = (nobody.clone(), engine.clone());
        answering(&options, 1, move |id, _| {
            nobody.question(id, &engine, 0, &what(id))
        })
        .remove(0)
    };
    for (what, status, text) in [
        (
            (|id| super::ber::report(id, TIME)) as fn(i32) -> Vec<u8>,
            Status::Critical,
            "the agent goes on to say: it is of another time than it said",
        ),
        (
            |id| super::ber::report(id, "1.3.6.1.6.3.15.1.1.4.0"),
            Status::Critical,
            "the agent goes on to say: it is another one than it said",
        ),
        (
            |id| super::ber::report(id, "1.3.6.1.9"),
            Status::Unknown,
            "the agent refuses: it reports 1.3.6.1.9",
        ),
        (
            |id| response_pdu(id, SYS_NAME),
            Status::Critical,
            "the answer is broken: it is one to another question",
        ),
        (
            |_| b"\x30\x80".to_vec(),
            Status::Critical,
            "the answer is broken: it has an indefinite length, which this protocol has not",
        ),
    ] {
        assert_eq!(saying(what), (status, text.to_owned()));
    }
    let old = answering(&options, 1, |id, _| response(id, 0, &[])).remove(0);
    let text = "the answer is broken: it is not of version 3 (1)";
    assert_eq!(old, (Status::Critical, text.to_owned()));
}

#[test]
fn rates_of_a_counter() {
    let Some(snmpd) = snmpd() else {
        return;
    };
    let set = |kind: &str, n: u64| snmpd.folder().write("value", format!("{kind}\n{n}\n"));
    let oid = format!("{OURS}.2");
    let options = at(
        snmpd.port,
        &json!({"oid": oid, "rate": true, "label": "in", "unit": "By", "crit": "1:"}),
    );
    let check = plugin("snmp").create(options.to_string()).unwrap();
    set("counter", 4_294_967_290);
    let o = check.run(LONG);
    assert_eq!(told(&o), (Status::Ok, "in: no rate yet (the first look)"));
    let same = "in grows by 0.00 By/s, outside of 1:";
    assert_eq!(told(&check.run(LONG)), (Status::Critical, same));
    // Over the end of 32 bits.
    set("counter", 1_000_000);
    let o = check.run(LONG);
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.starts_with("in grows by "), "{}", o.message);
    assert!(o.metric("in").value > 0.0);
    assert_eq!(o.metric("in").unit, "By/s");
    set("counter", 7);
    let anew = "in: no rate yet (the counter began anew)";
    assert_eq!(told(&check.run(LONG)), (Status::Ok, anew));
}

/// The outcome of so many runs if an agent answers each question with what this makes of its number and of the OIDs.
fn answering(
    more: &Value,
    runs: usize,
    answer: impl Fn(i32, usize) -> Vec<u8> + Send + 'static,
) -> Vec<(Status, String)> {
    let agent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = agent.local_addr().unwrap().port();
    let check = plugin("snmp").create(at(port, more).to_string()).unwrap();
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        for n in 0.. {
            let (size, from) = agent.recv_from(&mut buffer).unwrap();
            if size == 0 {
                return;
            }
            agent
                .send_to(&answer(number_of(&buffer[..size]), n), from)
                .unwrap();
        }
    });
    let outcomes = (0..runs)
        .map(|_| check.run(LONG))
        .map(|o| (o.status, o.message))
        .collect();
    let end = UdpSocket::bind("127.0.0.1:0").unwrap();
    end.send_to(&[], ("127.0.0.1", port)).unwrap();
    thread.join().unwrap();
    outcomes
}

/// The number of a question. It is any, so that no bytes of it may be taken for a mark.
fn number_of(question: &[u8]) -> i32 {
    let mut message = Reader(Reader(question).want(SEQUENCE).unwrap());
    let version = message.integer().unwrap();
    // Of version 3 the envelope has it too; before, a community stands in front of the GET.
    let (_, community_or_head) = message.next().unwrap();
    let mut numbered = match version {
        3 => Reader(community_or_head),
        _ => Reader(message.next().unwrap().1),
    };
    i32::try_from(numbered.integer().unwrap()).unwrap()
}

#[test]
fn what_an_agent_may_answer() {
    let oid = |text: &str| Oid::parse(text).unwrap();
    let uptime = move |n: u8| (oid("1.3.6.1.2.1.1.3.0"), vec![0x43, 1, n]);
    let one = json!({});
    let text =
        |answer: Box<dyn Fn(i32, usize) -> Vec<u8> + Send>| answering(&one, 1, answer).remove(0);
    for (answer, wanted) in [
        (
            Box::new(|_, _| b"\x30\x80\0\0".to_vec()) as Box<dyn Fn(i32, usize) -> Vec<u8> + Send>,
            "the answer is broken: it has an indefinite length, which this protocol has not",
        ),
        (
            Box::new(|_, _| b"HTTP/1.1 400".to_vec()),
            "the answer is broken: it is cut short",
        ),
        (
            Box::new(move |id, _| response(id, 0, &[(oid("1.3.6"), vec![2, 1, 5])])),
            "the answer is broken: it is about other values",
        ),
        (
            Box::new(move |id, _| {
                response(
                    id,
                    0,
                    &[(
                        oid("1.3.6.1.2.1.1.3.0"),
                        vec![2, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                    )],
                )
            }),
            "the answer is broken: it has a number of 9 bytes",
        ),
        (
            Box::new(move |id, _| response(id, 5, &[uptime(1)])),
            "1.3.6.1.2.1.1.3.0: the agent says genErr",
        ),
    ] {
        assert_eq!(text(answer), (Status::Critical, wanted.to_owned()));
    }
    // An answer to another question is none; the next one, to the question that is asked again, is.
    let late = answering(&one, 1, move |id, n| {
        response(id - i32::from(n == 0), 0, &[uptime(100)])
    });
    assert_eq!(late, [(Status::Ok, "the agent is up for 1 s".to_owned())]);
}

#[test]
fn an_agent_that_began_anew() {
    let oid = |text: &str| Oid::parse(text).unwrap();
    let options = json!({"oid": "1.3.6.1.5", "rate": true});
    let runs = answering(&options, 3, move |id, n| {
        let counter = (oid("1.3.6.1.5"), vec![0x46, 1, 10 * n as u8]);
        let uptime = (oid("1.3.6.1.2.1.1.3.0"), vec![0x43, 1, [50, 60, 5][n]]);
        response(id, 0, &[counter, uptime])
    });
    assert_eq!(runs[0].1, "value: no rate yet (the first look)");
    assert!(runs[1].1.starts_with("value grows by "), "{}", runs[1].1);
    // The counter is larger than before, and yet of another life.
    assert_eq!(runs[2].1, "value: no rate yet (the first look)");
}
