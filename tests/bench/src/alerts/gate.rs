//! A port that somebody listens on, or nobody.

use healthd_testing::free_port;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Gate {
    pub port: u16,
    open: Option<Open>,
}

/// Whoever connects is let go at once, so that no queue of theirs gets full: that would be an outage of our own.
struct Open {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Gate {
    /// Open.
    pub fn new() -> Result<Gate, String> {
        // Of the ports that no connection gets as its own while nobody listens.
        let port = free_port("127.0.0.1");
        let mut gate = Gate { port, open: None };
        gate.set(true)?;
        Ok(gate)
    }

    pub fn set(&mut self, open: bool) -> Result<(), String> {
        match (open, self.open.take()) {
            (false, None) => {}
            (false, Some(was)) => was.end(self.port)?,
            (true, Some(is)) => self.open = Some(is),
            (true, None) => self.open = Some(Open::at(self.port)?),
        }
        Ok(())
    }
}

impl Open {
    fn at(port: u16) -> Result<Open, String> {
        let until = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)) {
                Ok(listener) => break listener,
                Err(e) if Instant::now() > until => return Err(format!("port {port}: {e}")),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = ends.clone();
        let thread = std::thread::spawn(move || {
            for _ in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        Ok(Open { ends, thread })
    }

    /// When this returns nobody listens any more.
    fn end(self, port: u16) -> Result<(), String> {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", port));
        self.thread.join().map_err(|_| "the gate broke".to_owned())
    }
}
