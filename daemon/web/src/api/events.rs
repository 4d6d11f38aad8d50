//! What has happened: all at once, or as it happens.

use crate::body::Answer;
use crate::pages::events::{follow, since};
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use healthd_core::wire::events::EventRow;
use hyper::StatusCode;
use std::rc::Rc;

pub async fn events(site: Rc<Site>, call: Call) -> Answered {
    let filter = match call.value("match") {
        None => None,
        Some(text) => Some(super::matching(&text)?),
    };
    let after = match call.value("after") {
        None => None,
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| Problem::bad(format!("`after` is no number of an event: `{text}`")))?,
        ),
    };
    let of_site = site.clone();
    let wanted = move |row: &EventRow| {
        filter.as_ref().is_none_or(|filter| {
            let labels = of_site.keeper.borrow_mut().labels();
            row.check.as_deref().is_some_and(|name| {
                let own = labels.get(name);
                filter.fits_by(name, |key| own?.get(key).map(String::as_str))
            })
        })
    };
    let accept = call.header("accept").unwrap_or("");
    if accept.contains("text/event-stream") {
        return follow(site, &call, wanted, |row| {
            serde_json::to_string(row).unwrap_or_default()
        });
    }
    let mut next = Some(after.unwrap_or(0));
    let (mut opened, mut any, mut done) = (false, false, false);
    // Without `after` nobody has missed anything.
    let exact = after.is_some();
    let parts = std::iter::from_fn(move || {
        if done {
            return None;
        }
        let before = next;
        let rows = since(&site, &mut next).unwrap_or_default();
        let mut text = if opened { "" } else { "[" }.to_owned();
        opened = true;
        let kept = rows.iter().filter(|row| match row.missed {
            Some(_) => exact,
            None => wanted(row),
        });
        for row in kept {
            text += if any { ",\n" } else { "\n" };
            any = true;
            text += &serde_json::to_string(row).unwrap_or_default();
        }
        if rows.is_empty() || next == before {
            done = true;
            text += if any { "\n]\n" } else { "]\n" };
        }
        // An empty part would be taken for the end.
        Some(if text.is_empty() {
            "\n".to_owned()
        } else {
            text
        })
    });
    Ok(typed(
        StatusCode::OK,
        "application/json",
        Answer::parts(parts),
    ))
}
