//! Crates made for tokio in a plugin: `h2_step` without a runtime, `h2_run` with one. `../README.md` says when to take
//! which.

#![forbid(unsafe_code)]

mod run;
mod step;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use h2::client::SendRequest;
use healthd_plugin::{options, plugins};
use http::Request;

options! {
    /// Asks a server for a page over HTTP/2, in plain.
    pub struct Options {
        /// Address and port, like "127.0.0.1:80".
        address: String { min_length: 3 },
        /// Path of the page.
        path: String { pattern: "^/" } = "/".into(),
    }
}

plugins! {
    step step::Step { name: "h2_step", summary: "HTTP/2 by the h2 crate, without a runtime" }
    run run::Run { name: "h2_run", summary: "HTTP/2 by the h2 crate, in a runtime of tokio" }
}

/// What is the same in both lanes: one request, and how many bytes came back.
async fn ask(mut sender: SendRequest<Bytes>, path: &str) -> Result<(u16, usize), h2::Error> {
    let request = Request::get(format!("http://localhost{path}")).body(());
    let request = request.unwrap_or_else(|_| Request::new(()));
    let (answer, _) = sender.send_request(request, true)?;
    let (head, mut body) = answer.await?.into_parts();
    let mut bytes = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes += piece.len();
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok((head.status.as_u16(), bytes))
}
