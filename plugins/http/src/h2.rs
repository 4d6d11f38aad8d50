//! The same exchange over HTTP/2, by the `h2` crate in the task of the check: no runtime, nothing is spawned.

use crate::exchange::Times;
use crate::failed::Failed;
use crate::request::Request;
use crate::response::{Malformed, Response};
use h2::Reason;
use healthd_plugin::Cx;
use healthd_plugin::net::{AsyncRead, AsyncWrite, drive};
use std::io;

/// As for HTTP/1.1.
const MAX_HEAD: u32 = 300 << 10;
/// Of a body, as long as the peer is not told that it may send larger ones.
const MAX_FRAME: usize = 16 << 10;

/// What ALPN calls it.
pub const PROTOCOL: &[u8] = b"h2";

/// Sends the request over a fresh connection and reads the whole answer into `response`.
pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    cx: Cx<'_>,
    stream: S,
    request: &Request,
    response: &mut Response,
    times: &mut Times,
) -> Result<(), Failed> {
    cx.phase("ttfb");
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEAD);
    let (mut sender, connection) = builder
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .map_err(|e| failed("ttfb", &e))?;
    let exchange = async {
        let body = request.body_bytes();
        let (answer, mut sending) = sender
            .send_request(request.to_http2()?, body.is_empty())
            .map_err(|e| failed("send", &e))?;
        if !body.is_empty() {
            let body = bytes::Bytes::copy_from_slice(body);
            sending
                .send_data(body, true)
                .map_err(|e| failed("send", &e))?;
        }
        let answered = answer.await.map_err(|e| {
            response.wants_http1 = e.reason() == Some(Reason::HTTP_1_1_REQUIRED);
            failed("ttfb", &e)
        });
        let (head, mut body) = answered?.into_parts();
        times.ttfb = cx.now_ns();
        let headers = head.headers.iter();
        response
            .begin(
                head.status.as_u16(),
                headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
                body.is_end_stream(),
            )
            .map_err(|why| malformed("ttfb", &why))?;
        if response.is_done() {
            return Ok(());
        }
        cx.phase("transfer");
        let wait = response.is_endless().then(|| cx.remaining() / 2);
        let rest = async {
            loop {
                let room = response.make_room(cx, MAX_FRAME).await;
                room.map_err(|e| Failed::io("transfer", &e))?;
                let Some(piece) = body.data().await else {
                    break;
                };
                let piece = piece.map_err(|e| failed("transfer", &e))?;
                let _ = body.flow_control().release_capacity(piece.len());
                response.piece(&piece);
                if response.is_done() {
                    return Ok(());
                }
            }
            response.end().map_err(|why| malformed("transfer", &why))
        };
        match wait {
            None => rest.await,
            Some(time) => match cx.timeout(time, rest).await {
                Ok(done) => done,
                Err(_) => {
                    response.stop();
                    Ok(())
                }
            },
        }
    };
    // Boxed: few checks speak it, and all would carry the room for it.
    Box::pin(drive(connection, exchange)).await
}

fn malformed(phase: &str, why: &Malformed) -> Failed {
    Failed::critical(format!("{phase}: {why}"))
}

fn failed(phase: &str, error: &h2::Error) -> Failed {
    if let Some(e) = error.get_io() {
        return match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                Failed::critical(format!("{phase}: connection closed within HTTP/2"))
            }
            _ => Failed::io(phase, e),
        };
    }
    let why = match error.reason() {
        Some(Reason::HTTP_1_1_REQUIRED) => {
            "the server wants HTTP/1.1 for this: http_version = \"1.1\"".into()
        }
        // Said by us: of its first bytes, or of what comes later.
        Some(Reason::FRAME_SIZE_ERROR | Reason::PROTOCOL_ERROR)
            if error.is_library() && phase == "ttfb" =>
        {
            "the server does not speak HTTP/2, or breaks its rules".into()
        }
        Some(reason) if error.is_library() => {
            format!("the server breaks the rules of HTTP/2: {reason:?}")
        }
        Some(reason) if error.is_go_away() => {
            format!("the server ends the HTTP/2 connection: {reason:?}")
        }
        Some(reason) => format!("the server ends the HTTP/2 stream: {reason:?}"),
        None => format!("HTTP/2: {error}"),
    };
    Failed::critical(format!("{phase}: {why}"))
}
