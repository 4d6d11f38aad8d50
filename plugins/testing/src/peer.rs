//! A peer that follows a script: for servers that behave as no real one would.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

/// A TCP server that hands each connection to `script`, one after the other, until it is dropped.
#[derive(Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn new(mut script: impl FnMut(TcpStream) + Send + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    return;
                }
                script(stream);
            }
        });
        Peer {
            addr,
            stop,
            thread: Some(thread),
        }
    }

    /// Says the first text at once, and each further one when it has heard something. Then it waits until the client is
    /// gone.
    pub fn saying<T: AsRef<[u8]>>(texts: &[T]) -> Peer {
        let texts: Vec<Vec<u8>> = texts.iter().map(|t| t.as_ref().to_vec()).collect();
        Peer::new(move |mut stream| {
            for (n, text) in texts.iter().enumerate() {
                if n > 0 && stream.read(&mut [0; 4096]).unwrap_or(0) == 0 {
                    return;
                }
                let _ = stream.write_all(text);
            }
            let _ = stream.shutdown(Shutdown::Write);
            // Closing with unread data would send a reset that overtakes what was said.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }

    /// Reads something, then answers with these bytes and closes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Peer {
        let answer = answer.into();
        Peer::new(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
            let _ = stream.shutdown(Shutdown::Write);
            // Until the client is gone: closing with unread data would send a reset that overtakes the answer.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // Wakes the accept.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
