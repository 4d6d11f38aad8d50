//! In the step lane: the client is handed the SDK's stream, and its connection is driven beside the request.

use crate::{Options, ask};
use healthd_plugin::net::{TcpStream, drive};
use healthd_plugin::{Check, Cx, Status};
use std::net::SocketAddr;

pub struct Step {
    address: SocketAddr,
    path: String,
}

impl Check for Step {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let address = o.address.parse().map_err(|e| format!("address: {e}"))?;
        Ok(Step {
            address,
            path: o.path,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        cx.phase("connect");
        let stream = match TcpStream::connect(cx, self.address).await {
            Ok(stream) => stream,
            Err(e) => return cx.fail("connect", &e),
        };
        cx.phase("request");
        let answer = async {
            let (sender, connection) = h2::client::handshake(stream).await?;
            // With a runtime one would spawn the connection; here it is polled beside who uses it.
            drive(connection, ask(sender, &self.path)).await
        };
        match answer.await {
            Ok((200, bytes)) => cx.ok(format_args!("{bytes} bytes")),
            Ok((status, _)) => cx.critical(format_args!("HTTP {status}")),
            Err(e) => cx.critical(format_args!("request: {e}")),
        }
    }
}
