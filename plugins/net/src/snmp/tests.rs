//! The plugin on MockHost against Debian's snmpd and against agents that say what it would not.

use super::ber::{Oid, response};
use crate::tests::{LONG, at, check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Server, program, until};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

fn ask(port: u16, more: &Value) -> Outcome {
    check("snmp", &at(port, more))
}

/// net-snmp's agent. Below `OURS` it answers with what stands in the file `value`: a type and a value.
fn snmpd() -> Option<Server> {
    let snmpd = program("snmpd", "snmpd")?;
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
                 rocommunity narrow 127.0.0.1 -V narrow\nsysName box\nsysDescr a \"box\"\npass_persist .{OURS} /bin/sh {}\n",
                script.display()
            );
            let conf = folder.write("snmpd.conf", conf);
            let mut command = Command::new(&snmpd);
            command.env("SNMP_PERSISTENT_DIR", folder.file("state"));
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

/// The number of a question: behind the GET's head.
fn number_of(question: &[u8]) -> i32 {
    let at = question.iter().position(|b| *b == 0xA0).unwrap() + 2;
    let size = usize::from(question[at + 1]);
    question[at + 2..at + 2 + size]
        .iter()
        .fold(0, |n, b| n << 8 | i32::from(*b))
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
