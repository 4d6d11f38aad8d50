//! What has happened, newest first; and an open page is told what happens. A browser that comes back says what it had
//! last, so that it misses nothing that the ring still holds.

use super::live::{listen, stream};
use super::words::Shown;
use super::{Top, html, part, picture};
use crate::query::check_path;
use crate::routes::{Answered, Call, Site};
use crate::times;
use askama::Template;
use healthd_core::wire::events::{EVENT_WORDS, EventRecord, EventRow, gap, is_of};
use healthd_core::wire::glob::Glob;
use healthd_scoreboard::events_map::EventsView;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Events of a page.
const PAGE: usize = 100;
/// An event is there after so long.
const LOOK: Duration = Duration::from_millis(100);
/// So often something is sent, so that a dead connection is found.
const AT_LEAST: Duration = Duration::from_secs(15);

/// An event on a page.
pub struct Line {
    pub seq: u64,
    pub time: String,
    pub rfc3339: String,
    pub kind: String,
    pub subject: String,
    /// Empty: its subject has no page.
    pub link: String,
    pub from: String,
    pub to: String,
    pub shown: Option<Shown>,
    pub text: String,
}

#[derive(Template)]
#[template(path = "event.html")]
struct LinePart<'a> {
    line: &'a Line,
}

#[derive(Template)]
#[template(path = "events.html")]
struct Page<'a> {
    top: Top,
    lines: Vec<Line>,
    newest: u64,
    /// Before this one there are more; 0: there are none.
    older: u64,
    filter: &'a str,
}

impl Line {
    pub fn new(row: &EventRow, site: &Site) -> Line {
        let at = row.time.as_deref().and_then(times::parse);
        let to = row.to.clone().unwrap_or_default();
        Line {
            seq: row.seq,
            time: at.map_or_else(String::new, |at| times::of_day(at, &site.zone)),
            rfc3339: row.time.clone().unwrap_or_default(),
            kind: row.kind.clone(),
            subject: row.subject(),
            link: row.check.as_deref().map_or_else(String::new, check_path),
            from: row.from.clone().unwrap_or_default(),
            shown: Shown::of_word(&to),
            to,
            text: match row.kind.as_str() {
                "silenced" => until(&row.text(), site),
                _ => row.text(),
            },
        }
    }
}

/// "db/* until 02:43:07 by ana": the manager's time of day, as everywhere on a page.
fn until(text: &str, site: &Site) -> String {
    let parts = text.split_once(" until ");
    let parts = parts.and_then(|(what, rest)| Some((what, rest.split_once(' ')?)));
    match parts.map(|(what, (at, rest))| (what, times::of_text(Some(at), &site.zone), rest)) {
        Some((what, at, rest)) if !at.is_empty() => format!("{what} until {at} {rest}"),
        _ => text.to_owned(),
    }
}

/// What is shown of the ring.
#[derive(Default)]
struct Found {
    /// Newest first.
    lines: Vec<Line>,
    /// Number of the newest of all.
    newest: u64,
    /// Where to go on; 0: nowhere.
    older: u64,
}

/// So many before `before` of which `wanted` says yes, by its words first, as most are not.
fn newest(
    site: &Site,
    before: u64,
    most: usize,
    wanted: impl Fn(&[u64; EVENT_WORDS]) -> bool,
) -> io::Result<Found> {
    let view = EventsView::open(&site.args.runtime_dir)?;
    let mut found = Found {
        newest: view.ring()?.last,
        ..Found::default()
    };
    view.backwards(before, |words| {
        if !wanted(words) {
            return true;
        }
        if found.lines.len() == most {
            found.older = found.lines.last().map_or(0, |line| line.seq);
            return false;
        }
        let row = EventRecord::from_words(words).row(times::rfc3339);
        found.lines.push(Line::new(&row, site));
        true
    })?;
    Ok(found)
}

pub fn of_check(site: &Site, name: &str, most: usize) -> Vec<Line> {
    let found = newest(site, u64::MAX, most, |words| is_of(words, name));
    found.map_or(Vec::new(), |found| found.lines)
}

/// `q` is a glob of names, `name` one of them.
fn wanted(call: &Call) -> impl Fn(&EventRow) -> bool + 'static {
    let glob = call
        .value("q")
        .filter(|q| !q.is_empty())
        .map(|q| Glob::new(&q));
    let name = call.value("name");
    move |row| {
        let is = |fits: &dyn Fn(&str) -> bool| row.check.as_deref().is_some_and(fits);
        glob.as_ref().is_none_or(|glob| is(&|n| glob.matches(n)))
            && name.as_ref().is_none_or(|name| is(&|n| n == name))
    }
}

pub async fn page(site: Rc<Site>, call: Call) -> Answered {
    let (_, alarm) = picture(&site);
    let before = call.value("before").and_then(|n| n.parse().ok());
    let filter = call.value("q").unwrap_or_default();
    let wanted = wanted(&call);
    let found = newest(&site, before.unwrap_or(u64::MAX), PAGE, |words| {
        wanted(&EventRecord::from_words(words).row(times::rfc3339))
    })
    .unwrap_or_default();
    html(&Page {
        top: Top::new(&site, "/events", alarm),
        lines: found.lines,
        newest: found.newest,
        older: found.older,
        filter: &filter,
    })
}

pub async fn live(site: Rc<Site>, call: Call) -> Answered {
    let of_site = site.clone();
    follow(site, &call, wanted(&call), move |row| {
        let line = Line::new(row, &of_site);
        serde_json::to_string(&[part(&LinePart { line: &line })]).unwrap_or_default()
    })
}

/// Server-sent events, each with its number: whoever comes back says which was the last.
pub fn follow(
    site: Rc<Site>,
    call: &Call,
    wanted: impl Fn(&EventRow) -> bool + 'static,
    data: impl Fn(&EventRow) -> String + 'static,
) -> Answered {
    let (listening, receiver) = listen(&site)?;
    let asked = call
        .header("last-event-id")
        .map(str::to_owned)
        .or_else(|| call.value("after"));
    let asked: Option<u64> = asked.and_then(|n| n.trim().parse().ok());
    tokio::task::spawn_local(async move {
        let mut after = asked;
        let mut said = tokio::time::Instant::now();
        if !listening.say("retry: 500\n\n".to_owned()).await {
            return;
        }
        loop {
            let mut text = String::new();
            // It may be away for a moment, while a manager begins.
            if let Ok(rows) = since(&site, &mut after) {
                for row in rows
                    .iter()
                    .filter(|row| row.missed.is_some() || wanted(row))
                {
                    text += &format!("id: {}\ndata: {}\n\n", row.seq, data(row));
                }
            }
            if text.is_empty() && said.elapsed() > AT_LEAST {
                ":\n\n".clone_into(&mut text);
            }
            if !text.is_empty() {
                said = tokio::time::Instant::now();
                if !listening.say(text).await {
                    return;
                }
            }
            if !listening.pause(LOOK).await {
                return;
            }
        }
    });
    stream(receiver)
}

/// At most so many at once: a slow client does not make us hold a ring of them.
const AT_ONCE: usize = 256;

/// Those after this number, which goes on; None begins with what comes. What is not there any more is a gap.
pub fn since(site: &Site, after: &mut Option<u64>) -> io::Result<Vec<EventRow>> {
    let view = EventsView::open(&site.args.runtime_dir)?;
    let ring = view.ring()?;
    let last = *after.get_or_insert(ring.last);
    // Its numbers began anew: another daemon.
    if last > ring.last {
        *after = Some(ring.last);
        return Ok(Vec::new());
    }
    let (begin, missed) = ring.begin(last);
    let mut rows = Vec::new();
    for number in begin..=ring.last {
        if rows.len() >= AT_ONCE {
            break;
        }
        let Some(event) = view.read(number)? else {
            continue;
        };
        if missed > 0 && rows.is_empty() {
            rows.push(gap(missed, number, event.time).row(times::rfc3339));
        }
        rows.push(event.row(times::rfc3339));
        *after = Some(number);
    }
    Ok(rows)
}
