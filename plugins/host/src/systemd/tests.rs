//! Without a systemd. A real one is asked in tests/systemd/service.sh.

use super::bus::{Unit, escaped};
use super::wire::{self, Body, Call, Value};
use super::*;
use crate::tests::{check, create};
use healthd_plugin::serde_json::json;
use healthd_testing::{Folder, Process};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

#[test]
fn names_of_units_in_paths() {
    assert_eq!(escaped("dbus.service"), "dbus_2eservice");
    assert_eq!(escaped("0a-b.mount"), "_30a_2db_2emount");
    assert_eq!(
        escaped(r"dev-disk-by\x2dlabel-x.swap"),
        "dev_2ddisk_2dby_5cx2dlabel_2dx_2eswap"
    );
}

fn call(body: Body) -> Vec<u8> {
    let call = Call {
        destination: Some("a.b"),
        path: "/a",
        interface: "a.b.c",
        member: "Get",
        body,
    };
    call.message(7)
}

#[test]
fn messages_go_both_ways() {
    let message = call(
        Body::default()
            .texts(&["failed", "x"])
            .texts(&[])
            .text("end"),
    );
    let mut head = [0; wire::HEAD];
    head.copy_from_slice(&message[..wire::HEAD]);
    assert_eq!(wire::size(&head), Ok(message.len()));
    let read = wire::read(&message).unwrap();
    let text = |t: &str| Value::Text(t.into());
    assert_eq!(
        read.body,
        [
            Value::List(vec![text("failed"), text("x")]),
            Value::List(vec![]),
            text("end")
        ]
    );
    // Cut at each byte, and with each byte wrong: an answer or none, and no panic.
    for cut in 16..message.len() {
        let _ = wire::read(&message[..cut]);
        let mut wrong = message.clone();
        for value in [0, 1, 0x7f, 0xff] {
            wrong[cut] = value;
            let _ = wire::read(&wrong);
        }
    }
    head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(wire::size(&head).is_err());
    head[0] = b'B';
    assert!(wire::size(&head).is_err());
}

#[test]
fn depth_has_an_end() {
    // A variant in a variant in a variant...
    let mut message = call(Body::default().text("x"));
    let at = message.windows(2).position(|w| w == [1, b's']).unwrap();
    message.truncate(at);
    message.extend(std::iter::repeat_n([1, b'v', 0], 100_000).flatten());
    assert_eq!(wire::read(&message), None);
}

/// The properties of the unit, judged on a MockHost.
#[test]
fn a_unit_is_judged_once_whoever_names_it() {
    let mut names = [
        "b.service",
        "a.service",
        "b.service",
        "c.service",
        "a.service",
    ]
    .map(String::from)
    .to_vec();
    super::once_each(&mut names);
    assert_eq!(names, ["b.service", "a.service", "c.service"]);
}

#[test]
fn states_of_units() {
    let text = |t: &str| Value::Text(t.into());
    let unit = Unit::of(vec![
        ("LoadState", text("loaded")),
        ("NRestarts", Value::Number(3)),
        ("MemoryCurrent", Value::Number(u64::MAX)),
    ]);
    assert_eq!(unit.text("LoadState"), "loaded");
    assert_eq!(
        (unit.number("NRestarts"), unit.number("MemoryCurrent")),
        (Some(3), None)
    );
    assert_eq!(
        (
            unit.number_or_zero("MemoryCurrent"),
            unit.number_or_zero("x")
        ),
        (Some(0), None)
    );
}

#[test]
fn no_bus_a_mute_one_and_garbage_are_unknown() {
    let folder = Folder::new();
    let path = folder.file("bus");
    let judge = |timeout: Duration| {
        let it = create("systemd", &json!({"units": ["x"], "socket": path})).unwrap();
        let o = it.run(timeout);
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        o.message
    };
    assert!(judge(crate::tests::LONG).ends_with("no such file or directory"));
    let listener = UnixListener::bind(&path).unwrap();
    let said = judge(Duration::from_millis(200));
    assert!(said.starts_with("systemd: no answer within "), "{said}");
    // That connection is over.
    drop(listener.accept().unwrap());
    for (answer, why) in [
        (&b"REJECTED EXTERNAL\r\n"[..], "refuses us: REJECTED"),
        (
            &b"OK 123\r\nB\x02\x00\x01aaaaaaaaaaaa"[..],
            "does not speak D-Bus",
        ),
        (&b"OK 123\r\n"[..], "it hung up"),
        (
            &b"OK 123\r\nl\x02\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff"[..],
            "too large",
        ),
        (&[b'x'; 10_000][..], "its greeting has no end"),
    ] {
        let server = listener.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = std::io::Write::write_all(&mut stream, answer);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let said = judge(crate::tests::LONG);
        answers.join().unwrap();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_bus_without_systemd() {
    let folder = Folder::new();
    // It knows of no services that it could start.
    let config = format!(
        "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context='default'><allow send_destination='*'/><allow receive_sender='*'/>\
         <allow own='*'/></policy></busconfig>",
        folder.file("bus").display()
    );
    let bus = Command::new("dbus-daemon")
        .args([
            "--nofork",
            "--nopidfile",
            "--print-address",
            "--config-file",
        ])
        .arg(folder.write("bus.conf", config))
        .stdout(Stdio::piped())
        .spawn();
    let Ok(bus) = bus else {
        eprintln!("skipped: dbus-daemon is missing (package dbus)");
        return;
    };
    let mut bus = Process(bus);
    let mut line = String::new();
    BufReader::new(bus.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let o = check(
        "systemd",
        json!({"units": ["x"], "socket": folder.file("bus")}),
    );
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(o.message.contains("org.freedesktop.DBus.Error."), "{o:?}");
}

#[test]
fn mistakes_in_the_options() {
    let error = |o| create("systemd", &o).err().unwrap();
    assert!(error(json!({"units": ["a/b"]})).contains("is no unit"));
    assert!(error(json!({"states": []})).starts_with("states"));
    assert!(error(json!({"states": ["up"]})).contains("none of active"));
}
