//! A sign of life of a job, in the paths of healthchecks.io, so that its clients work: `curl -fsS URL/ping/backup`.
//!
//! They send no header, so a client that is no browser may do it where no token is set. Where one is, it stands in the
//! query or is brought as a bearer: a name alone is no secret.

use crate::control::{self, PATIENCE};
use crate::routes::{Answered, Call, Site, text};
use healthd_core::wire::alerts::{Beat, BeatEvent};
use healthd_core::wire::control::Op;
use hyper::StatusCode;
use std::rc::Rc;

/// What of a body is kept.
const TEXT: usize = 1024;

pub async fn start(site: Rc<Site>, call: Call) -> Answered {
    beat(&site, &call, &call.name, BeatEvent::Start, None).await
}

pub async fn fail(site: Rc<Site>, call: Call) -> Answered {
    beat(&site, &call, &call.name, BeatEvent::Fail, None).await
}

/// `/ping/NAME`, or `/ping/NAME/3`: an exit code.
pub async fn done(site: Rc<Site>, call: Call) -> Answered {
    let picture = site.viewer.borrow_mut().picture();
    let is_name = picture.is_ok_and(|p| p.rows.iter().any(|r| *r.name == *call.name));
    let code = call.name.rsplit_once('/').filter(|_| !is_name);
    let code = code.and_then(|(name, code)| Some((name, code.parse::<u8>().ok()?)));
    match code {
        Some((name, code)) => beat(&site, &call, name, BeatEvent::Exit, Some(code)).await,
        None => beat(&site, &call, &call.name, BeatEvent::Ok, None).await,
    }
}

async fn beat(
    site: &Site,
    call: &Call,
    name: &str,
    event: BeatEvent,
    code: Option<u8>,
) -> Answered {
    let said = String::from_utf8_lossy(&call.body);
    let op = Op::Heartbeat(Beat {
        name: name.to_owned(),
        event,
        code: code.map(Into::into),
        text: healthd_core::text::cut(&said, TEXT).to_owned(),
    });
    let mut replies = control::ask(site, op, PATIENCE).await?;
    while replies.next(Some(PATIENCE)).await?.is_some() {}
    Ok(text(StatusCode::OK, "OK\n"))
}
