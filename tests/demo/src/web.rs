//! The demo's web server: a real one, small, that turns slow, fails, and recovers.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Healthy,
    Slow,
    Failing,
}

impl Mood {
    pub const ALL: [Mood; CYCLE.len()] = [Mood::Healthy, Mood::Slow, Mood::Failing];

    /// The mood at this time since the start, and how long it still lasts.
    pub fn at(since_start: Duration) -> (Mood, Duration) {
        let total: Duration = CYCLE.iter().map(|(_, length)| *length).sum();
        let mut left = Duration::from_nanos((since_start.as_nanos() % total.as_nanos()) as u64);
        for (mood, length) in CYCLE {
            if left < length {
                return (mood, length - left);
            }
            left -= length;
        }
        unreachable!("the rest of a division is smaller than the divisor")
    }

    pub fn next(self) -> Mood {
        match self {
            Mood::Healthy => Mood::Slow,
            Mood::Slow => Mood::Failing,
            Mood::Failing => Mood::Healthy,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Mood::Healthy => "healthy",
            Mood::Slow => "slow",
            Mood::Failing => "failing",
        }
    }

    pub fn explained(self) -> &'static str {
        match self {
            Mood::Healthy => "it answers at once",
            Mood::Slow => "it answers after 400 ms",
            Mood::Failing => "it answers 503",
        }
    }
}

const CYCLE: [(Mood, Duration); 3] = [
    (Mood::Healthy, Duration::from_secs(12)),
    (Mood::Slow, Duration::from_secs(10)),
    (Mood::Failing, Duration::from_secs(10)),
];

pub struct Web {
    pub address: SocketAddr,
    pub started: Instant,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// `moody`: else it stays healthy.
    pub fn start(moody: bool) -> Result<Web, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(|e| format!("a port of 127.0.0.1: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let started = Instant::now();
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if seen.load(Relaxed) {
                    return;
                }
                let mood = match moody {
                    true => Mood::at(started.elapsed()).0,
                    false => Mood::Healthy,
                };
                // A thread each, as a slow answer must not hold up the others.
                std::thread::spawn(move || answer(stream, mood));
            }
        });
        Ok(Web {
            address,
            started,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // Wakes the accept.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Errors are the client's: it sees them.
fn answer(stream: TcpStream, mood: Mood) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next()?.ok()?;
    // The head ends with an empty line.
    lines.map_while(Result::ok).find(String::is_empty)?;
    let path = request.split(' ').nth(1)?;
    let (status, body) = match (path, mood) {
        ("/api/stock", _) => ("200 OK", r#"{"state": "up", "stock": 42}"#),
        ("/", Mood::Healthy) => ("200 OK", "Welcome to the shop.\n"),
        ("/", Mood::Slow) => {
            std::thread::sleep(Duration::from_millis(400));
            ("200 OK", "Welcome to the shop.\n")
        }
        ("/", Mood::Failing) => ("503 Service Unavailable", "The shop is closed.\n"),
        _ => ("404 Not Found", ""),
    };
    let length = body.len();
    write!(
        &stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moods_follow_each_other_for_ever() {
        let seconds = Duration::from_secs;
        for (at, mood, left) in [
            (0, Mood::Healthy, 12),
            (11, Mood::Healthy, 1),
            (12, Mood::Slow, 10),
            (22, Mood::Failing, 10),
            (32, Mood::Healthy, 12),
            (32_000_000 + 13, Mood::Slow, 9),
        ] {
            assert_eq!(Mood::at(seconds(at)), (mood, seconds(left)), "at {at} s");
        }
        for (n, (mood, _)) in CYCLE.iter().enumerate() {
            assert_eq!(mood.next(), CYCLE[(n + 1) % CYCLE.len()].0);
        }
    }
}
