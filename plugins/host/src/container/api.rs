//! The API of Docker and podman: HTTP with JSON over a unix socket, as far as a check needs it.
//!
//! One connection for all questions of a run. A daemon cannot make us keep more than `BODY_MAX`.

use healthd_plugin::net::{Lines, UnixStream};
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Cx, failure};
use std::io;
use std::path::Path;

/// The list of some thousand containers is 4 MB.
const BODY_MAX: usize = 16 << 20;
const LINE_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 100;

/// Why a question has no answer; of the containers it says nothing.
pub struct Trouble(pub String);

pub struct Api<'a>(Lines<UnixStream<'a>>);

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Trouble(e.to_string())
    }
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
        Ok(Api(Lines::new(stream, LINE_MAX)))
    }

    /// What stands at this path; None if there is nothing.
    pub async fn get(&mut self, path: &str) -> Result<Option<Value>, Trouble> {
        let question =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
        self.0.write(question.as_bytes()).await?;
        let line = self.0.text().await?;
        let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let Some(code) = code.and_then(|c| c.parse::<u16>().ok()) else {
            let text: String = line.chars().take(80).collect();
            return Err(Trouble(format!("{text:?} is no HTTP")));
        };
        let (mut length, mut chunked) = (None, false);
        for n in 0.. {
            let header = self.0.text().await?;
            if header.is_empty() {
                break;
            }
            if n == HEADERS_MAX {
                return Err(Trouble(format!("more than {HEADERS_MAX} headers")));
            }
            let (name, value) = header.split_once(':').unwrap_or((&header, ""));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(size(value, 10)?),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        let body = match (chunked, length) {
            (true, _) => self.chunks().await?,
            (false, Some(n)) => self.0.bytes(n).await?.to_vec(),
            (false, None) => return Err(Trouble("an answer of unknown length".into())),
        };
        match code {
            200 => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|e| Trouble(format!("its answer is no JSON: {e}"))),
            404 => Ok(None),
            _ => {
                let said = serde_json::from_slice::<Value>(&body).unwrap_or_default();
                let text = said["message"].as_str().unwrap_or_default();
                let text: String = text.chars().filter(|c| !c.is_control()).take(160).collect();
                Err(Trouble(format!("it says {code}: {text}")))
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            let line = self.0.text().await?;
            let n = size(line.split(';').next().unwrap_or_default().trim(), 16)?;
            if body.len() + n > BODY_MAX {
                return Err(too_long());
            }
            if n == 0 {
                // Headers may follow; they end with an empty line.
                for _ in 0..HEADERS_MAX {
                    if self.0.line().await?.is_empty() {
                        return Ok(body);
                    }
                }
                return Err(Trouble(format!("more than {HEADERS_MAX} headers")));
            }
            body.extend_from_slice(self.0.bytes(n).await?);
            if !self.0.line().await?.is_empty() {
                return Err(Trouble("a piece of the answer has no end".into()));
            }
        }
    }
}

fn size(text: &str, radix: u32) -> Result<usize, Trouble> {
    match usize::from_str_radix(text, radix) {
        Ok(n) if n <= BODY_MAX => Ok(n),
        Ok(_) => Err(too_long()),
        Err(_) => Err(Trouble(format!("{text:?} is no length"))),
    }
}

fn too_long() -> Trouble {
    Trouble(format!("an answer of more than {} MiB", BODY_MAX >> 20))
}
