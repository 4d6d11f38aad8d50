//! Connections and what they may take: how many, how long a head, how long without a byte. No client can hold
//! another one up, nor the end of the process for longer than `GRACE`.

use crate::ending;
use crate::listen::{Listener, Peer};
use crate::places::{Places, Seat, UnderWay};
use crate::routes::Site;
use healthd_core::config::Listen;
use healthd_sys::signals::Signals;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// At the same time.
const CONNECTIONS: usize = 256;
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// For a whole head; a connection between two requests ends after that too.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// A client that takes no byte for so long is gone.
const STALL: Duration = Duration::from_secs(30);
/// No connection lives longer.
const LONGEST: Duration = Duration::from_secs(600);
/// At the end: for answers that are under way. The supervisor kills us after twice this time.
const GRACE: Duration = Duration::from_secs(1);

/// Until the supervisor says that we end; then until no connection is left, or `GRACE` is over.
pub async fn serve(site: Rc<Site>, signals: Signals) -> io::Result<()> {
    let end = ending::asked_for(signals, site.args.parent)?;
    if site.settings.web.listen == Listen::Nowhere {
        // Err: the thread that waits is gone, and nothing else is served here.
        let _ = end.await;
        return Ok(());
    }
    let (listener, name) = Listener::bind(&site.settings.web.listen, site.args.socket)?;
    log::info!("web listens  address={name}");
    let places = Places::new(CONNECTIONS);
    {
        let end = pin!(end);
        let taking = pin!(take(&site, &listener, &places));
        first(end, taking).await;
    }
    // Who comes now is turned away; who was there is served.
    drop(listener);
    site.ending.begin();
    let connections = places.taken();
    let _ = tokio::time::timeout(GRACE, places.empty()).await;
    log::info!("web ends  connections={connections} cut={}", places.taken());
    Ok(())
}

/// Connections, for ever.
async fn take(site: &Rc<Site>, listener: &Listener, places: &Rc<Places>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // No descriptor is left, or a client was gone at once: neither ends us.
                log::debug!("no connection: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let seat = places.take().await;
        let site = site.clone();
        tokio::task::spawn_local(async move { connection(&site, stream, peer, &seat).await });
    }
}

/// Until it ends, has lived long enough, waits while another one needs its place, or the process ends and what was asked
/// is answered. Whatever a client does wrong is its own affair.
pub async fn connection<S>(site: &Rc<Site>, stream: S, peer: Peer, seat: &Rc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = service_fn(|request| {
        let (site, seat) = (site.clone(), seat.clone());
        async move {
            let answer = site.answer(request, peer, &seat).await;
            Ok::<_, std::convert::Infallible>(answer.map(|body| UnderWay::new(body, seat)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream, seat.clone())), answer);
    let mut connection = pin!(connection);
    let served = pin!(async {
        if site.ending.or(connection.as_mut()).await.is_none() {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    });
    let given_up = pin!(seat.is_given_up());
    let _ = tokio::time::timeout(LONGEST, first(served, given_up)).await;
}

/// Until one of the two ends.
async fn first(mut a: Pin<&mut impl Future>, mut b: Pin<&mut impl Future>) {
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Pending => b.as_mut().poll(cx).map(|_| ()),
        Poll::Ready(_) => Poll::Ready(()),
    })
    .await;
}

/// A connection whose writes fail when nothing of them is taken for `STALL`, and which waits for its client until then.
struct Patient<S> {
    stream: S,
    seat: Rc<Seat>,
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, seat: Rc<Seat>) -> Patient<S> {
        Patient {
            stream,
            seat,
            until: None,
        }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        taken: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            if self.until.take().is_some() {
                self.seat.goes_on();
            }
            return taken;
        }
        self.seat.stands();
        let until = self
            .until
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALL)));
        match until.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, taken)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.judge(cx, taken)
    }

    /// Parts of an answer are written from where they are, and no connection keeps room for the longest that it had.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
