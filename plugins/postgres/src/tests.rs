//! The plugin on MockHost against a real PostgreSQL, and against peers that are none.

use crate::hd_plugin_v1;
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::{Status, abi};
use healthd_testing::{Certs, Peer, Postgres, accepts, free_port, until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// One server for all tests that run now; it ends with the last of them. None if PostgreSQL is not installed.
fn server() -> Option<Arc<Postgres>> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let started = Arc::new(Postgres::start()?);
    *shared = Arc::downgrade(&started);
    Some(started)
}

fn create(options: &Value) -> Result<MockCheck, String> {
    MockHost::new(hd_plugin_v1)
        .plugin("postgres")
        .create(options.to_string())
}

fn check(options: Value) -> Outcome {
    create(&options)
        .unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(LONG)
}

/// Options for the server, with those of `more` on top.
fn on(s: &Postgres, parameters: &str, more: Value) -> Value {
    let mut options = json!({
        "url": format!("postgres://postgres@127.0.0.1:{}/postgres{parameters}", s.port),
        "password": Postgres::PASSWORD,
    });
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

fn no_password_in(o: &Outcome) {
    assert!(!format!("{o:?}").contains(Postgres::PASSWORD), "{o:?}");
}

#[test]
fn logs_in_and_asks() {
    let Some(s) = server() else { return };
    let o = check(on(&s, "", json!({})));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.message.starts_with("query returned 1 in "), "{o:?}");
    assert_eq!(o.phases, ["dns", "connect", "tls", "auth", "query"]);
    for phase in ["connect", "tls", "auth", "query", "total"] {
        assert!(o.metric(phase).value > 0.0, "{phase}: {o:?}");
    }
    assert_eq!(o.metric("value").value, 1.0);
    no_password_in(&o);
}

#[test]
fn many_at_once_on_one_reactor() {
    let Some(s) = server() else { return };
    let check = create(&on(&s, "", json!({"query": "SELECT pg_sleep(0.05)"}))).unwrap();
    let all = check.run_many(8, LONG);
    assert!(all.iter().all(|o| o.status == Status::Ok), "{all:?}");
}

#[test]
fn unix_socket_and_password_in_the_url() {
    let Some(s) = server() else { return };
    let folder = s.socket_folder().to_str().unwrap().replace('/', "%2F");
    let password = Postgres::PASSWORD
        .replace('/', "%2F")
        .replace('@', "%40")
        .replace(' ', "%20");
    let url = format!(
        "postgres://postgres:{password}@{folder}:{}/postgres?sslmode=require",
        s.port
    );
    let o = check(json!({ "url": url }));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert_eq!(o.phases, ["connect", "auth", "query"]);
    no_password_in(&o);
    let o = check(json!({"url": "postgres://u@%2Fnowhere/x"}));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "connect to /nowhere/.s.PGSQL.5432: no such file or directory"
        )
    );
}

#[test]
fn the_first_cell_is_judged() {
    let Some(s) = server() else { return };
    for (query, rules, status, message) in [
        (
            "SELECT 'up'",
            json!({"expect": "up"}),
            Status::Ok,
            "query returned \"up\" in ",
        ),
        (
            "SELECT 'down'",
            json!({"expect": "up"}),
            Status::Critical,
            "query returned \"down\", expected \"up\" in ",
        ),
        (
            "SELECT 5.00::numeric",
            json!({"expect": 5}),
            Status::Ok,
            "query returned 5.00 in ",
        ),
        (
            "SELECT true",
            json!({"expect": true}),
            Status::Ok,
            "query returned \"t\" in ",
        ),
        (
            "SELECT 12",
            json!({"warn": 10, "crit": "20"}),
            Status::Warn,
            "query returned 12, outside of 10 in ",
        ),
        (
            "SELECT 3",
            json!({"crit": "5:"}),
            Status::Critical,
            "query returned 3, outside of 5: in ",
        ),
        (
            "SELECT NULL",
            json!({"crit": "5:"}),
            Status::Unknown,
            "query returned NULL, which has no place on a threshold",
        ),
        (
            "SELECT 1 WHERE false",
            json!({}),
            Status::Ok,
            "query returned no row in ",
        ),
        ("SELECT", json!({}), Status::Ok, "query returned no row in "),
        (
            "SET search_path = ''; SELECT 7",
            json!({"expect": 7}),
            Status::Ok,
            "query returned 7",
        ),
        (
            "SELECT * FROM generate_series(1, 100)",
            json!({"expect": 1}),
            Status::Ok,
            "query returned 1 in ",
        ),
        (
            "SELECT * FROM generate_series(1, 100000)",
            json!({"expect": 1}),
            Status::Ok,
            "query returned 1 in ",
        ),
    ] {
        let mut options = on(&s, "", rules);
        options["query"] = query.into();
        let o = check(options);
        assert_eq!(o.status, status, "{query}: {o:?}");
        assert!(o.message.starts_with(message), "{query}: {o:?}");
    }
    let o = check(on(
        &s,
        "",
        json!({"query": "SELECT 12", "warn": 10, "crit": 20}),
    ));
    assert_eq!(
        (o.metric("value").warn, o.metric("value").crit),
        (10.0, 20.0)
    );
}

#[test]
fn latency_thresholds() {
    let Some(s) = server() else { return };
    let slow = json!({"query": "SELECT pg_sleep(0.05)", "latency_warn": "40ms"});
    let o = check(on(&s, "", slow));
    assert_eq!(o.status, Status::Warn, "{o:?}");
    assert!(o.message.ends_with(", limit 40 ms"), "{o:?}");
    assert_eq!(o.metric("total").warn, 0.04);
    let slow =
        json!({"query": "SELECT pg_sleep(0.05)", "latency_warn": "10ms", "latency_crit": "40ms"});
    assert_eq!(check(on(&s, "", slow)).status, Status::Critical);
}

#[test]
fn server_errors_show_sqlstate_and_message() {
    let Some(s) = server() else { return };
    let o = check(on(&s, "", json!({"query": "SELECT * FROM nowhere"})));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "query: ERROR 42P01: relation \"nowhere\" does not exist"
        )
    );
    assert_eq!(o.labels["sqlstate"], "42P01");
    assert!(o.metric("auth").value > 0.0);

    let o = check(on(
        &s,
        "",
        json!({"query": "SELECT 1/x FROM generate_series(-1, 1) x"}),
    ));
    assert_eq!(
        (o.status, &*o.message),
        (Status::Critical, "query: ERROR 22012: division by zero")
    );

    let o = check(on(
        &s,
        "",
        json!({"query": "SELECT pg_terminate_backend(pg_backend_pid())"}),
    ));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.contains("57P01"), "{o:?}");
}

#[test]
fn failed_log_ins() {
    let Some(s) = server() else { return };
    let o = check(on(&s, "", json!({"password": "wrong"})));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "auth: FATAL 28P01: password authentication failed for user \"postgres\""
        )
    );
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", s.port);
    let o = check(json!({ "url": url }));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Unknown,
            "auth: the server asks for a password and none is configured; see the option password"
        )
    );
    let url = format!("postgres://postgres@127.0.0.1:{}/nowhere", s.port);
    let o = check(json!({ "url": url, "password": Postgres::PASSWORD }));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "auth: FATAL 3D000: database \"nowhere\" does not exist"
        )
    );
}

#[test]
fn tls_modes() {
    let Some(s) = server() else { return };
    let encrypted = json!({"query": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"});
    for (mode, expected) in [
        ("disable", "\"f\""),
        ("prefer", "\"t\""),
        ("require", "\"t\""),
    ] {
        let o = check(on(&s, &format!("?sslmode={mode}"), encrypted.clone()));
        assert_eq!(o.status, Status::Ok, "{mode}: {o:?}");
        assert!(o.message.contains(expected), "{mode}: {o:?}");
    }

    let ca = s.certs.ca();
    let trusted = json!({"ca_file": ca.to_str().unwrap()});
    // As libpq: a root that is given is looked at.
    let other = Certs::new();
    let o = check(on(
        &s,
        "?sslmode=require",
        json!({"ca_file": other.ca().to_str().unwrap()}),
    ));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    let o = check(on(&s, "?sslmode=require", trusted.clone()));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    for mode in ["verify-ca", "verify-full"] {
        let o = check(on(&s, &format!("?sslmode={mode}"), trusted.clone()));
        assert_eq!(o.status, Status::Ok, "{mode}: {o:?}");
        let other = Certs::new();
        let untrusted = json!({"ca_file": other.ca().to_str().unwrap()});
        let o = check(on(&s, &format!("?sslmode={mode}"), untrusted));
        assert_eq!(
            (o.status, &*o.message),
            (
                Status::Critical,
                "tls: certificate is signed by no CA that is trusted here, but by another one with the name of one that is"
            ),
            "{mode}"
        );
    }

    // The certificate is for 127.0.0.1, not for 127.0.0.2, which reaches the same server only on some systems: a
    // forwarder stands in for it.
    let port = s.port;
    let other_name = Forwarder::new("127.0.0.2:0", port);
    let url = |mode: &str, ca: &str| {
        json!({
            "url": format!("postgres://postgres@{}/postgres?sslmode={mode}{ca}", other_name.addr),
            "password": Postgres::PASSWORD,
        })
    };
    let root = format!("&sslrootcert={}", ca.display());
    let o = check(url("verify-full", &root));
    assert_eq!(
        (o.status, &*o.message),
        (Status::Critical, "tls: certificate is not for 127.0.0.2")
    );
    assert_eq!(check(url("verify-ca", &root)).status, Status::Ok);
    assert_eq!(
        check(url("require", &root)).status,
        Status::Ok,
        "as verify-ca"
    );
    assert_eq!(check(url("require", "")).status, Status::Ok);
}

#[test]
fn a_server_without_tls() {
    let Some(s) = Postgres::start_with("ssl = off") else {
        return;
    };
    assert_eq!(check(on(&s, "", json!({}))).status, Status::Ok);
    let o = check(on(&s, "?sslmode=require", json!({})));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "tls: the server offers no TLS, and sslmode requires it"
        )
    );
}

#[test]
fn a_query_past_the_deadline_is_cancelled_on_the_server() {
    let Some(s) = server() else { return };
    let check_ = create(&on(&s, "", json!({"query": "SELECT pg_sleep(600)"}))).unwrap();
    let o = check_.run(Duration::from_secs(6));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(
        o.message.starts_with("timeout after ") && o.message.contains("in phase query"),
        "{o:?}"
    );
    assert_eq!(o.phases.last().map(|p| &**p), Some("query"));
    // Until nobody sleeps there any more.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND state = 'active'";
    let gone = (0..1000)
        .any(|_| check(on(&s, "", json!({"query": left, "expect": 0}))).status == Status::Ok);
    assert!(gone, "the server goes on with the query");
}

/// PgBouncer in front of the server, on a port of its own; it ends with this value.
struct Bouncer {
    child: std::process::Child,
    folder: std::path::PathBuf,
    port: u16,
}

impl Bouncer {
    fn start(server: &Postgres) -> Option<Bouncer> {
        let program = "/usr/sbin/pgbouncer";
        if !std::path::Path::new(program).exists() {
            eprintln!("skipped: {program} is missing (package pgbouncer)");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("healthd-bouncer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = free_port("127.0.0.1");
        let users = folder.join("users");
        std::fs::write(&users, format!("\"postgres\" \"{}\"\n", Postgres::PASSWORD)).unwrap();
        let config = folder.join("ini");
        std::fs::write(
            &config,
            format!(
                "[databases]\npostgres = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\nlogfile = {}\n",
                server.port,
                users.display(),
                folder.join("log").display(),
            ),
        )
        .unwrap();
        let open = std::process::Command::new("chmod")
            .arg("-R")
            .arg("a+rwX")
            .arg(&folder)
            .status();
        assert!(open.unwrap().success());
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        let quiet = std::process::Stdio::null;
        let child = command
            .arg(&config)
            .stdout(quiet())
            .stderr(quiet())
            .spawn()
            .ok()?;
        let bouncer = Bouncer {
            child,
            folder,
            port,
        };
        until(|| accepts(port), || bouncer.log());
        Some(bouncer)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_cancel_through_pgbouncer_reaches_the_server_and_leaves_it_alive() {
    let Some(s) = server() else { return };
    let Some(mut bouncer) = Bouncer::start(&s) else {
        return;
    };
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
        bouncer.port
    );
    let slow = create(&json!({"url": url, "query": "SELECT pg_sleep(601)"})).unwrap();
    for _ in 0..5 {
        let o = slow.run(Duration::from_secs(4));
        assert!(
            o.message.contains("in phase query"),
            "{o:?} {}",
            bouncer.log()
        );
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(601)%' AND pid <> pg_backend_pid() AND state = 'active'";
    let gone = (0..1000)
        .any(|_| check(on(&s, "", json!({"query": left, "expect": 0}))).status == Status::Ok);
    assert!(gone, "the server goes on with the query: {}", bouncer.log());
    assert!(!bouncer.log().contains("FATAL"), "{}", bouncer.log());
    assert!(
        bouncer.child.try_wait().unwrap().is_none(),
        "{}",
        bouncer.log()
    );
    let o = check(json!({ "url": url }));
    assert_eq!(o.status, Status::Ok, "{o:?}");
}

#[test]
fn several_hosts_and_what_they_must_be() {
    let Some(s) = server() else { return };
    let dead = free_port("127.0.0.1");
    let url = |attrs: &str| {
        json!({
            "url": format!(
                "postgres://postgres@127.0.0.1:{dead},127.0.0.1:{}/postgres?target_session_attrs={attrs}",
                s.port
            ),
            "password": Postgres::PASSWORD,
        })
    };
    for good in ["any", "read-write", "primary", "prefer-standby"] {
        let o = check(url(good));
        assert_eq!(o.status, Status::Ok, "{good}: {o:?}");
    }
    for (bad, is) in [("standby", "the primary"), ("read-only", "read-write")] {
        let o = check(url(bad));
        assert_eq!(o.status, Status::Critical, "{o:?}");
        assert!(
            o.message.contains("connection refused; ")
                && o.message
                    .contains(&format!("it is {is}, and target_session_attrs wants")),
            "{o:?}"
        );
    }
    // A wrong password is not tried on the next one.
    let mut wrong = url("any");
    wrong["url"] = wrong["url"]
        .as_str()
        .unwrap()
        .replace(&format!("{dead}"), &s.port.to_string())
        .into();
    wrong["password"] = "wrong".into();
    let o = check(wrong);
    assert_eq!(
        o.message,
        "auth: FATAL 28P01: password authentication failed for user \"postgres\""
    );
}

#[test]
fn only_the_methods_that_are_wanted() {
    let Some(s) = server() else { return };
    for good in ["scram-sha-256", "!password,!md5,!none", "scram-sha-256,md5"] {
        let o = check(on(&s, &format!("?require_auth={good}"), json!({})));
        assert_eq!(o.status, Status::Ok, "{good}: {o:?}");
    }
    let o = check(on(&s, "?require_auth=md5,password", json!({})));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Critical,
            "auth: the server asks for the method scram-sha-256, which require_auth does not allow; nothing was sent"
        )
    );
    // One that asks for the password in clear, over a connection that everybody can read.
    let peer = Peer::answering("R\0\0\0\x08\0\0\0\x03");
    let url = format!(
        "postgres://u:hunter2-Geheim@127.0.0.1:{}/x?sslmode=disable",
        peer.addr.port()
    );
    let o = check(json!({ "url": url }));
    // We did not look: that says nothing of the server. What the operator demands of it does.
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(
        o.message.contains("in clear") && !o.message.contains("hunter2"),
        "{o:?}"
    );
    let o = check(json!({ "url": format!("{url}&require_auth=scram-sha-256") }));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    // Kerberos, and a mechanism of SASL that nobody knows here.
    for wish in ["R\0\0\0\x08\0\0\0\x07", "R\0\0\0\x0d\0\0\0\x0aX-1\0\0"] {
        let peer = Peer::answering(wish);
        let port = peer.addr.port();
        let url = format!("postgres://u:p4ss@127.0.0.1:{port}/x?sslmode=disable");
        let o = check(json!({ "url": url }));
        assert_eq!(o.status, Status::Unknown, "{o:?}");
    }
}

/// What the server keeps of a password that is asked for with 20,000 rounds.
const MANY_ROUNDS: (&str, &str) = (
    "m4ny r0unds",
    "SCRAM-SHA-256$20000:c2FsdCBvZiBhIHRlc3QhIQ==$074G+1JtlTOKJmZwTK20r9NlnIwT6DNHXVW7jZ8UdSU=:QhHX09aRNMG1Um5d3EIftBca5FEt11j8uMwQj/LgKjg=",
);

#[test]
fn many_rounds_of_scram_are_done_on_a_thread_apart() {
    let Some(s) = server() else { return };
    let (password, kept) = MANY_ROUNDS;
    let made = format!("CREATE ROLE rounds LOGIN PASSWORD '{kept}'");
    check(on(&s, "", json!({ "query": made })));
    let url = format!("postgres://rounds@127.0.0.1:{}/postgres", s.port);
    let o = check(json!({ "url": url, "password": password }));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    // It waits for more to do, for some seconds.
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut names = threads.map(|t| std::fs::read_to_string(t.path().join("comm")));
    assert!(names.any(|name| name.is_ok_and(|n| n.trim() == "apart")));
    let o = check(json!({ "url": url, "password": "wrong" }));
    assert_eq!(
        o.message,
        "auth: FATAL 28P01: password authentication failed for user \"rounds\""
    );
}

#[test]
fn servers_that_do_not_end_scram_as_they_began_it() {
    let wish = |which: u8, content: &str| {
        let length = (content.len() + 8) as u8;
        format!("R\0\0\0{}\0\0\0{}{content}", length as char, which as char)
    };
    let scram = wish(10, "SCRAM-SHA-256\0\0");
    let first = |i: u32| wish(11, &format!("r=abc,s=c2FsdA==,i={i}"));
    let other = "auth: the server asks for SCRAM and goes on with something else";
    for (then, status, message) in [
        // It lets us in without having shown that it knows the password.
        (wish(0, ""), Status::Critical, other),
        (scram.clone(), Status::Critical, other),
        (wish(3, ""), Status::Unknown, "in clear"),
        (first(4_096), Status::Critical, "auth: invalid nonce"),
        (first(100_000), Status::Critical, "auth: invalid nonce"),
        (
            first(100_001),
            Status::Unknown,
            "wants 100001 rounds of SCRAM (scram_iterations), more than the 100000 that are done here",
        ),
        (
            String::new(),
            Status::Critical,
            "auth: the server closed the connection",
        ),
    ] {
        // In one piece and byte by byte.
        let pieces = [vec![scram.clone() + &then], {
            let all = scram.clone() + &then;
            all.chars().map(String::from).collect()
        }];
        for pieces in pieces {
            let peer = Peer::new(move |mut stream| {
                let _ = stream.set_nodelay(true);
                let _ = stream.read(&mut [0; 4096]);
                for piece in &pieces {
                    let _ = stream.write_all(piece.as_bytes());
                }
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            let url = format!(
                "postgres://u:hunter2@127.0.0.1:{}/x?sslmode=disable",
                peer.addr.port()
            );
            let o = check(json!({ "url": url }));
            assert_eq!(o.status, status, "{then:?}: {o:?}");
            assert!(o.message.contains(message), "{then:?}: {o:?}");
        }
    }
}

/// Each server of a list has a line of its own in the password file, and the file may change.
#[test]
fn passwords_of_a_file_by_host() {
    let Some(s) = server() else { return };
    let folder = healthd_testing::Folder::new();
    let right = Postgres::PASSWORD;
    let file = folder.write("pgpass", "*:*:*:*:wr0ng\n");
    let url = |hosts: &str| {
        let file = file.display();
        json!({"url": format!("postgres://postgres@{hosts}/postgres?passfile={file}")})
    };
    let (port, dead) = (s.port, free_port("127.0.0.1"));
    let one = create(&url(&format!("127.0.0.1:{port}"))).unwrap();
    assert!(one.run(LONG).message.contains("28P01"));
    folder.write(
        "pgpass",
        format!("127.0.0.1:{dead}:*:*:other\n127.0.0.1:{port}:*:postgres:{right}\n"),
    );
    // Read anew, without being made anew, once it is seen to be whole.
    until(
        || one.run(LONG).status == Status::Ok,
        || one.run(LONG).message.clone(),
    );
    let both = check(url(&format!("127.0.0.1:{dead},127.0.0.1:{port}")));
    assert_eq!(both.status, Status::Ok, "{both:?}");
}

#[test]
fn a_server_that_cannot_start_another_process() {
    let peer = Peer::answering("Ecould not fork new process for connection\n\0");
    let port = peer.addr.port();
    let o = check(json!({"url": format!("postgres://u@127.0.0.1:{port}/x")}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message
            .starts_with("tls: the server answers the request for TLS with an error"),
        "{o:?}"
    );
}

#[test]
fn days_of_the_certificate_and_the_one_of_the_client() {
    let Some(s) = server() else { return };
    let o = check(on(&s, "", json!({"certificate_warn_days": 10000})));
    assert_eq!(o.status, Status::Warn, "{o:?}");
    assert!(o.message.contains("certificate valid for "), "{o:?}");
    assert_eq!(o.metric("certificate").unit, "d");
    let e = create(&on(
        &s,
        "?sslmode=disable",
        json!({"certificate_crit_days": 1}),
    ))
    .err()
    .unwrap();
    assert!(e.contains("there is no TLS here"), "{e}");

    let clients = Certs::new();
    let hba = clients.ca().with_file_name("hba");
    std::fs::write(
        &hba,
        "local all all trust\nhostssl all all all scram-sha-256 clientcert=verify-ca\n",
    )
    .unwrap();
    let open = std::process::Command::new("chmod")
        .arg("-R")
        .arg("a+rX")
        .arg(hba.parent().unwrap())
        .status();
    assert!(open.unwrap().success());
    let Some(s) = Postgres::start_with(&format!(
        "hba_file = '{}'\nssl_ca_file = '{}'",
        hba.display(),
        clients.ca().display()
    )) else {
        return;
    };
    let o = check(on(&s, "?sslmode=require", json!({})));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    let own = json!({
        "cert_file": clients.certificate().to_str().unwrap(),
        "key_file": clients.key().to_str().unwrap(),
    });
    let o = check(on(&s, "?sslmode=require", own));
    assert_eq!(o.status, Status::Ok, "{o:?}");
}

#[test]
fn a_password_that_the_server_repeats_is_masked() {
    let Some(s) = server() else { return };
    let o = check(on(
        &s,
        "",
        json!({"query": format!("SELECT '{}'", Postgres::PASSWORD)}),
    ));
    assert!(o.message.contains("***"), "{o:?}");
    no_password_in(&o);
    let wrong = format!("SELECT * FROM \"{}\"", Postgres::PASSWORD);
    let o = check(on(&s, "", json!({ "query": wrong })));
    no_password_in(&o);
    let e = create(&json!({"url": "postgres://health:?hunter2-Geheim@127.0.0.1:1/app"}))
        .err()
        .unwrap();
    assert!(e.contains("hold a ?") && !e.contains("hunter2"), "{e}");
}

#[test]
fn it_says_good_bye() {
    let Some(s) = Postgres::start_with("log_disconnections = on") else {
        return;
    };
    assert_eq!(check(on(&s, "", json!({}))).status, Status::Ok);
    until(|| s.log().contains("disconnection:"), || s.log());
    let log = s.log();
    assert!(
        !log.contains("unexpected EOF") && !log.contains("could not"),
        "{log}"
    );
}

#[test]
fn peers_that_are_no_postgres() {
    let url = |port: u16, mode: &str| json!({"url": format!("postgres://u@127.0.0.1:{port}/x?sslmode={mode}")});

    let port = free_port("127.0.0.1");
    let free = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // Never accepted: the kernel's queue takes the connection.
    let silent = |mode, phase: &str| {
        let o = create(&url(port, mode))
            .unwrap()
            .run(Duration::from_secs(2));
        assert_eq!(o.code, abi::PENDING);
        assert_eq!(o.message, format!("timeout after 2s in phase {phase}"));
    };
    silent("prefer", "tls");
    silent("disable", "auth");
    drop(free);
    // Another one: a child of a test beside that does not run its program yet may still have the first open.
    let gone = free_port("127.0.0.1");
    let o = check(url(gone, "prefer"));
    assert_eq!(o.status, Status::Critical);
    assert_eq!(
        o.message,
        format!("connect to 127.0.0.1:{gone}: connection refused")
    );

    let web = || Peer::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let o = check(url(web().addr.port(), "disable"));
    assert_eq!(o.status, Status::Critical);
    let web = web();
    for (mode, phase) in [("prefer", "tls"), ("disable", "auth")] {
        let o = check(url(web.addr.port(), mode));
        assert_eq!(
            (o.status, o.message),
            (
                Status::Critical,
                format!("{phase}: the server does not speak PostgreSQL's protocol")
            )
        );
    }

    let closing = Peer::new(drop);
    let o = check(url(closing.addr.port(), "disable"));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(
        o.message == "auth: the server closed the connection"
            || o.message.contains("connection reset"),
        "{o:?}"
    );

    let o = check(json!({"url": "postgres://u@no-such-host.invalid/x"}));
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.starts_with("dns: no-such-host.invalid: "),
        "{o:?}"
    );
}

#[test]
fn mistakes_in_the_options() {
    let error = |o: Value| create(&o).err().unwrap();
    assert_eq!(error(json!({})), "url: missing");
    assert!(error(json!({"url": "mysql://x"})).contains("must begin with postgres://"));
    let e = error(json!({"url": "postgres://u:hunter2@h", "password": "hunter3"}));
    assert!(e.starts_with("password: ") && !e.contains("hunter"), "{e}");
    let e = error(json!({"url": "postgres://h?sslmode=verify-full", "ca_file": "/nowhere.pem"}));
    assert!(e.starts_with("TLS: /nowhere.pem: "), "{e}");
    assert!(error(json!({"url": "postgres://h", "query": ""})).contains("must not be empty"));
    assert!(error(json!({"url": "postgres://h", "warn": "x"})).contains("no range"));
}

#[test]
fn the_schema_describes_every_option() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("postgres");
    plugin.assert_documented(include_str!("../README.md"));
    assert_eq!(plugin.schema()["required"], json!(["url"]));
}

/// Passes connections on to a port of 127.0.0.1, until its test process ends.
struct Forwarder {
    addr: std::net::SocketAddr,
}

impl Forwarder {
    fn new(listen: &str, port: u16) -> Forwarder {
        let listener = TcpListener::bind(listen).unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ] {
                    std::thread::spawn(move || {
                        let mut buf = [0; 4096];
                        while let Ok(n @ 1..) = from.read(&mut buf) {
                            if to.write_all(&buf[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Forwarder { addr }
    }
}
