//! For tests that send any bytes: a site without a daemon behind it, and one connection to it.

use crate::listen::Peer;
use crate::places::Places;
use crate::routes::Site;
use crate::server::connection;
use healthd_core::config::{Web, WebSettings};
use healthd_core::wire::roles::{Reader, ReaderArgs};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// A stream would go on for ever, and half a request is never answered.
const LONGEST: Duration = match cfg!(test) {
    true => Duration::from_secs(2),
    false => Duration::from_millis(20),
};

/// What is answered to these bytes, as far as it comes soon.
pub fn answer(bytes: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let site = Rc::new(Site::new(&nowhere(), settings()));
    let (ours, theirs) = duplex(1 << 16);
    let tasks = tokio::task::LocalSet::new();
    let exchange = async move {
        let (mut read, mut write) = tokio::io::split(ours);
        // Root, so that nothing is refused before it is read.
        let serve = tokio::task::spawn_local(async move {
            let seat = Places::new(1).take().await;
            connection(&site, theirs, Peer::User(0), &seat).await;
        });
        let mut answer = Vec::new();
        let talk = async {
            let _ = write.write_all(bytes).await;
            // Who closes before that is gone, and is answered nothing.
            let mut first = [0; 512];
            let some = tokio::time::timeout(LONGEST / 2, read.read(&mut first)).await;
            answer.extend_from_slice(&first[..some.map_or(0, |n| n.unwrap_or(0))]);
            let _ = write.shutdown().await;
            let _ = read.read_to_end(&mut answer).await;
        };
        let _ = tokio::time::timeout(LONGEST, talk).await;
        serve.abort();
        answer
    };
    runtime.block_on(tasks.run_until(exchange))
}

fn nowhere() -> ReaderArgs {
    ReaderArgs {
        role: Reader::Web,
        parent: 0,
        settings: -1,
        socket: -1,
        runtime_dir: PathBuf::from("/nonexistent"),
        state_dir: PathBuf::from("/nonexistent"),
        log: String::new(),
    }
}

fn settings() -> WebSettings {
    WebSettings {
        web: Web::that_listens_nowhere(),
        history: false,
        push: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> u16 {
        let answer = String::from_utf8_lossy(&answer(request.as_bytes())).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("{request:?}: {answer:?}"))
    }

    #[test]
    fn what_is_no_request_is_refused_and_what_is_hostile_finds_nothing() {
        for (request, wanted) in [
            ("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
            ("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
            (
                "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
                404,
            ),
            (
                "GET /check/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
                404,
            ),
            ("GET /v1/checks/%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", 503),
            ("PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            (
                "POST /v1/run HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
                415,
            ),
            (
                "POST /v1/run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
                400,
            ),
            (
                "POST /v1/analyse HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n",
                413,
            ),
            ("G\0T / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/9.9\r\n\r\n", 400),
        ] {
            assert_eq!(status(request), wanted, "{request:?}");
        }
    }

    #[test]
    fn two_lengths_are_no_second_request() {
        // What one server takes for a body and the next one for a request. None of them is answered twice with it.
        let smuggled = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
        for head in [
            "Content-Length: 0\r\nContent-Length: 40\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Content-Length: +0\r\n",
            "Content-Length : 0\r\n",
        ] {
            let kind = "Content-Type: application/json\r\n";
            let request = format!("POST /v1/run HTTP/1.1\r\nHost: x\r\n{kind}{head}\r\n{smuggled}");
            let answer = String::from_utf8_lossy(&answer(request.as_bytes())).into_owned();
            assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_not_kept() {
        let request = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
        assert_eq!(status(&request), 431);
    }
}
