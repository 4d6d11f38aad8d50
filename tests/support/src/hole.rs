//! A target that never answers.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};

/// Accepts every connection and says nothing, for ever. Runs on a thread until the process ends; holds at most
/// `most` connections, since the clients close theirs at their deadlines.
pub fn black_hole(address: &str, most: usize) -> Result<u16, String> {
    let listener = TcpListener::bind((address, 0)).map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    std::thread::spawn(move || {
        let mut held: VecDeque<TcpStream> = VecDeque::new();
        for stream in listener.incoming().flatten() {
            held.push_back(stream);
            if held.len() > most {
                held.pop_front();
            }
        }
    });
    Ok(port)
}
