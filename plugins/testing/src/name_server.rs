//! Debian's bind as the name server of a test's own network.

use crate::{Server, program};
use std::net::UdpSocket;
use std::process::Command;

/// bind on port 53 of both loopback addresses. It has the root and `good.test`, and forwards `dead.test` to 127.0.0.9, where
/// somebody listens and never answers.
#[derive(Debug)]
pub struct NameServer {
    _server: Server,
    _silent: UdpSocket,
}

const ROOT: &str = "$TTL 300\n@ SOA ns.good.test. root 1 3600 600 86400 20\n@ NS ns.good.test.\n\
    ns.good.test A 127.0.0.1\ndead.test NS ns.dead.test.\nns.dead.test A 127.0.0.9\n";
const GOOD: &str = "$TTL 300\n@ SOA ns root 1 3600 600 86400 20\n@ NS ns\nns A 127.0.0.1\n";

impl NameServer {
    /// For a test in a network of its own ([`in_own_network`](crate::in_own_network)); `records` are those of good.test.
    /// None, and a word about it, where bind is not installed.
    ///
    /// # Panics
    /// With its log, if it does not start.
    pub fn start(records: &str) -> Option<NameServer> {
        let named = program("named", "bind9")?;
        let silent = UdpSocket::bind("127.0.0.9:53").expect("a network of one's own");
        let server = Server::start(
            |folder, _| {
                folder.write("root", ROOT);
                folder.write("good", format!("{GOOD}{records}"));
                let conf = format!(
                    "options {{ directory \"{}\"; listen-on port 53 {{ 127.0.0.1; }}; listen-on-v6 port 53 {{ ::1; }};
                       pid-file none; session-keyfile none; recursion yes; allow-recursion {{ any; }};
                       dnssec-validation no; check-names primary ignore; empty-zones-enable no; }};
                     controls {{ }};
                     zone \".\" {{ type primary; file \"root\"; }};
                     zone \"good.test\" {{ type primary; file \"good\"; }};
                     zone \"dead.test\" {{ type forward; forward only; forwarders {{ 127.0.0.9; }}; }};",
                    folder.path().display()
                );
                let conf = folder.write("named.conf", conf);
                let mut command = Command::new(&named);
                command.args(["-g", "-n", "1", "-c"]).arg(conf);
                command
            },
            |folder, _| {
                let log = std::fs::read_to_string(folder.file("log"));
                log.is_ok_and(|log| log.contains("running\n"))
            },
        );
        Some(NameServer {
            _server: server,
            _silent: silent,
        })
    }
}
