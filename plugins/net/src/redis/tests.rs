//! The plugin on MockHost against Debian's Redis and against peers that say what it would not.

use crate::tests::{assert_waits_for_room, at, check, check_for, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, free_port, program, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// Debian's server with these arguments, once it answers.
fn redis(arguments: &[&str]) -> Option<Server> {
    let redis = program("redis-server", "redis-server")?;
    Some(Server::start(
        |folder, port| {
            let mut command = Command::new(&redis);
            command.args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
                &port.to_string(),
                "--dir",
            ]);
            command
                .arg(folder.path())
                .arg("--unixsocket")
                .arg(folder.file("redis.sock"));
            command.args(arguments);
            command
        },
        |folder, _| {
            let log = std::fs::read_to_string(folder.file("log"));
            log.is_ok_and(|log| log.contains("eady to accept connections"))
        },
    ))
}

fn ask(port: u16, more: &Value) -> Outcome {
    check("redis", &at(port, more))
}

/// Sends inline commands and waits for an answer to each.
fn tell(port: u16, commands: &[&str]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for command in commands {
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
}

#[test]
fn the_page_has_all_options() {
    plugin("redis").assert_documented(include_str!("../../REDIS.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"user": "x"}), "user: needs `password`"),
        (json!({"expect": "x"}), "expect, warn, crit: need `command`"),
        (json!({"db": 1}), "db: needs `command`"),
    ] {
        assert_eq!(refused("redis", &options), text);
    }
}

#[test]
fn a_server_that_is_well() {
    let Some(redis) = redis(&["--maxmemory", "100mb"]) else {
        return;
    };
    let o = ask(redis.port, &json!({"role": "master"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert!(o.message.starts_with("master, version "), "{}", o.message);
    assert_eq!(
        (
            o.metric("memory").unit.as_str(),
            o.metric("latency").unit.as_str()
        ),
        ("By", "s")
    );
    assert!(o.metric("memory_used").value < 10.0 && o.metric("clients").value >= 1.0);
    let socket = redis.folder().file("redis.sock");
    let o = ask(1, &json!({"socket": socket}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    tell(redis.port, &["RPUSH jobs a b c", "SET word one"]);
    tell(redis.port, &["SELECT 3", "RPUSH other x y"]);
    for (more, status) in [
        (
            json!({"command": ["LLEN", "jobs"], "warn": 5, "crit": 10}),
            Status::Ok,
        ),
        (
            json!({"command": ["LLEN", "jobs"], "warn": 2, "crit": 10}),
            Status::Warn,
        ),
        (
            json!({"command": ["LLEN", "jobs"], "warn": 1, "crit": 2}),
            Status::Critical,
        ),
        (
            json!({"command": ["GET", "word"], "expect": "one"}),
            Status::Ok,
        ),
        (
            json!({"command": ["GET", "word"], "expect": "two"}),
            Status::Critical,
        ),
        (
            json!({"command": ["GET", "nothing"], "crit": 1}),
            Status::Unknown,
        ),
        (
            json!({"command": ["LRANGE", "jobs", "0", "-1"], "expect": "a b c"}),
            Status::Ok,
        ),
        (
            json!({"db": 3, "command": ["LLEN", "other"], "expect": 2}),
            Status::Ok,
        ),
        (
            json!({"command": ["LLEN", "other"], "expect": 2}),
            Status::Critical,
        ),
        (
            json!({"db": 99, "command": ["LLEN", "other"]}),
            Status::Critical,
        ),
        (json!({"command": ["NONSENSE"]}), Status::Critical),
        (json!({"role": "replica"}), Status::Critical),
        (json!({"replicas_min": 1}), Status::Critical),
        (json!({"memory_warn": "0%"}), Status::Warn),
        (json!({"latency_crit": "0s"}), Status::Critical),
    ] {
        let o = ask(redis.port, &more);
        assert_eq!(o.status, status, "{more}: {}", o.message);
    }
}

#[test]
fn passwords_and_tls() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let tls = free_port("127.0.0.1");
    let (pem, key) = (certs.certificate(), certs.key());
    let arguments = [
        "--requirepass",
        "s3cret",
        "--tls-port",
        &tls.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        pem.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
    ];
    let Some(redis) = redis(&arguments) else {
        return;
    };
    let o = ask(redis.port, &json!({}));
    let text = "the server wants a password; see the option password";
    assert_eq!(told(&o), (Status::Unknown, text));
    let o = ask(redis.port, &json!({"password": "wrong"}));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.starts_with("auth: WRONGPASS"), "{}", o.message);
    assert_eq!(
        ask(redis.port, &json!({"password": "s3cret"})).status,
        Status::Ok
    );
    assert_eq!(
        ask(
            redis.port,
            &json!({"user": "default", "password": "s3cret"})
        )
        .status,
        Status::Ok
    );
    let over_tls = json!({"password": "s3cret", "tls": true, "ca_file": certs.ca()});
    let o = ask(tls, &over_tls);
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, redis.log());
    // Where nobody speaks TLS, the server waits for more of a command.
    let mut options = over_tls.clone();
    (options["host"], options["port"]) = ("127.0.0.1".into(), redis.port.into());
    let o = check_for("redis", &options, Duration::from_secs(2));
    assert_eq!(
        told(&o),
        (Status::Critical, "timeout after 2s in phase tls")
    );
}

#[test]
fn a_replica_and_one_that_lost_its_primary() {
    let Some(primary) = redis(&[]) else {
        return;
    };
    let of = format!("127.0.0.1 {}", primary.port);
    let Some(replica) = redis(&["--replicaof", &of, "--repl-diskless-sync-delay", "0"]) else {
        return;
    };
    // It follows once both have said that the first copy is done: the primary counts it only then.
    until(
        || replica.log().contains("Finished with success"),
        || replica.log(),
    );
    until(|| primary.log().contains(" succeeded\n"), || primary.log());
    let o = ask(replica.port, &json!({"role": "replica", "lag_crit": "30s"}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.metric("lag").unit, "s");
    let o = ask(primary.port, &json!({"replicas_min": 1}));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    assert_eq!(o.metric("replicas").value, 1.0);
    drop(primary);
    until(
        || replica.log().contains("Connection with master lost"),
        || replica.log(),
    );
    let o = ask(replica.port, &json!({}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    assert!(
        o.message.starts_with("the link to its primary is down; "),
        "{}",
        o.message
    );
    tell(replica.port, &["CONFIG SET replica-serve-stale-data no"]);
    let o = ask(replica.port, &json!({"command": ["GET", "x"]}));
    let text = "the link to its primary is down, and it answers nothing meanwhile";
    assert_eq!(told(&o), (Status::Critical, text));
}

/// The outcome if the server says this to the first command.
fn saying(said: &[u8]) -> (Status, String) {
    let peer = Peer::answering(said);
    let o = ask(peer.addr.port(), &json!({}));
    (o.status, o.message)
}

#[test]
fn what_a_server_may_say_instead_of_pong() {
    for (said, status, text) in [
        (
            &b"-LOADING Redis is loading the dataset in memory\r\n"[..],
            Status::Critical,
            "it is loading its data",
        ),
        (
            b"-NOAUTH Authentication required.\r\n",
            Status::Unknown,
            "the server wants a password; see the option password",
        ),
        (
            b"-MASTERDOWN Link with MASTER is down\r\n",
            Status::Critical,
            "the link to its primary is down, and it answers nothing meanwhile",
        ),
        (
            b"-ERR max number of clients reached\r\n",
            Status::Critical,
            "ping: ERR max number of clients reached",
        ),
        (
            b"$1000000000\r\n",
            Status::Critical,
            "ping: an answer of 1000000000 bytes",
        ),
        (b"$-7\r\n", Status::Critical, "ping: an answer of -7 bytes"),
        (
            b"$10\r\nPO",
            Status::Critical,
            "ping: connection closed in the middle of a message",
        ),
        (
            b"+PO",
            Status::Critical,
            "ping: connection closed in the middle of a line",
        ),
        (b"", Status::Critical, "ping: connection closed"),
        (
            b"*1000000000\r\n",
            Status::Critical,
            "ping: a list of 1000000000 values, 1 deep",
        ),
        (
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            Status::Critical,
            "ping: a list of 1 values, 9 deep",
        ),
        (
            b"*2\r\n:1\r\n*1\r\n$-1\r\n",
            Status::Critical,
            "ping: 1 nothing",
        ),
        (
            b":x\r\n",
            Status::Critical,
            "ping: \":x\" is nothing that Redis says",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            Status::Critical,
            "ping: \"HTTP/1.1 400 Bad Request\" is nothing that Redis says",
        ),
        (
            b"\xc3\xa4\r\n",
            Status::Critical,
            "ping: \"\u{e4}\" is nothing that Redis says",
        ),
    ] {
        assert_eq!(saying(said), (status, text.into()));
    }
}

#[test]
fn texts_have_a_bound_together() {
    let text = format!("$1000000\r\n{}\r\n", "x".repeat(1_000_000));
    let said = format!("*9\r\n{}", text.repeat(9));
    let why = "ping: an answer of more than 2 MiB";
    assert_eq!(saying(said.as_bytes()), (Status::Critical, why.into()));
}

#[test]
fn long_texts_wait_for_their_room() {
    let info = format!("$100000\r\nrole:master\r\n{}\r\n", "x".repeat(99_987));
    let peer = Peer::saying(&["", "+PONG\r\n", &info]);
    assert_waits_for_room(|| ask(peer.addr.port(), &json!({})));
}

#[test]
fn what_info_may_tell() {
    let info = |text: &'static str| {
        let peer = Peer::new(move |mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"+PONG\r\n");
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let o = ask(peer.addr.port(), &json!({}));
        (o.status, o.message)
    };
    let (status, text) = info("role:master\r\nused_memory:99\r\nmaxmemory:100\r\n");
    assert_eq!(
        (status, text.split(';').next().unwrap()),
        (Status::Critical, "99.0 % of maxmemory in use, above 98 %")
    );
    for (text, said) in [
        (
            "role:master\r\nrdb_last_bgsave_status:err\r\n",
            "the last RDB snapshot failed",
        ),
        (
            "role:master\r\naof_last_write_status:err\r\n",
            "the last write to the AOF failed",
        ),
    ] {
        let (status, text) = info(text);
        assert_eq!(
            (status, text.split(';').next().unwrap()),
            (Status::Warn, said)
        );
    }
    let (status, text) = info("role:master\r\nloading:1\r\n");
    assert_eq!(
        (status, text.split(';').next().unwrap()),
        (Status::Critical, "it is loading its data")
    );
    assert_eq!(info("").0, Status::Ok);
}
