//! One POST and its answer. Until its first byte has left, whatever goes wrong is a definite refusal; from then on only
//! the answer says what became of it.

use super::Webhook;
use crate::end::NotTaken;
use healthd_client::http::{Fault, Response, Wanted, exchange};
use healthd_plugin::Cx;

/// The part of an answer's body that is for people, or says when to come back.
const BODY_MAX: u64 = 16 << 10;

pub async fn post(hook: &Webhook, cx: Cx<'_>, request: &[u8]) -> Result<Response, NotTaken> {
    let mut wire = hook.server.open(cx).await?;
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
