//! The plugin on MockHost against Debian's mosquitto and against peers that say what it would not.

use crate::tests::{assert_waits_for_room, at, check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, accepts, free_port, program, run};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

fn ask(port: u16, more: &Value) -> Outcome {
    check("mqtt", &at(port, more))
}

#[test]
fn the_page_has_all_options() {
    plugin("mqtt").assert_documented(include_str!("../../MQTT.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"password": "x"}), "password: needs `user`"),
        (json!({"topic": "a/#"}), "topic: one topic, without + and #"),
        (json!({"warn": 5}), "expect, warn, crit: need `retained`"),
    ] {
        assert_eq!(refused("mqtt", &options), text);
    }
}

#[test]
fn mosquitto_and_its_messages() {
    let (Some(mosquitto), Some(passwd)) = (
        program("mosquitto", "mosquitto"),
        program("mosquitto_passwd", "mosquitto"),
    ) else {
        return;
    };
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let [secure, open] = [(); 2].map(|()| free_port("127.0.0.1"));
    let server = Server::start(
        |folder, port| {
            let users = folder.file("users");
            run(Command::new(&passwd)
                .args(["-b", "-c"])
                .arg(&users)
                .args(["health", "s3cret"]));
            let acl = folder.write(
                "acl",
                "user health\ntopic readwrite healthd/echo\ntopic readwrite house/#\n",
            );
            let conf = format!(
                "user root\nper_listener_settings true\nlistener {port} 127.0.0.1\npassword_file {0}\nacl_file {1}\n\
                 listener {secure} 127.0.0.1\npassword_file {0}\nacl_file {1}\ncertfile {2}\nkeyfile {3}\n\
                 listener {open} 127.0.0.1\nallow_anonymous true\n",
                users.display(),
                acl.display(),
                certs.certificate().display(),
                certs.key().display(),
            );
            let mut command = Command::new(&mosquitto);
            command.arg("-c").arg(folder.write("mosquitto.conf", conf));
            command
        },
        |_, port| accepts(port) && accepts(secure) && accepts(open),
    );
    // A message that is kept.
    let mut stream = TcpStream::connect(("127.0.0.1", open)).unwrap();
    stream
        .write_all(&super::packet::connect("sensor", None, None))
        .unwrap();
    let mut kept = super::packet::publish("house/cellar", b"21.5");
    kept[0] |= 1;
    stream.write_all(&kept).unwrap();
    let user = |more: &Value| {
        let mut options = json!({"user": "health", "password": "s3cret"});
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        options
    };
    let cellar = user(&json!({"retained": "house/cellar"}));
    healthd_testing::until(
        || ask(server.port, &cellar).status == Status::Ok,
        || server.log(),
    );
    for (port, options, status, begin) in [
        (open, json!({}), Status::Ok, "logged in"),
        (
            open,
            json!({"topic": "any/thing"}),
            Status::Ok,
            "logged in, a message came back after ",
        ),
        (
            server.port,
            user(&json!({"topic": "healthd/echo"})),
            Status::Ok,
            "logged in, a message came back after ",
        ),
        (
            secure,
            user(&json!({"topic": "healthd/echo", "tls": true, "ca_file": certs.ca()})),
            Status::Ok,
            "logged in, a message came back after ",
        ),
        (
            server.port,
            user(&json!({"retained": "house/cellar", "warn": 30})),
            Status::Ok,
            "house/cellar is 21.5; logged in",
        ),
        (
            server.port,
            user(&json!({"retained": "house/cellar", "warn": 20})),
            Status::Warn,
            "house/cellar is 21.5, outside of 20; logged in",
        ),
        (
            server.port,
            user(&json!({"retained": "house/cellar", "expect": "22"})),
            Status::Critical,
            "house/cellar is 21.5, expected ",
        ),
        (
            server.port,
            user(&json!({"retained": "house/cellar", "topic": "healthd/echo"})),
            Status::Ok,
            "house/cellar is 21.5; logged in, a message",
        ),
        (
            server.port,
            json!({}),
            Status::Critical,
            "login: the broker refuses: ",
        ),
        (
            server.port,
            user(&json!({"password": "x"})),
            Status::Critical,
            "login: the broker refuses: ",
        ),
        (
            open,
            json!({"tls": true, "insecure": true}),
            Status::Critical,
            "tls: ",
        ),
    ] {
        let o = ask(port, &options);
        assert_eq!(
            o.status,
            status,
            "{options}: {}: {}",
            o.message,
            server.log()
        );
        assert!(o.message.starts_with(begin), "{options}: {}", o.message);
    }
    let nothing = at(server.port, &user(&json!({"retained": "house/attic"})));
    let o = check_for("mqtt", &nothing, Duration::from_secs(3));
    assert_eq!(
        told(&o),
        (
            Status::Critical,
            "no message is kept of house/attic; logged in"
        )
    );
}

#[test]
fn what_a_broker_may_say() {
    let login = b"\x20\x02\0\0".to_vec();
    let echo = json!({"topic": "a"});
    for (more, said, status, text) in [
        (
            &json!({}),
            vec![vec![]],
            Status::Critical,
            "login: connection closed",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
            Status::Critical,
            "login: connection closed in the middle of a message",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\xff\xff\xff\x7f".to_vec()],
            Status::Critical,
            "login: it sends a packet of 268435455 bytes",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\xff\xff\xff\xff".to_vec()],
            Status::Critical,
            "login: it sends a packet whose length has no end",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\x01\0".to_vec()],
            Status::Critical,
            "login: it answers a login with something else",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\x02\0\x01".to_vec()],
            Status::Unknown,
            "login: the broker does not speak MQTT 3.1.1",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\x02\0\x03".to_vec()],
            Status::Critical,
            "login: the broker refuses: it is not available",
        ),
        (
            &json!({}),
            vec![b"".to_vec(), b"\x20\x02\0\x09".to_vec()],
            Status::Critical,
            "login: the broker refuses with code 9",
        ),
        (
            &echo,
            vec![b"".to_vec(), login.clone(), b"\x90\x03\0\x01\x80".to_vec()],
            Status::Unknown,
            "echo: this user may not read a",
        ),
        (
            &echo,
            vec![b"".to_vec(), login.clone(), b"\x90\x03\0\x07\0".to_vec()],
            Status::Critical,
            "echo: it answers another request",
        ),
        (
            &echo,
            vec![
                b"".to_vec(),
                login.clone(),
                b"\x90\x03\0\x01\0\x30\x04\0\x01ax".to_vec(),
            ],
            Status::Critical,
            "echo: connection closed",
        ),
    ] {
        let peer = Peer::saying(&said);
        assert_eq!(told(&ask(peer.addr.port(), more)), (status, text));
    }
}

#[test]
fn long_messages_wait_for_their_room() {
    let message = [&[0, 1, b'a'][..], &[b'x'; 300_000]].concat();
    let kept = [&b"\x90\x03\0\x02\0\x31\xe3\xa7\x12"[..], &message].concat();
    let peer = Peer::saying(&[Vec::new(), b"\x20\x02\0\0".to_vec(), kept]);
    assert_waits_for_room(|| ask(peer.addr.port(), &json!({"retained": "a"})));
}
