//! The plugin on MockHost against Debian's OpenSSH and against peers that say what it would not.

use crate::tests::{at, check, plugin, refused, told};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Peer, Server, accepts, program, run, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

fn ask(port: u16, more: &Value) -> Outcome {
    check("ssh", &at(port, more))
}

/// sshd with a host key of this kind, and the key's fingerprint.
fn sshd(kind: &str, more: &str) -> Option<(Server, String)> {
    let sshd = program("sshd", "openssh-server")?;
    // Where sshd goes without privileges; systemd makes it elsewhere.
    let _ = std::fs::create_dir_all("/run/sshd");
    let server = Server::start(
        |folder, port| {
            let key = folder.file("key");
            run(Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-f"])
                .arg(&key));
            let conf = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n{more}\n",
                key.display()
            );
            let conf = folder.write("sshd_config", conf);
            let mut command = Command::new(&sshd);
            command.arg("-D").arg("-e").arg("-f").arg(conf);
            command
        },
        |_, port| accepts(port),
    );
    let printed = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(server.folder().file("key.pub"))
        .output();
    let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
    let print = printed.split(' ').nth(1).unwrap().to_owned();
    Some((server, print))
}

#[test]
fn the_page_has_all_options() {
    plugin("ssh").assert_documented(include_str!("../../SSH.md"));
}

#[test]
fn mistakes_in_options() {
    let e = refused("ssh", &json!({"host": "x", "host_key": ["MD5:aa"]}));
    assert!(
        e.starts_with("host_key: \"MD5:aa\" is none; write it as"),
        "{e}"
    );
    let e = refused("ssh", &json!({"host": "x", "version": "("}));
    assert!(e.starts_with("version: "), "{e}");
}

#[test]
fn openssh_and_its_keys() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let Some((server, print)) = sshd(kind, "") else {
            return;
        };
        let o = ask(
            server.port,
            &json!({"host_key": [print], "version": "^OpenSSH_[0-9]"}),
        );
        assert_eq!(o.status, Status::Ok, "{kind}: {}", o.message);
        assert!(o.message.starts_with("OpenSSH_"), "{}", o.message);
        let [banner, kex, total] = ["banner", "kex", "total"].map(|name| o.metric(name).value);
        assert!(kex > 0.0 && banner + kex <= total, "{banner} {kex} {total}");
        let other = format!("SHA256:{}", "A".repeat(43));
        let o = ask(server.port, &json!({"host_key": [other]}));
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        assert!(
            o.message
                .starts_with(&format!("the host's key is {print}; ")),
            "{}",
            o.message
        );
    }
}

#[test]
fn versions_and_algorithms() {
    let Some((server, _)) = sshd("ed25519", "Ciphers aes128-ctr,3des-cbc\n") else {
        return;
    };
    let o = ask(server.port, &json!({"forbid": ["3des-cbc", "ssh-dss"]}));
    assert_eq!(o.status, Status::Warn, "{}", o.message);
    assert!(
        o.message.starts_with("offers 3des-cbc; OpenSSH_"),
        "{}",
        o.message
    );
    assert_eq!(
        ask(server.port, &json!({"forbid": ["ssh-dss"]})).status,
        Status::Ok
    );
    let o = ask(server.port, &json!({"version": "dropbear"}));
    assert!(
        o.message
            .starts_with("the version does not match dropbear; "),
        "{}",
        o.message
    );
    let o = ask(server.port, &json!({"latency_crit": "0s"}));
    assert_eq!(o.status, Status::Critical);
}

#[test]
fn a_server_that_is_full_is_a_warning() {
    let Some((server, _)) = sshd("ed25519", "MaxStartups 1:100:1\nLoginGraceTime 60\n") else {
        return;
    };
    // Somebody who has begun to log in, and does not go on. While sshd still counts a connection before, it lets nobody in.
    let mut first = None;
    until(
        || {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            let mut banner = [0; 8];
            let is_in = stream.read_exact(&mut banner).is_ok() && banner == *b"SSH-2.0-";
            first = is_in.then_some(stream);
            is_in
        },
        || server.log(),
    );
    let sent = first
        .as_mut()
        .map(|stream| stream.write_all(b"SSH-2.0-x\r\n"));
    sent.unwrap().unwrap();
    let o = ask(server.port, &json!({}));
    let text = "banner: the server takes no more logins now (MaxStartups)";
    assert_eq!(told(&o), (Status::Warn, text), "{}", server.log());
}

#[test]
fn other_servers() {
    let long = "x".repeat(1 << 20);
    let many = "hello\r\n".repeat(50);
    for (said, status, text) in [
        (
            String::new(),
            Status::Warn,
            "banner: the server takes no more logins now (MaxStartups)",
        ),
        (
            "220 mail\r\n".into(),
            Status::Critical,
            "banner: connection closed",
        ),
        (
            long,
            Status::Critical,
            "banner: a line of more than 8192 bytes",
        ),
        (
            "a\n".repeat(200),
            Status::Critical,
            "banner: no SSH version in 100 lines",
        ),
        (
            "SSH-1.5-old\r\n".into(),
            Status::Critical,
            "\"SSH-1.5-old\": not version 2 of SSH",
        ),
        (
            format!("{many}SSH-2.0-x\r\n"),
            Status::Critical,
            "kex: connection closed",
        ),
        (
            "SSH-2.0-x\r\n\0\0\0\x01\0".into(),
            Status::Critical,
            "kex: a packet of 1 bytes",
        ),
        (
            "SSH-2.0-x\r\n\x7f\0\0\x0c\x0a\x14".into(),
            Status::Critical,
            "kex: a packet of 2130706444 bytes",
        ),
        (
            "SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14xxxxxxxxxx".into(),
            Status::Critical,
            "kex: no list of algorithms",
        ),
        (
            "SSH-2.0-x\r\n\0\0\0\x16\x04\x01\0\0\0\x02\0\0\0\x04busy\0\0\0\0xxxx".into(),
            Status::Critical,
            "kex: the server hung up: busy",
        ),
    ] {
        let o = {
            let peer = Peer::new(move |mut stream| {
                let _ = stream.write_all(said.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            ask(peer.addr.port(), &json!({}))
        };
        assert_eq!(told(&o), (status, text));
    }
}
