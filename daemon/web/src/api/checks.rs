//! Rows as `healthctl` has them: the manager's own; what it has left in its map when it does not answer.

use super::{json, match_of, possible};
use crate::body::Answer;
use crate::control::{self, Failure, PATIENCE, Replies};
use crate::history::{self, NoHistory};
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use crate::times;
use healthd_core::wire::control::{CheckRow, Filter, Op, Reply};
use healthd_core::wire::maps::{STATE_FILE, STATE_HEAD, read_state, state_size};
use healthd_sys::{clock, files};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Serialize;
use std::io;
use std::rc::Rc;
use tokio::sync::mpsc::channel;

pub async fn all(site: Rc<Site>, call: Call) -> Answered {
    let asked = call.values("match").into_iter();
    let names: Result<Vec<String>, Problem> = asked.map(|text| match_of(&site, text)).collect();
    let names = names?;
    let filter = Filter {
        names,
        ..Filter::default()
    };
    let asked = async {
        let mut replies = control::ask(&site, Op::Status(filter.clone()), PATIENCE).await?;
        // Whether it is refused stands in its first line.
        let first = replies.next(Some(PATIENCE)).await?;
        Ok((replies, first))
    };
    match asked.await {
        Ok((replies, first)) => Ok(rows(replies, first)),
        Err(Failure::Silent(why)) => match left(&site, &filter) {
            Ok(rows) => json(StatusCode::OK, &rows),
            Err(e) => Err(Failure::Silent(format!("{why}; {e}")).into()),
        },
        Err(refused) => Err(refused.into()),
    }
}

/// An array, a row a line, sent as the manager says them.
fn rows(mut replies: Replies, first: Option<Reply>) -> hyper::Response<Answer> {
    let (sender, receiver) = channel(4);
    tokio::task::spawn_local(async move {
        let (mut text, mut reply, mut any) = ("[".to_owned(), first, false);
        while let Some(said) = reply {
            if let Reply::Check(row) = said {
                text += if any { ",\n" } else { "\n" };
                any = true;
                text += &serde_json::to_string(&row).unwrap_or_default();
            }
            if text.len() > 32 << 10
                && sender
                    .send(Ok(Bytes::from(std::mem::take(&mut text))))
                    .await
                    .is_err()
            {
                return;
            }
            reply = match replies.next(Some(PATIENCE)).await {
                Ok(reply) => reply,
                Err(_) => {
                    // Half of an array is not to look like one.
                    let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                    return;
                }
            };
        }
        text += if any { "\n]\n" } else { "]\n" };
        let _ = sender.send(Ok(text.into())).await;
    });
    typed(StatusCode::OK, "application/json", Answer::Fed(receiver))
}

/// All of them stale.
fn left(site: &Site, filter: &Filter) -> io::Result<Vec<CheckRow>> {
    let path = site.args.runtime_dir.join(STATE_FILE);
    let bytes = files::read_sized(&path, STATE_HEAD, state_size)?;
    let state = read_state(&bytes).map_err(io::Error::other)?;
    let labels = site.keeper.borrow_mut().labels();
    let none = Default::default();
    let records = state.checks.iter().enumerate();
    let rows = records
        .filter(|(_, (_, record))| !record.name.is_empty())
        .map(|(n, (whole, record))| {
            record.row(n, *whole, times::rfc3339, times::rfc3339_of_monotonic)
        })
        .filter(|row| {
            let own = labels.get(&row.name).unwrap_or(&none);
            filter.matches(&row.name, &row.plugin, own, row.verdict)
        });
    Ok(rows.collect())
}

pub async fn one(site: Rc<Site>, call: Call) -> Answered {
    possible(&call.name)?;
    let show = Op::Show {
        name: call.name.clone(),
    };
    let mut replies = control::ask(&site, show, PATIENCE).await?;
    while let Some(reply) = replies.next(Some(PATIENCE)).await? {
        // A glob is no name, though `show` would take it.
        if let Reply::Detail(detail) = reply
            && detail.row.name == call.name
        {
            return json(StatusCode::OK, &detail);
        }
    }
    Err(Problem::no_check(&call.name))
}

pub async fn history(site: Rc<Site>, call: Call) -> Answered {
    const DAY: u64 = 86_400_000_000_000;
    let since = match call.value("since") {
        None => clock::realtime_ns().saturating_sub(DAY),
        Some(text) => times::parse(&text).ok_or_else(|| {
            Problem::bad(format!("`since` is no time: `{text}`"))
                .help("write it as 2026-11-29T10:00:00Z")
        })?,
    };
    match history::all(&site, &call.name, since).await {
        Ok(found) => json(StatusCode::OK, &found),
        Err(NoHistory::NoCheck) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no history of a check `{}`", call.name),
        )),
        Err(NoHistory::Off) => Err(Problem::new(StatusCode::NOT_FOUND, "history is off")
            .help("an empty [history] in healthd.toml begins it")),
        Err(NoHistory::Failed(why)) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}

pub async fn workers(site: Rc<Site>) -> Answered {
    listed(&site, Op::Workers, |reply| match reply {
        Reply::Worker(row) => Some(row),
        _ => None,
    })
    .await
}

pub async fn plugins(site: Rc<Site>) -> Answered {
    listed(&site, Op::Plugins, |reply| match reply {
        Reply::Plugin(row) => Some(row),
        _ => None,
    })
    .await
}

async fn listed<T: Serialize>(site: &Site, op: Op, pick: impl Fn(Reply) -> Option<T>) -> Answered {
    let mut replies = control::ask(site, op, PATIENCE).await?;
    let mut all = Vec::new();
    while let Some(reply) = replies.next(Some(PATIENCE)).await? {
        all.extend(pick(reply));
    }
    json(StatusCode::OK, &all)
}
