//! Who was told of what, and what holds problems back.

use super::{body, json, matching, possible};
use crate::control::{self, PATIENCE};
use crate::pages::board;
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site};
use healthd_core::wire::alerts::{AlertsReport, SilenceAsk, SilenceRow};
use healthd_core::wire::control::{ErrorCode, Op, Reply};
use healthd_units::duration;
use hyper::StatusCode;
use serde::Deserialize;
use std::rc::Rc;

async fn asked(site: &Site) -> Result<AlertsReport, Problem> {
    let report = control::one(site, Op::Alerts, PATIENCE, |reply| match reply {
        Reply::Alerts(report) => Some(*report),
        _ => None,
    });
    Ok(report.await?)
}

pub async fn report(site: Rc<Site>) -> Answered {
    json(StatusCode::OK, &asked(&site).await?)
}

pub async fn silences(site: Rc<Site>) -> Answered {
    json(StatusCode::OK, &asked(&site).await?.silences)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Silence {
    #[serde(rename = "match")]
    matches: String,
    #[serde(default)]
    reason: String,
    /// "2h"; left out: until it is taken back.
    #[serde(rename = "for")]
    time: Option<String>,
    /// A maintenance.
    #[serde(default)]
    planned: bool,
}

pub async fn silence(site: Rc<Site>, call: Call) -> Answered {
    let asked: Silence = body(&call)?;
    // A check of just this name is meant, whatever is in it.
    let picture = site.viewer.borrow_mut().picture();
    let is_name = picture.is_ok_and(|p| p.rows.iter().any(|r| *r.name == *asked.matches));
    if !is_name {
        matching(&asked.matches)?;
    }
    let matches = match is_name && asked.matches.contains([' ', ',', '=', '!', '"', '\'']) {
        true if asked.matches.contains('"') => format!("'{}'", asked.matches),
        true => format!("\"{}\"", asked.matches),
        false => asked.matches,
    };
    let op = Op::Silence(SilenceAsk {
        matches,
        reason: asked.reason,
        for_ms: for_ms(asked.time.as_deref())?,
        planned: asked.planned,
    });
    done(&site, op, StatusCode::CREATED).await
}

pub async fn unsilence(site: Rc<Site>, call: Call) -> Answered {
    let asked = done(&site, Op::Unsilence { id: call.name }, StatusCode::OK).await;
    // The one thing that may be wrong with it: there is no such.
    asked.map_err(|problem| match problem.code {
        Some(ErrorCode::BadRequest) => problem.with_status(StatusCode::NOT_FOUND),
        _ => problem,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    name: String,
    #[serde(default)]
    reason: String,
    /// Left out: until the problem is over.
    #[serde(rename = "for")]
    time: Option<String>,
}

pub async fn ack(site: Rc<Site>, call: Call) -> Answered {
    let asked: Ack = body(&call)?;
    possible(&asked.name)?;
    let op = Op::Ack {
        name: asked.name,
        reason: asked.reason,
        for_ms: for_ms(asked.time.as_deref())?,
    };
    done(&site, op, StatusCode::CREATED).await
}

async fn done(site: &Site, op: Op, status: StatusCode) -> Answered {
    let row: SilenceRow = control::one(site, op, PATIENCE, |reply| match reply {
        Reply::Silence(row) => Some(row),
        _ => None,
    })
    .await?;
    board::forget(site);
    json(status, &row)
}

fn for_ms(text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text else {
        return Ok(None);
    };
    match duration::parse(text) {
        Ok(time) => Ok(Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))),
        Err(wrong) => {
            let problem = Problem::bad(format!("`for` is no length of time: `{text}`"));
            Err(problem.help(wrong.help()))
        }
    }
}
