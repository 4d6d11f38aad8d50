//! Ill will: readers that never stop asking, servers that answer as no server should, plugins that try what none may.

use crate::act::Done;
use crate::plan::Step;
use crate::targets::Target;
use crate::world::World;
use healthd_test_support::procs;
use healthd_testing::Peer;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub const MANNERS: [&str; 11] = [
    "headers",
    "header",
    "continue",
    "body",
    "chunks",
    "drip",
    "silence",
    "garbage",
    "records",
    "redirects",
    "json",
];
pub const TIMEOUT_MS: u64 = 2000;
/// How long each of these goes on.
const TIME: Duration = Duration::from_secs(4);
/// Root's own question beside readers; two cores, which they use as well.
const ANSWERED: Duration = Duration::from_secs(20);
/// What workers may hold more beside hostile servers.
const MORE_KB: u64 = 96 << 10;

/// A server for all kinds of checks; good HTTP unless it is told to be something else.
pub struct Hostile {
    /// One more than the place in `MANNERS`; 0: good.
    manner: Arc<AtomicUsize>,
    port: u16,
    _peer: Peer,
}

impl Hostile {
    pub fn new() -> Hostile {
        let manner = Arc::new(AtomicUsize::new(0));
        let now = manner.clone();
        let peer = Peer::new(move |stream| {
            let manner = now.clone();
            std::thread::spawn(move || {
                // That the other side hangs up is what it should do.
                let _ = talk(stream, &manner);
            });
        });
        let port = peer.addr.port();
        let _peer = peer;
        Hostile {
            manner,
            port,
            _peer,
        }
    }

    pub fn checks(&self, dir: &Path) -> Vec<Target> {
        let (port, dir) = (self.port, dir.display());
        let check = |name: String, plugin, options: String| Target {
            name,
            plugin,
            interval_ms: 1000,
            timeout_ms: TIMEOUT_MS,
            attempts: 2,
            options,
        };
        let mut list = Vec::new();
        for n in 0..6 {
            let options = format!("url = \"http://127.0.0.1:{port}/{n}\", body_contains = \"yes\"");
            list.push(check(format!("hostile/http-{n}"), "http", options));
            let options = format!("url = \"https://127.0.0.1:{port}/{n}\", insecure = true");
            list.push(check(format!("hostile/tls-{n}"), "http", options));
            // Some come to nothing in what the server says then, and some to all of it.
            let path = ["$..status", "$"][n % 2];
            let options = format!("url = \"http://127.0.0.1:{port}/{n}\", json_path = \"{path}\"");
            list.push(check(format!("hostile/json-{n}"), "http", options));
            let options = format!("host = \"127.0.0.1\", port = {port}, expect = \"never\"");
            list.push(check(format!("hostile/tcp-{n}"), "tcp", options));
        }
        for n in 0..2 {
            let options = format!(
                "url = \"postgres://u@127.0.0.1:{port}/x?sslmode=disable\", password = \"p\""
            );
            list.push(check(format!("hostile/postgres-{n}"), "postgres", options));
        }
        // Good is what is refused each time: these system calls are forbidden wherever there is seccomp.
        for plugin in ["forbidden", "forbidden_cpu"] {
            let options = format!("layers = \"c\", outside = \"-{dir}/switch\"");
            let attack = check(format!("good/{plugin}"), plugin, options);
            list.push(Target {
                timeout_ms: 10_000,
                ..attack
            });
        }
        list
    }
}

fn talk(mut stream: TcpStream, manner: &AtomicUsize) -> std::io::Result<()> {
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut request = [0; 4096];
    let n = stream.read(&mut request)?;
    let was = manner.load(SeqCst);
    let Some(how) = was.checked_sub(1).and_then(|n| MANNERS.get(n)) else {
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\"yes\"";
        return stream.write_all(good.as_bytes());
    };
    let filler = "x".repeat(4000);
    let line = format!("A: {filler}\r\n");
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    let (first, again, pause_ms): (&str, Vec<u8>, u64) = match *how {
        "headers" => (OK, line.into_bytes(), 0),
        "header" => ("HTTP/1.1 200 OK\r\nA: ", filler.into_bytes(), 0),
        "continue" => ("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100), 0),
        "body" => ("HTTP/1.1 200 OK\r\n\r\n", filler.repeat(16).into_bytes(), 0),
        "chunks" => (&chunked, b"1\r\nx\r\n".repeat(5000), 0),
        "drip" => (OK, b"A".to_vec(), 20),
        "silence" => ("", Vec::new(), 50),
        "redirects" => (
            "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n",
            Vec::new(),
            50,
        ),
        "json" => (&wide(), Vec::new(), 50),
        // PostgreSQL's notices, at that.
        "garbage" => ("N\0\0\0\x08\0\0\0\0", request[..n].repeat(8), 0),
        // TLS: empty handshake records without end.
        _ => ("", [22, 3, 3, 0, 0].repeat(500), 0),
    };
    stream.write_all(first.as_bytes())?;
    while manner.load(SeqCst) == was {
        stream.write_all(&again)?;
        crate::pause(pause_ms);
    }
    Ok(())
}

/// A megabyte that is many times as large once it is read.
fn wide() -> String {
    let body = format!("[{}0]", "{\"a\":[1,2,3]},".repeat(70_000));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl World {
    pub fn ill_will(&self, step: &Step) -> Result<Done, String> {
        match step {
            Step::Readers { n } => self.readers(*n),
            Step::Servers { how } => self.servers(how),
            Step::Attack { times } => self.attack(*times),
            other => Err(format!("{} is no ill will", other.kind())),
        }
    }

    /// As a user who may look and nothing else.
    fn readers(&self, n: u64) -> Result<Done, String> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Done {
                skipped: Some("only root can be a reader that is somebody else".into()),
                ..Done::default()
            });
        }
        let healthctl = self.dir.join("bin/healthctl").display().to_string();
        let socket = self.service.socket().display().to_string();
        let asks = [
            "--json status",
            "why good/tcp-0",
            "show good/http-1",
            "events",
            "status nobody-of-that-name",
            "pause good/tcp-0",
        ];
        let loops: Vec<String> = asks
            .iter()
            .map(|ask| format!("{healthctl} --socket {socket} {ask}"))
            .collect();
        let script = format!("while :; do {}; done >/dev/null 2>&1", loops.join("; "));
        let crowd: Result<Vec<Child>, String> = (0..n)
            .map(|_| {
                let mut reader = Command::new("setpriv");
                reader
                    .args(["--reuid=65534", "--regid=0", "--clear-groups", "timeout"])
                    .args([&TIME.as_secs().to_string(), "sh", "-c", &script])
                    .stdin(Stdio::null());
                reader.spawn().map_err(|e| format!("setpriv: {e}"))
            })
            .collect();
        let begun = Instant::now();
        let mut worst = Duration::ZERO;
        while begun.elapsed() < TIME {
            let asked = Instant::now();
            self.ask("version", json!({}))?;
            worst = worst.max(asked.elapsed());
            crate::pause(100);
        }
        for mut reader in crowd? {
            let _ = reader.wait();
        }
        if worst > ANSWERED {
            return Err(format!(
                "root's `version` took {worst:?} beside {n} readers"
            ));
        }
        let rows = self.ask("show", json!({"name": "good/tcp-0"}))?;
        if rows.first().is_some_and(|row| row["paused"] == true) {
            return Err("a reader has paused a check".into());
        }
        Ok(Done {
            note: format!("{n}; version within {} ms", worst.as_millis()),
            ..Done::default()
        })
    }

    /// No good check misses its time meanwhile, and no worker takes the machine's memory.
    fn servers(&self, how: &str) -> Result<Done, String> {
        let held = || -> u64 {
            let workers = self.service.role("worker io");
            let kb = workers.iter().filter_map(|pid| procs::anonymous_kb(*pid));
            kb.sum()
        };
        let place = MANNERS.iter().position(|m| *m == how).unwrap_or(0);
        let before = held();
        self.hostile.manner.store(place + 1, SeqCst);
        let begun = Instant::now();
        let mut most = before;
        while begun.elapsed() < TIME {
            most = most.max(held());
            crate::pause(100);
        }
        let seen = self.eyes.seen();
        let late: Vec<String> = seen
            .rows
            .iter()
            .filter(|(name, row)| name.starts_with("good/") && row.planned)
            .filter(|(name, row)| {
                row.changed.elapsed() > self.interval(name) + crate::invariants::SLACK
            })
            .map(|(name, row)| format!("`{name}` had no result for {:?}", row.changed.elapsed()))
            .collect();
        drop(seen);
        self.hostile.manner.store(0, SeqCst);
        if !late.is_empty() {
            return Err(format!("beside hostile servers ({how}): {late:?}"));
        }
        let more = most.saturating_sub(before);
        if more > MORE_KB {
            return Err(format!(
                "beside hostile servers ({how}) workers hold {more} kB more"
            ));
        }
        Ok(Done {
            note: format!("{how}; workers hold {more} kB more"),
            ..Done::default()
        })
    }

    /// All of it is refused, and who tries it hurts nobody: what follows looks at that.
    fn attack(&self, times: u64) -> Result<Done, String> {
        let mut said = String::new();
        for _ in 0..times {
            for row in self.ask("run", json!({"names": ["good/forbidden*"]}))? {
                if row["type"] == "check" && row["fault"].is_null() && row["status"] != "ok" {
                    return Err(format!("not all was refused: {row}"));
                }
                said = row["message"].as_str().unwrap_or(&said).to_owned();
            }
        }
        Ok(Done {
            note: format!("{times} times, {said}"),
            ..Done::default()
        })
    }
}
