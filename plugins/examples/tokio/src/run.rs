//! In the run lane: a runtime of one thread, made and ended in the run. What is spawned on it ends with it.

use crate::{Options, ask};
use healthd_plugin::{BlockingCheck, Cx, Status};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

pub struct Run {
    address: SocketAddr,
    path: String,
}

impl BlockingCheck for Run {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let address = o.address.parse().map_err(|e| format!("address: {e}"))?;
        Ok(Run {
            address,
            path: o.path,
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(e) => return cx.fail("runtime", &e),
        };
        match runtime.block_on(self.until_given_up(cx)) {
            Some(Ok((200, bytes))) => cx.ok(format_args!("{bytes} bytes")),
            Some(Ok((status, _))) => cx.critical(format_args!("HTTP {status}")),
            Some(Err(e)) => cx.critical(format_args!("request: {e}")),
            None => cx.critical("no answer in time"),
        }
    }
}

type Answer = Result<(u16, usize), Box<dyn std::error::Error>>;

impl Run {
    async fn talk(&self) -> Answer {
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        // As any program of tokio does it.
        let driver = tokio::spawn(connection);
        let answer = ask(sender, &self.path).await?;
        driver.abort();
        Ok(answer)
    }

    /// None: the time is up, or the host waits no longer.
    async fn until_given_up(&self, cx: Cx<'_>) -> Option<Answer> {
        // A little is left to say what was found.
        let time = cx.remaining().mul_f64(0.95);
        let (mut talk, mut given_up) = (pin!(self.talk()), pin!(given_up(cx)));
        let first = std::future::poll_fn(|task| {
            if let Poll::Ready(answer) = talk.as_mut().poll(task) {
                return Poll::Ready(Some(answer));
            }
            given_up.as_mut().poll(task).map(|_| None)
        });
        tokio::time::timeout(time, first).await.ok().flatten()
    }
}

/// Ends when the host gives the run up.
async fn given_up(cx: Cx<'_>) {
    while !cx.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
}

const LOOK: Duration = Duration::from_millis(100);
