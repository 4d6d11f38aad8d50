//! A real Alertmanager.

use crate::tests::{deliver, message, storm};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{self, Value, json};
use healthd_testing::{Server, program};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

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
