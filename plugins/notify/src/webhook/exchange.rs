//! One POST and its answer, straight or by way of a proxy. Until its first byte has left, whatever goes wrong is a definite refusal; from then on only
//! the answer says what became of it.

use super::{Proxy, Webhook};
use crate::end::NotTaken;
use healthd_client::http::{Fault, Response, Wanted, exchange};
use healthd_client::wire::Wire;
use healthd_plugin::Cx;
use healthd_plugin::net::{AsyncRead, AsyncWrite, ReadBuf};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The part of an answer's body that is for people, or says when to come back.
const BODY_MAX: u64 = 16 << 10;

pub async fn post(hook: &Webhook, cx: Cx<'_>, request: &[u8]) -> Result<Response, NotTaken> {
    let mut wire = match &hook.proxy {
        None => hook.server.open(cx).await?,
        Some(proxy) => {
            let by = |not: NotTaken| NotTaken {
                why: format!("proxy {}: {}", proxy.url.authority(), not.why),
                ..not
            };
            let wire = proxy.server.open(cx).await;
            let wire = wire.map_err(|failed| by(failed.into()))?;
            match hook.base.https {
                false => wire,
                true => {
                    let wire = tunnel(hook, cx, proxy, wire).await.map_err(by)?;
                    hook.server.secure(wire).await?
                }
            }
        }
    };
    let mut response = Response::new(Wanted {
        is_head_request: false,
        headers: true,
        body: true,
        max_body: BODY_MAX,
    });
    let mut watched = Watched {
        wire: &mut wire,
        has_left: false,
    };
    match exchange(cx, &mut watched, request, &mut response).await {
        Ok(()) => Ok(response),
        // The head has said enough.
        Err(_) if response.status != 0 => Ok(response),
        Err(fault) => Err(not_taken(fault, watched.has_left)),
    }
}

/// Who hangs up while we still send has not heard all of it; but a part may be enough.
fn not_taken(fault: Fault, has_left: bool) -> NotTaken {
    match fault {
        Fault::Io(phase, e) if has_left => NotTaken::after(phase, &e),
        Fault::Io(phase, e) => NotTaken::before(phase, &e),
        why if has_left => NotTaken::perhaps(why.to_string()),
        why => NotTaken::surely(why.to_string()),
    }
}

/// A stream that knows whether anything of ours has left.
struct Watched<'w, S> {
    wire: &'w mut S,
    has_left: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().wire).poll_read(task, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut *this.wire).poll_write(task, data);
        this.has_left |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().wire).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().wire).poll_shutdown(task)
    }
}

/// Asks the proxy for a connection to the receiver.
async fn tunnel<'a>(
    hook: &Webhook,
    cx: Cx<'a>,
    proxy: &Proxy,
    mut wire: Wire<'a>,
) -> Result<Wire<'a>, NotTaken> {
    let base = &hook.base;
    let to = match base.host.contains(':') {
        true => format!("[{}]:{}", base.host, base.port),
        false => format!("{}:{}", base.host, base.port),
    };
    let head = format!(
        "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: healthd/{}\r\n{}\r\n",
        env!("CARGO_PKG_VERSION"),
        proxy.authorization(),
    );
    let mut answer = Response::new(Wanted {
        // What follows its head is the tunnel.
        is_head_request: true,
        headers: false,
        body: false,
        max_body: 0,
    });
    let heard = exchange(cx, &mut wire, head.as_bytes(), &mut answer).await;
    heard.map_err(|why| NotTaken::surely(why.to_string()))?;
    match answer.status {
        200..=299 => Ok(wire),
        status => Err(NotTaken::surely(format!(
            "HTTP {status} when asked for {to}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes so many bytes, and is reset then.
    struct Reset(usize);

    impl AsyncWrite for Reset {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = self.0.min(data.len());
            self.0 -= taken;
            Poll::Ready(match taken {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                taken => Ok(taken),
            })
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn before_the_first_byte_a_reset_is_a_definite_refusal() {
        for (takes, surely) in [(0, true), (1, false)] {
            let mut wire = Reset(takes);
            let mut watched = Watched {
                wire: &mut wire,
                has_left: false,
            };
            let mut task = Context::from_waker(Waker::noop());
            let e = loop {
                match Pin::new(&mut watched).poll_write(&mut task, b"POST") {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(e)) => break e,
                    Poll::Pending => unreachable!("it answers at once"),
                }
            };
            let not = not_taken(Fault::Io("send", e), watched.has_left);
            assert_eq!(not.surely, surely, "{not:?}");
        }
    }
}
