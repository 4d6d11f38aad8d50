//! The real PostgreSQL, unprivileged, in a folder of its own: scram passwords, TLS, a loopback port and a unix socket.

use crate::{Certs, Folder, free_port, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const ATTEMPTS: usize = 20;

/// A cluster with the superuser `postgres`, whose password is [`Postgres::PASSWORD`].
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    pub certs: Certs,
    server: Server,
    folder: Folder,
}

impl Postgres {
    pub const PASSWORD: &str = "s3cret pass/word@1";

    /// Where Debian's newest PostgreSQL has its programs; None, and a word about it, if there is none.
    pub fn installed() -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let newest = versions
            .flatten()
            .map(|v| v.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
            .max();
        if newest.is_none() {
            eprintln!("skipped: PostgreSQL's server is missing (package postgresql)");
        }
        newest
    }

    /// None if PostgreSQL is not installed.
    pub fn start() -> Option<Postgres> {
        Postgres::start_with("")
    }

    /// `settings`: lines for postgresql.conf.
    pub fn start_with(settings: &str) -> Option<Postgres> {
        let bin = Postgres::installed().filter(|_| Certs::possible())?;
        let certs = Certs::new();
        let folder = Folder::new();
        let data = cluster(&bin, &folder, &certs, settings);
        for _ in 0..ATTEMPTS {
            let port = free_port("127.0.0.1");
            match Server::start(&bin, &data, folder.path(), port) {
                Ok(server) => {
                    return Some(Postgres {
                        port,
                        certs,
                        server,
                        folder,
                    });
                }
                Err(log) => assert!(
                    log.contains("Address already in use"),
                    "PostgreSQL did not start: {log}"
                ),
            }
        }
        panic!("no free port in {ATTEMPTS} attempts");
    }

    /// The folder of the unix socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server wrote to its log until now.
    pub fn log(&self) -> String {
        self.server
            .log
            .lock()
            .map(|l| l.clone())
            .unwrap_or_default()
    }
}

/// As root, PostgreSQL's programs run as `nobody`: they refuse to be root.
fn unprivileged(program: PathBuf) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"])
        .arg(program);
    command
}

/// Makes `path` the server's own.
fn give_away(path: &Path) {
    if geteuid().is_root() {
        let nobody = User::from_name("nobody")
            .ok()
            .flatten()
            .expect("the user nobody");
        chown(path, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw()))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

fn cluster(bin: &Path, folder: &Folder, certs: &Certs, settings: &str) -> PathBuf {
    give_away(folder.path());
    let password = folder.write("password", Postgres::PASSWORD);
    give_away(&password);
    let data = folder.file("data");
    run(unprivileged(bin.join("initdb"))
        .arg("-D")
        .arg(&data)
        .arg(format!("--pwfile={}", password.display()))
        .args([
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--no-sync",
            "--no-instructions",
            "-E",
            "UTF8",
            "--locale=C",
        ])
        .current_dir(folder.path()));
    for (from, name) in [
        (certs.certificate(), "server.crt"),
        (certs.key(), "server.key"),
    ] {
        let to = data.join(name);
        std::fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        // The server refuses a key that others may read.
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o600)).expect("our own file");
        give_away(&to);
    }
    let all = format!(
        "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nssl = on\nfsync = off\nmax_connections = 20\n\
         shared_buffers = 1MB\n{settings}\n",
        folder.path().display()
    );
    let conf = data.join("postgresql.auto.conf");
    std::fs::write(&conf, all).unwrap_or_else(|e| panic!("{}: {e}", conf.display()));
    data
}

#[derive(Debug)]
struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// The server once it takes connections, or its log if it ended.
    fn start(bin: &Path, data: &Path, folder: &Path, port: u16) -> Result<Server, String> {
        let mut child = unprivileged(bin.join("postgres"))
            .arg("-D")
            .arg(data)
            .args(["-p", &port.to_string()])
            .current_dir(folder)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv (package util-linux) and postgres start");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let server = Server {
            child,
            log: log.clone(),
        };
        let keep = move |line: &str| {
            let mut log = log.lock().expect("no panic while it is held");
            log.push_str(line);
            log.push('\n');
        };
        loop {
            let Some(Ok(line)) = lines.next() else {
                return Err(server.log.lock().expect("nobody else has it").clone());
            };
            keep(&line);
            if line.contains("database system is ready to accept connections") {
                break;
            }
        }
        // Somebody must go on reading, or the server blocks on its log.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| keep(&line)));
        Ok(server)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Immediate shutdown: unlike SIGKILL it takes the backends and the shared memory along.
        self.signal(Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}
