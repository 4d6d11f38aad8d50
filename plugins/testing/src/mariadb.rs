//! The real MariaDB in a folder of its own: a loopback port with TLS, and a unix socket.

use crate::{Certs, Server, program, run};
use std::path::PathBuf;
use std::process::Command;

/// A server whose user `root` has no password.
#[derive(Debug)]
pub struct MariaDb {
    pub certs: Certs,
    server: Server,
}

/// As small as it can be.
const SMALL: [&str; 3] = [
    "--innodb-log-file-size=4M",
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--innodb-buffer-pool-size=8M",
];

impl MariaDb {
    /// With further arguments for the server. None, and a word about it, if it is not installed.
    pub fn start(arguments: &[&str]) -> Option<MariaDb> {
        let mariadbd = program("mariadbd", "mariadb-server")?;
        let install = program("mariadb-install-db", "mariadb-server")?;
        if !Certs::possible() {
            return None;
        }
        let certs = Certs::new();
        let server = Server::start(
            |folder, port| {
                let data = format!("--datadir={}", folder.file("data").display());
                // Where it clears up at its start: one that is shared would lose the tables of the others.
                let tmp = folder.file("tmp");
                std::fs::create_dir(&tmp).expect("a new folder");
                let tmp = format!("--tmpdir={}", tmp.display());
                let common = ["--no-defaults", "--user=root", &data, &tmp];
                let mut made = Command::new(&install);
                made.args(common).args(SMALL);
                run(made.args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
                let mut command = Command::new(&mariadbd);
                command.args(common).args(SMALL).args([
                    "--bind-address=127.0.0.1",
                    "--skip-name-resolve",
                    &format!("--port={port}"),
                    &format!("--socket={}", folder.file("sock").display()),
                    &format!("--pid-file={}", folder.file("pid").display()),
                    &format!("--ssl-cert={}", certs.certificate().display()),
                    &format!("--ssl-key={}", certs.key().display()),
                ]);
                command.args(arguments);
                command
            },
            |folder, _| {
                let log = std::fs::read_to_string(folder.file("log"));
                log.is_ok_and(|log| log.contains("ready for connections"))
            },
        );
        Some(MariaDb { certs, server })
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn socket(&self) -> PathBuf {
        self.server.folder().file("sock")
    }

    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Runs statements as root, and returns what they say: a line a row, cells between tabs.
    ///
    /// # Panics
    /// With the error, if there is one.
    pub fn sql(&self, statements: &str) -> String {
        let done = Command::new("mariadb")
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
            ])
            .arg(format!("--socket={}", self.socket().display()))
            .args(["--execute", statements])
            .output()
            .expect("MariaDB's client");
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{statements}: {error}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}
