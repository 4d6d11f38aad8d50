//! The real PostgreSQL, as an unprivileged user, in a folder of its own.

use crate::{Folder, Process, free_port, run};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ATTEMPTS: usize = 20;

/// PostgreSQL on 127.0.0.1; the superuser is `postgres`, without a password.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    _process: Process,
    _folder: Folder,
}

impl Postgres {
    /// None if it is not installed.
    pub fn start() -> Option<Postgres> {
        let bin = newest_bin()?;
        let folder = Folder::new();
        let data = folder.file("data");
        let root = is_root();
        if root {
            // PostgreSQL refuses to run as root.
            let (uid, gid) = nobody();
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711))
                .expect("our own folder");
            std::fs::create_dir(&data).expect("our own folder");
            chown(&data, Some(uid), Some(gid)).expect("root may chown");
        }
        let program = |name: &str| {
            let mut command = Command::new(if root {
                Path::new("runuser")
            } else {
                Path::new("env")
            });
            if root {
                command.args(["-u", "nobody", "--"]);
            }
            command
                .arg(bin.join(name))
                .current_dir("/")
                .env("LC_ALL", "C");
            command
        };
        run(program("initdb")
            .args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"])
            .arg(&data));
        for _ in 0..ATTEMPTS {
            let port = free_port("127.0.0.1");
            let mut child = program("postgres")
                .arg("-D")
                .arg(&data)
                .args([
                    "-p",
                    &port.to_string(),
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "fsync=off",
                ])
                .args(["-c", "listen_addresses=127.0.0.1"])
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("postgres was there a moment ago");
            let mut lines = BufReader::new(child.stderr.take().expect("piped"))
                .lines()
                .map_while(Result::ok);
            let process = Process(child);
            let up =
                lines.any(|line| line.contains("database system is ready to accept connections"));
            // Somebody must read what it logs later.
            std::thread::spawn(move || lines.for_each(drop));
            if up {
                return Some(Postgres {
                    port,
                    _process: process,
                    _folder: folder,
                });
            }
        }
        panic!("PostgreSQL did not start in {ATTEMPTS} attempts");
    }
}

fn newest_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|v| Some(v.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("postgres").exists()).max()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|l| l.starts_with("Uid:\t0\t"))
}

fn nobody() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users
        .lines()
        .find(|l| l.starts_with("nobody:"))
        .unwrap_or("nobody:x:65534:65534");
    let number = |i| {
        line.split(':')
            .nth(i)
            .and_then(|n| n.parse().ok())
            .unwrap_or(65534)
    };
    (number(2), number(3))
}
