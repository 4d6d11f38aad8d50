//! A PostgreSQL of the demo's own, if its programs are installed: unprivileged, on a port of 127.0.0.1.

use crate::daemon::tied_to_us;
use crate::folder::Folder;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

const ATTEMPTS: usize = 5;

pub struct Postgres {
    pub port: u16,
    server: Child,
}

impl Postgres {
    /// Err: why there is none.
    pub fn start(folder: &Folder) -> Result<Postgres, String> {
        let bin = newest_programs()
            .ok_or("PostgreSQL is not installed (Debian's package is `postgresql`)")?;
        let home = folder.dir("postgres", 0o700)?;
        let user = match rustix::process::geteuid().is_root() {
            true => Some(give_to_nobody(&home)?),
            false => None,
        };
        let data = home.join("data");
        let made = tied_to_us(&bin.join("initdb"), user)
            .args([
                "-U",
                "demo",
                "-A",
                "trust",
                "--no-sync",
                "--no-instructions",
                "--locale=C",
                "-D",
            ])
            .arg(&data)
            .current_dir(&home)
            .output()
            .map_err(|e| format!("initdb: {e}"))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(format!(
                "initdb: {}",
                said.trim().lines().next_back().unwrap_or_default()
            ));
        }
        for _ in 0..ATTEMPTS {
            if let Some(server) = Postgres::listen(&bin, &home, &data, user)? {
                return Ok(server);
            }
        }
        Err("PostgreSQL does not start".into())
    }

    /// None: somebody else took the port first, as it seems.
    fn listen(
        bin: &Path,
        home: &Path,
        data: &Path,
        user: Option<(u32, u32)>,
    ) -> Result<Option<Postgres>, String> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|free| free.local_addr())
            .map_err(|e| format!("a port of 127.0.0.1: {e}"))?
            .port();
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
        ];
        let mut server = tied_to_us(&bin.join("postgres"), user)
            .arg("-D")
            .arg(data)
            .args(["-p", &port.to_string()])
            .args(settings.iter().flat_map(|s| ["-c", s]))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("postgres: {e}"))?;
        let log = server.stderr.take().ok_or("postgres has no log")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let up = lines.any(|line| line.contains("ready to accept connections"));
        // Somebody must read on, or it blocks on its log.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Postgres { port, server };
        Ok(up.then_some(server))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Fast shutdown": it takes its own children along.
        crate::daemon::signal(&self.server, rustix::process::Signal::INT);
        let _ = self.server.wait();
    }
}

fn newest_programs() -> Option<PathBuf> {
    // Debian keeps one folder a version; elsewhere the programs are in PATH.
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let version =
        |bin: &PathBuf| -> Option<u32> { bin.parent()?.file_name()?.to_str()?.parse().ok() };
    let has_both = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    let of_debian = versions
        .flatten()
        .map(|v| v.path().join("bin"))
        .filter(has_both)
        .max_by_key(version);
    let path = std::env::var_os("PATH").unwrap_or_default();
    of_debian.or_else(|| std::env::split_paths(&path).find(has_both))
}

/// PostgreSQL refuses to run as root.
fn give_to_nobody(home: &Path) -> Result<(u32, u32), String> {
    let users = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let (uid, gid) = ids.ok_or("PostgreSQL does not run as root, and there is no user `nobody`")?;
    std::os::unix::fs::chown(home, Some(uid), Some(gid))
        .map_err(|e| format!("{}: {e}", home.display()))?;
    Ok((uid, gid))
}
