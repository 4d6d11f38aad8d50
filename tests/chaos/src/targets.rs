//! What the checks look at: real servers and programs, good, slow, flapping and dead.

use healthd_testing::{Folder, Nginx, Peer, Postgres};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub struct Targets {
    nginx: Option<Nginx>,
    postgres: Option<Postgres>,
    sqlite: Option<PathBuf>,
    slow: u16,
    flapping: u16,
    hole: u16,
    /// Bound, and nobody listens: a connection is refused, and nobody else can get the port.
    dead: u16,
    _bound: std::os::fd::OwnedFd,
    _peers: Vec<Peer>,
    folder: Folder,
}

/// One line of this: `name`, plugin, interval ms, timeout ms, options.
pub struct Target {
    pub name: String,
    pub plugin: &'static str,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    pub attempts: u32,
    pub options: String,
}

impl Targets {
    pub fn start() -> Result<Targets, String> {
        let folder = Folder::new();
        let nginx =
            Nginx::installed().then(|| Nginx::start("location / { return 200 \"good\\n\"; }"));
        let sqlite = folder.file("good.sqlite");
        let made = Command::new("sqlite3")
            .arg(&sqlite)
            .arg("create table t(n); insert into t values (1), (2);")
            .status();
        let (dead, bound) = dead_port()?;
        let slow = Peer::new(|stream| {
            std::thread::spawn(move || answer(stream, 300, "200 OK"));
        });
        let mut turn = 0u32;
        let flapping = Peer::new(move |stream| {
            turn += 1;
            let status = if (turn / 3).is_multiple_of(2) {
                "200 OK"
            } else {
                "503 Not Now"
            };
            std::thread::spawn(move || answer(stream, 0, status));
        });
        Ok(Targets {
            nginx,
            postgres: Postgres::start(),
            sqlite: made.is_ok_and(|s| s.success()).then_some(sqlite),
            slow: slow.addr.port(),
            flapping: flapping.addr.port(),
            hole: healthd_test_support::black_hole("127.0.0.1", 200)?,
            dead,
            _bound: bound,
            _peers: vec![slow, flapping],
            folder,
        })
    }

    pub fn missing(&self) -> Vec<&'static str> {
        let there = [
            ("nginx", self.nginx.is_some()),
            ("postgres", self.postgres.is_some()),
            ("sqlite", self.sqlite.is_some()),
        ];
        there.iter().filter(|t| !t.1).map(|t| t.0).collect()
    }

    /// Every check on a target that is not one of our own fixtures.
    pub fn checks(&self) -> Vec<Target> {
        let mut list = Vec::new();
        let mut add = |name: String, plugin, interval_ms, timeout_ms, attempts, options: String| {
            list.push(Target {
                name,
                plugin,
                interval_ms,
                timeout_ms,
                attempts,
                options,
            });
        };
        let web = self.nginx.as_ref().map_or(self.slow, |n| n.port);
        for n in 0..30 {
            let options = format!("url = \"http://127.0.0.1:{web}/{n}\"");
            add(format!("good/http-{n}"), "http", 1000, 10_000, 2, options);
        }
        for n in 0..10 {
            let options = format!("host = \"127.0.0.1\", port = {web}");
            add(format!("good/tcp-{n}"), "tcp", 500, 10_000, 2, options);
        }
        if let Some(p) = &self.postgres {
            for n in 0..2 {
                let options = format!(
                    "url = \"postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable\", password = \"{}\"",
                    p.port,
                    Postgres::PASSWORD
                );
                add(
                    format!("good/postgres-{n}"),
                    "postgres",
                    2000,
                    10_000,
                    2,
                    options,
                );
            }
        }
        if let Some(file) = &self.sqlite {
            for n in 0..3 {
                let options = format!("path = {file:?}, query = \"select count(*) from t\"");
                add(
                    format!("good/sqlite-{n}"),
                    "sqlite",
                    1000,
                    10_000,
                    2,
                    options,
                );
            }
        }
        for n in 0..6 {
            // The folder's name in its arguments makes a leftover findable.
            let marker = self.folder.path().display();
            let options = format!("argv = [\"/bin/sh\", \"-c\", \"sleep 0.05; : {marker}/\"]");
            add(format!("good/exec-{n}"), "exec", 1000, 10_000, 2, options);
        }
        let options = "duration = \"20ms\"".to_owned();
        add("good/cpu".into(), "cpu", 2000, 10_000, 2, options);
        for n in 0..5 {
            let options = format!("url = \"http://127.0.0.1:{}/{n}\"", self.slow);
            add(format!("slow/http-{n}"), "http", 1500, 10_000, 2, options);
            let options = format!("url = \"http://127.0.0.1:{}/{n}\"", self.flapping);
            add(format!("flap/http-{n}"), "http", 700, 10_000, 2, options);
            let options = format!("host = \"127.0.0.1\", port = {}", self.dead);
            add(format!("dead/tcp-{n}"), "tcp", 1000, 5000, 1, options);
            let options = format!("url = \"http://127.0.0.1:{}/\"", self.hole);
            add(format!("hang/http-{n}"), "http", 2000, 1000, 2, options);
        }
        let options = "argv = [\"/bin/sh\", \"-c\", \"echo no; exit 2\"]".to_owned();
        add("dead/exec".into(), "exec", 1000, 5000, 1, options);
        list
    }

    /// What every process of a check on one of our programs has in its arguments.
    pub fn marker(&self) -> &std::path::Path {
        self.folder.path()
    }
}

fn answer(mut stream: TcpStream, wait_ms: u64, status: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let _ = stream.read(&mut [0; 4096]);
    crate::pause(wait_ms);
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes");
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn dead_port() -> Result<(u16, std::os::fd::OwnedFd), String> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket,
    };
    use std::os::fd::AsRawFd;
    let told = |e: nix::Error| e.to_string();
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(told)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).map_err(told)?;
    let name: SockaddrIn = getsockname(fd.as_raw_fd()).map_err(told)?;
    Ok((name.port(), fd))
}
