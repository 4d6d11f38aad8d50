//! A batch of checks through the pool: a line for each run as it ends, and at last what it comes to. What fails is among
//! them, and hides nothing of the rest.

use super::{body, match_of};
use crate::body::Answer;
use crate::control::{self, Failure, PATIENCE, Replies};
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use healthd_core::check::outcome::Status;
use healthd_core::wire::control::{CheckRow, Filter, Op, Reply};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::sync::mpsc::{Sender, channel};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(rename = "match")]
    matches: String,
    /// In the order of the configuration, when all have ended.
    #[serde(default)]
    ordered: bool,
}

/// `failed`: those that did not end ok, and those that did not end at all.
#[derive(Serialize)]
struct Totals {
    total: u64,
    successful: u64,
    failed: u64,
    results: u64,
    /// Why there are fewer results than runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub async fn run(site: Rc<Site>, call: Call) -> Answered {
    let asked: Asked = body(&call)?;
    if asked.matches.trim().is_empty() {
        return Err(Problem::bad("`match` is empty").help("`*` runs all checks"));
    }
    let filter = Filter {
        names: vec![match_of(&site, asked.matches)?],
        ..Filter::default()
    };
    let mut replies = control::ask_from(&site.running, &site, Op::Run(filter), PATIENCE).await?;
    let total = match replies.next(Some(PATIENCE)).await? {
        Some(Reply::Started { total }) => total,
        _ => 0,
    };
    let (sender, receiver) = channel(16);
    tokio::task::spawn_local(async move {
        // Who asked may be gone: then nobody counts.
        let _ = told(&mut replies, total, asked.ordered, &sender).await;
    });
    Ok(typed(
        StatusCode::OK,
        "application/x-ndjson",
        Answer::Fed(receiver),
    ))
}

type Gone = tokio::sync::mpsc::error::SendError<io::Result<Bytes>>;

async fn told(
    replies: &mut Replies,
    total: u64,
    ordered: bool,
    sender: &Sender<io::Result<Bytes>>,
) -> Result<(), Gone> {
    let (mut kept, mut error) = (Vec::new(), None);
    let (mut results, mut successful) = (0, 0);
    loop {
        // A run takes what its check takes; a client that leaves ends the wait.
        let Some(reply) = unless(sender.closed(), replies.next(None)).await else {
            return Ok(());
        };
        match reply {
            Ok(Some(Reply::Check(row))) => {
                results += 1;
                successful += u64::from(row.status == Some(Status::Ok));
                match ordered {
                    true => kept.push(row),
                    false => sender.send(Ok(line(&row))).await?,
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(Failure::Silent(why)) => {
                error = Some(format!("healthd does not answer: {why}"));
                break;
            }
            Err(Failure::Refused(refused)) => {
                error = Some(refused.message);
                break;
            }
        }
    }
    kept.sort_by_key(|row: &CheckRow| row.index);
    for row in &kept {
        sender.send(Ok(line(row))).await?;
    }
    let totals = Totals {
        total,
        successful,
        failed: total.max(results) - successful,
        results,
        error,
    };
    sender.send(Ok(line(&totals))).await
}

/// None: `over` was first.
async fn unless<T>(over: impl Future<Output = ()>, main: impl Future<Output = T>) -> Option<T> {
    let (mut over, mut main) = (pin!(over), pin!(main));
    poll_fn(|cx| match main.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
    })
    .await
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
