//! One POST and its answer, straight or by way of a proxy. Until its first byte has left, whatever goes wrong is a definite refusal; from then on only
//! the answer says what became of it.

use super::{Proxy, Webhook};
use crate::end::NotTaken;
use healthd_client::http::{Fault, Response, Wanted, exchange};
use healthd_client::wire::Wire;
use healthd_plugin::Cx;

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
                    hook.server.secure(cx, wire).await?
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
    match exchange(cx, &mut wire, request, &mut response).await {
        Ok(()) => Ok(response),
        // The head has said enough.
        Err(_) if response.status != 0 => Ok(response),
        // Who hangs up while we still send has not heard all of it; but a part may be enough.
        Err(Fault::Io(phase, e)) => Err(NotTaken::after(phase, &e)),
        Err(why) => Err(NotTaken::perhaps(why.to_string())),
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
