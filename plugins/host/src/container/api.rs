//! The API of Docker and podman: HTTP with JSON over a unix socket, as far as a check needs it.
//!
//! One connection for all questions of a run. A daemon cannot make us keep more than `BODY_MAX`.

use healthd_client::http::{Response, Wanted, exchange};
use healthd_plugin::net::UnixStream;
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Cx, failure};
use std::io;
use std::path::Path;

/// The list of some thousand containers is 4 MB.
const BODY_MAX: u64 = 16 << 20;

/// Why a question has no answer; of the containers it says nothing.
pub struct Trouble(pub String);

pub struct Api<'a> {
    cx: Cx<'a>,
    stream: UnixStream<'a>,
}

impl<'a> Api<'a> {
    pub async fn connect(cx: Cx<'a>, socket: &Path) -> Result<Api<'a>, Trouble> {
        let stream = UnixStream::connect(cx, socket).await;
        let stream = stream.map_err(|e| {
            let way = match e.kind() {
                io::ErrorKind::PermissionDenied => {
                    "; the socket's group may (SupplementaryGroups=)"
                }
                _ => "",
            };
            let (_, text) = failure(&socket.display().to_string(), &e);
            Trouble(text + way)
        })?;
        Ok(Api { cx, stream })
    }

    /// What stands at this path; None if there is nothing.
    pub async fn get(&mut self, path: &str) -> Result<Option<Value>, Trouble> {
        let question =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
        let mut answer = Response::new(Wanted {
            is_head_request: false,
            headers: false,
            body: true,
            max_body: BODY_MAX,
        });
        let heard = exchange(self.cx, &mut self.stream, question.as_bytes(), &mut answer).await;
        heard.map_err(|fault| Trouble(fault.to_string()))?;
        if answer.cut {
            let most = BODY_MAX >> 20;
            return Err(Trouble(format!("an answer of more than {most} MiB")));
        }
        match answer.status {
            200 => serde_json::from_slice(&answer.body)
                .map(Some)
                .map_err(|e| Trouble(format!("its answer is no JSON: {e}"))),
            404 => Ok(None),
            status => {
                let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
                let text = said["message"].as_str().unwrap_or_default();
                let text: String = text.chars().filter(|c| !c.is_control()).take(160).collect();
                Err(Trouble(format!("it says {status}: {text}")))
            }
        }
    }
}
