//! Servers on loopback that a bench asks: they live in healthctl, and their time is not healthd's.

use super::failed;
use crate::error::CtlError;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// Answers each request after `wait`.
pub struct Web {
    pub at: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Web {
    /// `threads` accept side by side; one that waits has a thread for each connection.
    pub fn start(wait: Duration, threads: usize) -> Result<Web, CtlError> {
        let listener = TcpListener::bind("127.0.0.1:0");
        let listener = listener.map_err(|e| failed(format!("a port on loopback: {e}")))?;
        let at = listener.local_addr();
        let at = at.map_err(|e| failed(e.to_string()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut all = Vec::new();
        for _ in 0..threads {
            let listener = listener.try_clone();
            let listener = listener.map_err(|e| failed(e.to_string()))?;
            let stop = stop.clone();
            all.push(std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Relaxed) {
                        return;
                    }
                    match wait.is_zero() {
                        true => answer(stream, wait),
                        false => drop(std::thread::spawn(move || answer(stream, wait))),
                    }
                }
            }));
        }
        Ok(Web {
            at,
            stop,
            threads: all,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.at)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Each of them waits for a connection.
        for _ in &self.threads {
            let _ = TcpStream::connect(self.at);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, wait: Duration) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    if stream.read(&mut [0; 1024]).unwrap_or(0) > 0 {
        std::thread::sleep(wait);
        let _ = stream.write_all(ANSWER);
    }
}

/// One request by plain code, as a script would make it.
pub fn get(at: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(at)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
