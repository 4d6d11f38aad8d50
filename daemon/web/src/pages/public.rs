//! The page for everybody: of checks that say `public = "group"`, whether they are well, how 90 days were, and what people
//! have said of an outage. No message, no target, no label, no error: what a target says may hold anything.

use super::incidents::Incidents;
use super::words::{Shown, shown};
use super::{Top, chart, html, picture};
use crate::body::Answer;
use crate::history;
use crate::problem::Problem;
use crate::routes::{Answered, Site, typed};
use crate::times;
use askama::Template;
use healthd_core::config::PUBLIC_LABEL;
use healthd_core::wire::events::EventRecord;
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
    incidents: Vec<Told>,
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

/// An incident, for everybody.
struct Told {
    seq: u64,
    label: String,
    shown: Option<Shown>,
    /// Empty: it is not known, or it goes on.
    begun: String,
    ended: String,
    lasted: String,
    /// RFC 3339.
    updated: String,
    /// When, and what.
    notes: Vec<(String, String)>,
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
        let (days, words) = chart::uptime(&days.unwrap_or_default(), end, &site.zone, None);
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
    let order = [
        Shown::Critical,
        Shown::Unknown,
        Shown::Warning,
        Shown::Pending,
    ];
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
        incidents: told(site, &names).unwrap_or_default(),
    });
    *site.public.0.borrow_mut() = Some((Instant::now(), page.clone()));
    Ok(page)
}

fn told(site: &Site, labels: &HashMap<String, String>) -> io::Result<Vec<Told>> {
    let mut incidents = Incidents::default();
    EventsView::open(&site.args.runtime_dir)?.backwards(u64::MAX, |words| {
        let event = EventRecord::from_words(words);
        !labels.contains_key(&event.check) || incidents.add(event)
    })?;
    let found = incidents.all();
    let time = |ns: Option<u64>| ns.map(|ns| times::of_day(ns, &site.zone));
    Ok(found
        .into_iter()
        .map(|incident| Told {
            seq: incident.seq,
            label: labels[&incident.check].clone(),
            shown: incident.worst,
            begun: time(incident.begun).unwrap_or_default(),
            ended: time(incident.ended).unwrap_or_default(),
            lasted: match (incident.begun, incident.ended) {
                (Some(begun), Some(ended)) => times::span(ended.saturating_sub(begun)),
                _ => String::new(),
            },
            updated: times::rfc3339(incident.updated()).unwrap_or_default(),
            notes: incident
                .notes
                .into_iter()
                .map(|(at, text)| (times::of_day(at, &site.zone), text))
                .collect(),
        })
        .collect())
}

impl Page {
    fn headline(&self) -> String {
        match (self.alarm, self.worst) {
            (true, _) => "How things are is not known".to_owned(),
            (false, Shown::Ok) => "All is up".to_owned(),
            (false, worst) => format!("Something is {}", Page::said(&worst)),
        }
    }

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

impl Told {
    fn class(&self) -> &'static str {
        match self.ended.is_empty() {
            true => self.shown.map_or("z", Shown::class),
            false => "o",
        }
    }

    /// "was down for 21 min".
    fn words(&self) -> String {
        let what = match self.shown {
            // Its begin is not known any more, and so is what it was.
            None if !self.ended.is_empty() => "not up",
            None => return String::new(),
            Some(shown) => Page::said(&shown),
        };
        match (self.begun.as_str(), self.ended.as_str()) {
            ("", "") => format!("is {what}"),
            (begun, "") => format!("is {what} since {begun}"),
            ("", ended) => format!("was {what} until {ended}"),
            (begun, ended) => format!("was {what} for {}, {begun} to {ended}", self.lasted),
        }
    }
}
