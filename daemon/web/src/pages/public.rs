//! The page for everybody: of checks that say `public = "group"`, whether they are well, and how 90 days were. No message,
//! no target, no label, no error: what a target says may hold anything.

use super::words::{Shown, shown};
use super::{Top, chart, html, picture};
use crate::body::Answer;
use crate::history;
use crate::problem::Problem;
use crate::routes::{Answered, Site, typed};
use crate::times;
use askama::Template;
use healthd_core::config::PUBLIC_LABEL;
use healthd_core::wire::events::EventKind;
use healthd_scoreboard::events_map::EventsView;
use healthd_sys::clock;
use hyper::StatusCode;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Whoever comes within this time gets the same page.
const GOOD_FOR: Duration = Duration::from_secs(15);
/// Newest first.
const INCIDENTS: usize = 30;
const DAYS: u64 = 90;

#[derive(Default)]
pub struct Kept(RefCell<Option<(Instant, Rc<Page>)>>);

#[derive(Template)]
#[template(path = "public.html")]
pub struct Page {
    host: String,
    version: String,
    clock: String,
    alarm: bool,
    worst: Shown,
    groups: Vec<Group>,
    incidents: Vec<Incident>,
}

struct Group {
    name: String,
    checks: Vec<Entry>,
}

struct Entry {
    label: String,
    shown: Shown,
    /// SVG; empty: there is no history.
    days: String,
    words: String,
}

struct Incident {
    seq: u64,
    label: String,
    shown: Shown,
    time: String,
    rfc3339: String,
}

#[derive(Template)]
#[template(path = "public.xml")]
struct Feed<'a> {
    page: &'a Page,
}

pub async fn page(site: Rc<Site>) -> Answered {
    html(&*made(&site).await?)
}

pub async fn feed(site: Rc<Site>) -> Answered {
    let page = made(&site).await?;
    let text = Feed { page: &page }.render().unwrap_or_default();
    let kind = "application/atom+xml; charset=utf-8";
    Ok(typed(StatusCode::OK, kind, Answer::text(text)))
}

async fn made(site: &Site) -> Result<Rc<Page>, Problem> {
    if let Some((at, page)) = &*site.public.0.borrow()
        && at.elapsed() < GOOD_FOR
    {
        return Ok(page.clone());
    }
    let (picture, alarm) = picture(site);
    let labels = site.keeper.borrow_mut().labels();
    let group = |name: &str| labels.get(name)?.get(PUBLIC_LABEL).cloned();
    let mut groups: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut names = HashMap::new();
    for row in &picture.rows {
        let Some(group) = group(&row.name) else {
            continue;
        };
        names.insert(row.name.to_string(), row.label().to_owned());
        let since = clock::realtime_ns().saturating_sub(DAYS * 86_400_000_000_000);
        let days = history::points(site, &row.name, since).await;
        let end = clock::realtime_ns() / 1_000_000_000;
        let (days, words) = chart::uptime(&days.unwrap_or_default(), end, &site.zone);
        groups.entry(group).or_default().push(Entry {
            label: row.label().to_owned(),
            shown: shown(row),
            days,
            words,
        });
    }
    if groups.is_empty() {
        let none = Problem::new(StatusCode::NOT_FOUND, "no check is public");
        return Err(none.help("`public = \"group\"` in a check shows it here"));
    }
    // Worse is further to the left.
    let order = [Shown::Critical, Shown::Unknown, Shown::Warning];
    let is_there = |wanted: &Shown| groups.values().flatten().any(|e| e.shown == *wanted);
    let top = Top::new(site, "", String::new());
    let page = Rc::new(Page {
        host: top.host,
        version: top.version,
        clock: top.clock,
        alarm: !alarm.is_empty(),
        worst: order.into_iter().find(is_there).unwrap_or(Shown::Ok),
        groups: groups
            .into_iter()
            .map(|(name, checks)| Group { name, checks })
            .collect(),
        incidents: incidents(site, &names).unwrap_or_default(),
    });
    *site.public.0.borrow_mut() = Some((Instant::now(), page.clone()));
    Ok(page)
}

/// When what of them was said to be otherwise.
fn incidents(site: &Site, names: &HashMap<String, String>) -> io::Result<Vec<Incident>> {
    let view = EventsView::open(&site.args.runtime_dir)?;
    let ring = view.ring()?;
    let mut found = Vec::new();
    let mut number = ring.last;
    while number >= ring.oldest().max(1) && found.len() < INCIDENTS {
        let event = view.read(number)?;
        let flipped = event.filter(|e| e.kind == EventKind::Flipped && e.from != "pending");
        if let Some(event) = flipped
            && let Some(label) = names.get(&event.check)
            && let Some(shown) = Shown::of_word(event.to)
        {
            found.push(Incident {
                seq: number,
                label: label.clone(),
                shown,
                time: times::of_day(event.time, &site.zone),
                rfc3339: times::rfc3339(event.time).unwrap_or_default(),
            });
        }
        number -= 1;
    }
    Ok(found)
}

impl Page {
    /// In a word for everybody.
    fn said(shown: &Shown) -> &'static str {
        match shown {
            Shown::Ok => "up",
            Shown::Warning => "impaired",
            Shown::Critical => "down",
            Shown::Unknown => "not known",
            Shown::Pending => "not known yet",
            Shown::Paused => "in maintenance",
        }
    }
}
