//! The plugin on MockHost against Debian's MariaDB and against peers that say what it would not.

use crate::tests::{assert_waits_for_room, check, plugin, refused, told, with};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{MariaDb, Peer, free_port, program, until};
use std::path::Path;

/// As a user without any rights, over TCP.
fn ask(port: u16, more: &Value) -> Outcome {
    let options =
        json!({"host": "127.0.0.1", "port": port, "user": "health", "password": "s3cret"});
    check("mysql", &with(options, more))
}

/// As root, over the socket.
fn ask_root(db: &MariaDb, more: &Value) -> Outcome {
    check(
        "mysql",
        &with(json!({"socket": db.socket(), "user": "root"}), more),
    )
}

const USERS: &str = "CREATE USER health@'%' IDENTIFIED BY 's3cret'; \
    CREATE USER secured@'%' IDENTIFIED BY 's3cret' REQUIRE SSL; \
    CREATE USER nobody@'%' IDENTIFIED VIA unix_socket; \
    CREATE DATABASE shop; CREATE TABLE shop.orders (id INT, note TEXT); INSERT INTO shop.orders VALUES (1, NULL), (2, 'x'); \
    GRANT SELECT ON shop.* TO health@'%'";

#[test]
fn the_page_has_all_options() {
    plugin("mysql").assert_documented(include_str!("../../MYSQL.md"));
}

#[test]
fn mistakes_in_options() {
    for (more, text) in [
        (
            json!({"insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (json!({"expect": "x"}), "expect, warn, crit: need `query`"),
        (
            json!({"galera_size_min": 3}),
            "galera_size_min: needs `galera = true`",
        ),
        (
            json!({"password": "a\u{0}b"}),
            "user, password, database: a NUL byte",
        ),
    ] {
        assert_eq!(refused("mysql", &with(json!({"user": "x"}), &more)), text);
    }
}

#[test]
fn mariadb_and_its_users() {
    let Some(db) = MariaDb::start(&["--max-connections=100"]) else {
        return;
    };
    db.sql(USERS);
    let o = ask(db.port(), &json!({}));
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, db.log());
    assert!(
        o.message.starts_with("version 10.") || o.message.starts_with("version 11."),
        "{}",
        o.message
    );
    assert!(o.message.ends_with(" of 100 connections"), "{}", o.message);
    assert!(o.metric("login").value <= o.metric("total").value);
    assert_eq!(o.metric("uptime").unit, "s");
    assert!(o.metric("connections_used").value >= 1.0);
    let tls = json!({"tls": true, "ca_file": db.certs.ca()});
    let secured = with(tls.clone(), &json!({"user": "secured"}));
    for (more, status, begin) in [
        (tls.clone(), Status::Ok, "version "),
        (secured, Status::Ok, "version "),
        (json!({"read_only": false}), Status::Ok, "version "),
        (
            json!({"read_only": true}),
            Status::Critical,
            "it is not read-only; version ",
        ),
        (
            json!({"replica": true}),
            Status::Unknown,
            "replica: Access denied; you need (at least one of) the ",
        ),
        (
            json!({"galera": true}),
            Status::Critical,
            "it is no node of a Galera cluster; version ",
        ),
        (json!({"latency_crit": "0s"}), Status::Critical, "took "),
        (
            json!({"user": "secured"}),
            Status::Critical,
            "login: Access denied for user 'secured'@",
        ),
        (
            json!({"password": "wrong"}),
            Status::Critical,
            "login: Access denied for user 'health'@",
        ),
        (
            json!({"password": ""}),
            Status::Critical,
            "login: Access denied for user 'health'@",
        ),
        (
            json!({"user": "nobody"}),
            Status::Critical,
            "login: Access denied for user 'nobody'@",
        ),
        (
            json!({"database": "nowhere"}),
            Status::Critical,
            "login: Access denied for user 'health'@",
        ),
        (json!({"tls": true}), Status::Critical, "tls: "),
    ] {
        let o = ask(db.port(), &more);
        assert_eq!(o.status, status, "{more}: {}", o.message);
        assert!(o.message.starts_with(begin), "{more}: {}", o.message);
    }
    // The connection of the run before may still be there.
    let o = ask(db.port(), &json!({"connections_warn": "0%"}));
    assert_eq!(o.status, Status::Warn, "{}", o.message);
    let text = " of 100 connections in use (";
    assert!(
        o.message.contains(text) && o.message.contains(" %), above 0 %; "),
        "{}",
        o.message
    );
    db.sql("SET GLOBAL read_only = 1");
    assert_eq!(
        ask_root(&db, &json!({"read_only": true})).status,
        Status::Ok
    );
    let o = ask_root(&db, &json!({"read_only": false, "replica": true}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    assert!(
        o.message.starts_with("it is read-only; it is no replica; "),
        "{}",
        o.message
    );
    let o = check("mysql", &json!({"socket": "/nowhere", "user": "root"}));
    let text = "connect to /nowhere: no such file or directory";
    assert_eq!(told(&o), (Status::Critical, text));
}

#[test]
fn queries() {
    let Some(db) = MariaDb::start(&[]) else {
        return;
    };
    db.sql(USERS);
    for (query, more, status, begin) in [
        (
            "SELECT count(*) FROM orders",
            json!({"warn": 5}),
            Status::Ok,
            "the query says 2; version ",
        ),
        (
            "SELECT count(*) FROM orders",
            json!({"crit": 1}),
            Status::Critical,
            "the query says 2, outside of 1; ",
        ),
        (
            "SELECT note FROM orders ORDER BY id",
            json!({}),
            Status::Ok,
            "the query says NULL",
        ),
        (
            "SELECT note FROM orders WHERE id = 2",
            json!({"expect": "x"}),
            Status::Ok,
            "the query says \"x\"",
        ),
        (
            "SELECT note FROM orders WHERE id = 7",
            json!({}),
            Status::Ok,
            "the query says no row",
        ),
        (
            "SELECT note FROM orders WHERE id = 7",
            json!({"expect": "x"}),
            Status::Critical,
            "the query says no row, expected \"x\"",
        ),
        (
            "SELECT repeat('x', 70000), 1",
            json!({}),
            Status::Ok,
            "the query says \"xxx",
        ),
        (
            "SELECT repeat('x', 2000000)",
            json!({}),
            Status::Critical,
            "query: it sends a packet of 2000004 bytes",
        ),
        (
            "SELECT 1 FROM seq_1_to_100000",
            json!({"database": "mysql"}),
            Status::Unknown,
            "query: the query has more than 10000 rows or 4 MiB",
        ),
        (
            "SELECT x FROM",
            json!({}),
            Status::Unknown,
            "query: You have an error in your SQL syntax",
        ),
        (
            "SELECT 1; DROP TABLE orders",
            json!({}),
            Status::Unknown,
            "query: You have an error in your SQL syntax",
        ),
        (
            "SELECT * FROM nothing",
            json!({}),
            Status::Critical,
            "query: Table 'shop.nothing' doesn't exist (1146)",
        ),
        (
            "SELECT 1 FROM mysql.global_priv",
            json!({"user": "health", "password": "s3cret"}),
            Status::Unknown,
            "query: SELECT command denied to user",
        ),
        (
            "DELETE FROM orders",
            json!({}),
            Status::Unknown,
            "query: Cannot execute statement in a READ ONLY transaction (1792)",
        ),
        (
            "DROP TABLE orders",
            json!({}),
            Status::Unknown,
            "query: Cannot execute statement in a READ ONLY transaction (1792)",
        ),
        (
            "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE orders",
            json!({}),
            Status::Critical,
            "query: ",
        ),
        ("DO 1", json!({}), Status::Ok, "the query says no row"),
    ] {
        let more = with(json!({"query": query, "database": "shop"}), &more);
        let o = ask_root(&db, &more);
        assert_eq!(o.status, status, "{query}: {}", o.message);
        assert!(o.message.starts_with(begin), "{query}: {}", o.message);
    }
    assert_eq!(db.sql("SELECT count(*) FROM shop.orders"), "2\n");
    // The server gives up before we do: nothing is left running there.
    let options = json!({"socket": db.socket(), "user": "root", "query": "SELECT sleep(100)"});
    let o = crate::tests::check_for("mysql", &options, std::time::Duration::from_secs(10));
    let text = "query: Query execution was interrupted (max_statement_time exceeded) (1969)";
    assert_eq!(told(&o), (Status::Critical, text));
}

#[test]
fn a_replica_and_its_lag() {
    let Some(primary) = MariaDb::start(&["--server-id=1", "--log-bin"]) else {
        return;
    };
    let Some(replica) = MariaDb::start(&["--server-id=2", "--read-only"]) else {
        return;
    };
    primary.sql("CREATE USER repl@'%' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO repl@'%'; CREATE DATABASE shop; CREATE TABLE shop.t (a INT)");
    let follow = |port: u16| {
        replica.sql(&format!(
            "CHANGE MASTER TO master_host='127.0.0.1', master_port={port}, master_user='repl', master_password='x', master_use_gtid=slave_pos, master_connect_retry=1; START SLAVE"
        ));
    };
    follow(primary.port());
    let well = json!({"replica": true, "read_only": true, "lag_crit": "5m"});
    until(
        || ask_root(&replica, &well).status == Status::Ok,
        || replica.log(),
    );
    let o = ask_root(&replica, &well);
    assert!(o.message.ends_with(" behind its primary"), "{}", o.message);
    assert_eq!(o.metric("lag").unit, "s");
    // Both threads run before the first change has come.
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'shop'";
    until(|| replica.sql(tables) == "1\n", || replica.log());
    // A statement that the replica cannot run.
    replica.sql("SET SQL_LOG_BIN = 0; DROP TABLE shop.t");
    primary.sql("INSERT INTO shop.t VALUES (1)");
    let stopped = "its SQL thread does not run: Error ";
    until(
        || ask_root(&replica, &well).message.starts_with(stopped),
        || replica.log(),
    );
    let o = ask_root(&replica, &well);
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    assert!(
        o.message.contains("'shop.t' doesn't exist"),
        "{}",
        o.message
    );
    // A primary that does not answer.
    replica.sql("STOP SLAVE");
    follow(free_port("127.0.0.1"));
    let lost = "its I/O thread does not reach the primary: ";
    until(
        || ask_root(&replica, &well).message.starts_with(lost),
        || replica.log(),
    );
    replica.sql("STOP SLAVE");
    let o = ask_root(&replica, &well);
    assert!(
        o.message.starts_with("its I/O thread does not run"),
        "{}",
        o.message
    );
}

#[test]
fn a_node_of_galera() {
    const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
    if program("mariadbd", "mariadb-server").is_none() {
        return;
    }
    if !Path::new(PROVIDER).exists() {
        eprintln!("skipped: {PROVIDER} is missing (package galera-4)");
        return;
    }
    let provider = format!("--wsrep-provider={PROVIDER}");
    let start = |cluster: &str, port: u16| {
        let listen = format!("gmcast.listen_addr=tcp://127.0.0.1:{port}");
        MariaDb::start(&[
            "--wsrep-on=1",
            "--binlog-format=ROW",
            "--wsrep-node-address=127.0.0.1",
            "--wsrep-sst-method=skip",
            &provider,
            &format!("--wsrep-cluster-address={cluster}"),
            &format!("--wsrep-provider-options={listen}"),
        ])
    };
    let first = free_port("127.0.0.1");
    let Some(node) = start("gcomm://", first) else {
        return;
    };
    let galera = json!({"galera": true, "galera_size_min": 1});
    until(
        || ask_root(&node, &galera).status == Status::Ok,
        || node.log(),
    );
    let o = ask_root(&node, &json!({"galera": true, "galera_size_min": 3}));
    assert_eq!(o.status, Status::Critical, "{}", o.message);
    assert!(
        o.message.starts_with("the cluster has 1 nodes, below 3; "),
        "{}",
        o.message
    );
    assert_eq!(o.metric("cluster_size").value, 1.0);
    node.sql("SET GLOBAL wsrep_desync = ON");
    until(
        || ask_root(&node, &galera).status == Status::Warn,
        || node.log(),
    );
    let o = ask_root(&node, &galera);
    assert!(
        o.message
            .starts_with("its state is Donor/Desynced, not Synced; "),
        "{}",
        o.message
    );
    node.sql("SET GLOBAL wsrep_desync = OFF");
    // With a second one, which then dies: one of two is no majority.
    let other = start(
        &format!("gcomm://127.0.0.1:{first}"),
        free_port("127.0.0.1"),
    );
    let both = json!({"galera": true, "galera_size_min": 2});
    until(
        || ask_root(&node, &both).status == Status::Ok,
        || node.log(),
    );
    drop(other);
    let lost = "its part of the cluster is non-Primary, not Primary; ";
    until(
        || ask_root(&node, &both).message.starts_with(lost),
        || node.log(),
    );
    assert_eq!(ask_root(&node, &both).status, Status::Critical);
    let o = ask_root(&node, &json!({"query": "SELECT 1 FROM mysql.user"}));
    let text = "query: WSREP has not yet prepared node for application use (1047)";
    assert_eq!(told(&o), (Status::Critical, text));
}

/// A packet with its header.
fn packet(number: u8, content: &[u8]) -> Vec<u8> {
    let mut all = (content.len() as u32).to_le_bytes()[..3].to_vec();
    all.push(number);
    all.extend_from_slice(content);
    all
}

/// A server's first packet.
fn greeting(plugin: &str, tls: bool) -> Vec<u8> {
    let low: u16 = 0xf7ff & if tls { 0xffff } else { !(1 << 11) };
    let mut all = b"\x0a8.0.36\0\x01\0\0\0abcdefgh\0".to_vec();
    all.extend_from_slice(&low.to_le_bytes());
    all.extend_from_slice(&[45, 2, 0, 0xff, 0x81, 21]);
    all.extend_from_slice(&[0; 10]);
    all.extend_from_slice(b"ijklmnopqrst\0");
    all.extend_from_slice(plugin.as_bytes());
    all.push(0);
    packet(0, &all)
}

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";
const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

#[test]
fn what_a_server_may_say_instead_of_a_greeting() {
    let error = |code: u16, text: &str| {
        packet(
            0,
            &[&[0xff][..], &code.to_le_bytes(), text.as_bytes()].concat(),
        )
    };
    for (said, status, text) in [
        (
            error(1040, "Too many connections"),
            Status::Critical,
            "greeting: Too many connections (1040)",
        ),
        (
            error(1040, "#08004Too many connections"),
            Status::Critical,
            "greeting: Too many connections (1040)",
        ),
        (
            error(
                1129,
                "Host '10.0.0.1' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'",
            ),
            Status::Unknown,
            "greeting: Host '10.0.0.1' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts' (1129)",
        ),
        (
            error(1130, "Host '10.0.0.1' is not allowed to connect"),
            Status::Unknown,
            "greeting: Host '10.0.0.1' is not allowed to connect (1130)",
        ),
        (
            packet(0, &[0xff, 1]),
            Status::Critical,
            "greeting: its error is cut short",
        ),
        (
            packet(0, &[]),
            Status::Critical,
            "greeting: it greets with nothing",
        ),
        (
            packet(0, b"\x09abc"),
            Status::Critical,
            "greeting: it greets with version 9 of its protocol, not 10",
        ),
        (
            packet(0, b"\x0a8.0.36\0\x01"),
            Status::Critical,
            "greeting: its greeting is cut short",
        ),
        (
            b"\xff\xff\xff\0".to_vec(),
            Status::Critical,
            "greeting: it sends a packet of 16777215 bytes",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Status::Critical,
            "greeting: it sends a packet of 5526600 bytes",
        ),
        (
            b"\x05\0\0\0\x0a".to_vec(),
            Status::Critical,
            "greeting: connection closed in the middle of a message",
        ),
        (Vec::new(), Status::Critical, "greeting: connection closed"),
    ] {
        let peer = Peer::saying(&[said]);
        assert_eq!(told(&ask(peer.addr.port(), &json!({}))), (status, text));
    }
}

#[test]
fn ways_to_log_in() {
    let switch = |plugin: &str| {
        packet(
            2,
            &[&[0xfe][..], plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat(),
        )
    };
    let wants = "which is only told inside of TLS or over a unix socket; see the option tls";
    let tls = json!({"tls": true, "insecure": true});
    for (more, texts, status, text) in [
        (
            &tls,
            vec![greeting(NATIVE, false)],
            Status::Critical,
            "the server offers no TLS".to_owned(),
        ),
        (
            &json!({}),
            vec![greeting(SHA2, true), packet(2, &[1, 4])],
            Status::Unknown,
            format!("login: the server wants the password itself (caching_sha2_password), {wants}"),
        ),
        (
            &json!({}),
            vec![greeting(NATIVE, true), switch("mysql_clear_password")],
            Status::Unknown,
            format!("login: the server wants the password itself (mysql_clear_password), {wants}"),
        ),
        (
            &json!({}),
            vec![greeting(NATIVE, true), switch("client_ed25519")],
            Status::Unknown,
            format!(
                "login: the server wants this user to log in by client_ed25519; this check knows {NATIVE} and {SHA2}"
            ),
        ),
        (
            &json!({}),
            vec![greeting(NATIVE, true), packet(2, &[0xfe])],
            Status::Unknown,
            format!(
                "login: the server wants this user to log in by mysql_old_password; this check knows {NATIVE} and {SHA2}"
            ),
        ),
        (
            &json!({}),
            [vec![greeting(NATIVE, true)], vec![switch(NATIVE); 8]].concat(),
            Status::Critical,
            "login: it asks for the password in 5 ways, and goes on".to_owned(),
        ),
        (
            &json!({}),
            vec![greeting(NATIVE, true), packet(2, &[7, 7])],
            Status::Critical,
            "login: it answers a login with something else".to_owned(),
        ),
        // The server knows the proof (3), and says OK; what it then says to a statement is an error.
        (
            &json!({}),
            vec![
                greeting(SHA2, true),
                [packet(2, &[1, 3]), packet(3, &OK)].concat(),
                packet(1, b"\xff\x15\x04#28000no"),
            ],
            Status::Critical,
            "status: no (1045)".to_owned(),
        ),
        // By change from another one.
        (
            &json!({}),
            vec![
                greeting("sha256_password", true),
                switch(SHA2),
                [packet(4, &[1, 3]), packet(5, &OK)].concat(),
                packet(1, b"\xfb/etc/passwd"),
            ],
            Status::Critical,
            "status: it asks for a file of this machine (LOCAL INFILE); refused".to_owned(),
        ),
    ] {
        let peer = Peer::saying(&texts);
        let o = ask(peer.addr.port(), more);
        assert_eq!((o.status, o.message), (status, text));
    }
}

const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x21\0\x05\0\0\0\xfd\0\0\0\0\0";
const END: [u8; 5] = [0xfe, 0, 0, 2, 0];

#[test]
fn long_answers_wait_for_their_room() {
    let cell = [&b"\xfd\xe0\x93\x04"[..], &[b'x'; 300_000]].concat();
    let table = [
        packet(1, &[1]),
        packet(2, COLUMN),
        packet(3, &END),
        packet(4, &cell),
        packet(5, &END),
    ];
    let texts = [
        greeting(NATIVE, true),
        packet(2, &OK),
        table.concat(),
        table.concat(),
    ];
    let peer = Peer::saying(&texts);
    assert_waits_for_room(|| ask(peer.addr.port(), &json!({})));
}

#[test]
fn what_a_server_may_answer() {
    let column = COLUMN;
    let end = packet(3, &END);
    for (answer, text) in [
        (packet(1, &[]), "its answer has no number of columns"),
        (
            packet(1, &[0xfc, 0xff, 0xff]),
            "its answer has no number of columns",
        ),
        (
            [packet(1, &[1]), packet(2, b"\x03de")].concat(),
            "its answer is cut short",
        ),
        (
            [packet(1, &[1]), packet(2, column), packet(3, b"\x01x")].concat(),
            "its columns have no end",
        ),
        (
            [
                packet(1, &[1]),
                packet(2, column),
                end.clone(),
                packet(4, b"\x09x"),
            ]
            .concat(),
            "its answer is cut short",
        ),
        (
            [
                packet(1, &[1]),
                packet(2, column),
                end.clone(),
                packet(4, &[]),
            ]
            .concat(),
            "its answer is cut short",
        ),
        (
            [packet(1, &[1]), packet(2, column), end.clone()].concat(),
            "connection closed",
        ),
    ] {
        let peer = Peer::saying(&[greeting(NATIVE, true), packet(2, &OK), answer]);
        let o = ask(peer.addr.port(), &json!({}));
        assert_eq!(
            (o.status, o.message),
            (Status::Critical, format!("status: {text}"))
        );
    }
}
