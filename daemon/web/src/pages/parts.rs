//! The overview's parts: each is made alone, so that a page that is open gets only what has changed.

use super::board::{self, held_back};
use super::overview::{Asked, Counts, View, view};
use super::words::{Shown, remark, shown};
use super::{Top, day, html, part, picture, spark};
use crate::picture::{Picture, Row};
use crate::query::check_path;
use crate::routes::{Answered, Call, Site};
use crate::times;
use askama::Template;
use healthd_core::config::{ChosenLabels, thousands};
use healthd_core::wire::alerts::{AlertsReport, SilenceRow};
use healthd_scoreboard::samples_map::SamplesView;
use healthd_sys::clock;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    top: Top,
    asked: &'a Asked,
    view: &'a View,
    by: Vec<String>,
    parts: Parts,
    rows: String,
    history: bool,
}

/// By the id of the element that each fills.
pub struct Parts {
    pub counts: String,
    pub groups: String,
    pub caption: String,
    pub pager: String,
}

#[derive(Template)]
#[template(path = "counts.html")]
struct CountsPart<'a> {
    tiles: Vec<(Shown, usize, String)>,
    /// A check, where it stands, and how many are not evaluated for it.
    behind: Vec<(&'a str, String, String)>,
    silences: usize,
    refused: Vec<(&'a str, &'a str)>,
}

#[derive(Template)]
#[template(path = "groups.html")]
struct GroupsPart<'a> {
    view: &'a View,
}

#[derive(Template)]
#[template(path = "pager.html")]
struct PagerPart<'a> {
    view: &'a View,
    asked: &'a Asked,
}

#[derive(Template)]
#[template(path = "row.html")]
struct RowPart<'a> {
    at: usize,
    row: &'a Row,
    shown: Shown,
    remark: String,
    path: String,
    age: String,
    held: Option<&'a SilenceRow>,
    /// Whom; empty: it is no problem, or there is nobody.
    told: String,
    spark: String,
    /// None: there is no history at all.
    day: Option<String>,
    latency: String,
}

#[derive(Template)]
#[template(path = "no_rows.html")]
struct NoRows<'a> {
    view: &'a View,
    filtered: bool,
    columns: usize,
}

/// All that is known when it is asked for.
pub struct Scene {
    pub picture: Rc<Picture>,
    pub alarm: String,
    pub view: Rc<View>,
    pub alerts: Option<Rc<AlertsReport>>,
}

pub async fn scene(site: &Rc<Site>, asked: &Asked) -> Scene {
    let (_, alarm) = picture(site);
    // Nobody answers then, and a page is not to wait for that.
    let alerts = match alarm.is_empty() {
        true => board::alerts(site).await,
        false => None,
    };
    // Not held while somebody is waited for: the next picture is made of it.
    let shown = {
        let (picture, _) = picture(site);
        let view = view_of(site, asked, &picture);
        let names = view
            .rows
            .iter()
            .map(|at| picture.rows[*at].name.to_string());
        names.collect::<Vec<_>>()
    };
    day::ask(site, shown.iter().map(String::as_str)).await;
    let (picture, alarm) = picture(site);
    let view = view_of(site, asked, &picture);
    Scene {
        view,
        picture,
        alarm,
        alerts,
    }
}

fn view_of(site: &Site, asked: &Asked, picture: &Picture) -> Rc<View> {
    let labels = site.keeper.borrow_mut().labels();
    site.views.of(asked, picture, &labels)
}

/// What was made of the newest picture: many who look at the same page share it, for as long as no check moves.
#[derive(Default)]
pub struct Views(RefCell<Made>);

#[derive(Default)]
struct Made {
    shape: u64,
    labels: Rc<ChosenLabels>,
    views: Vec<(Asked, Rc<View>)>,
}

/// Views that are kept: whoever asks for one more has it made.
const VIEWS: usize = 16;

impl Views {
    fn of(&self, asked: &Asked, picture: &Picture, labels: &Rc<ChosenLabels>) -> Rc<View> {
        let mut made = self.0.borrow_mut();
        if made.shape != picture.shape || !Rc::ptr_eq(&made.labels, labels) {
            made.shape = picture.shape;
            made.labels = labels.clone();
            made.views.clear();
        }
        if let Some((_, view)) = made.views.iter().find(|(a, _)| a == asked) {
            return view.clone();
        }
        let view = Rc::new(view(picture, labels, asked, clock::monotonic_ns()));
        made.views.truncate(VIEWS - 1);
        made.views.push((asked.clone(), view.clone()));
        view
    }
}

pub async fn page(site: Rc<Site>, call: Call) -> Answered {
    let asked = Asked::read(&call.query);
    let scene = scene(&site, &asked).await;
    let labels = site.keeper.borrow_mut().labels();
    let by: BTreeSet<&String> = labels.values().flat_map(|own| own.keys()).collect();
    html(&Overview {
        top: Top::new(&site, "/", scene.alarm.clone()),
        parts: without_rows(&scene, &asked),
        rows: rows(&site, &scene, &asked),
        view: &scene.view,
        asked: &asked,
        by: by.into_iter().cloned().collect(),
        history: site.settings.history,
    })
}

/// All rows of the page.
pub fn rows(site: &Site, scene: &Scene, asked: &Asked) -> String {
    if scene.view.rows.is_empty() {
        return part(&NoRows {
            view: &scene.view,
            filtered: !asked.filter.is_empty(),
            columns: 6 + usize::from(site.settings.history),
        });
    }
    let samples = SamplesView::open(&site.args.runtime_dir).ok();
    let rows = scene.view.rows.iter();
    rows.map(|at| row(site, scene, *at, samples.as_ref()))
        .collect()
}

pub fn without_rows(scene: &Scene, asked: &Asked) -> Parts {
    let view = &scene.view;
    Parts {
        counts: counts(scene),
        groups: part(&GroupsPart { view }),
        caption: view.caption(),
        pager: part(&PagerPart { view, asked }),
    }
}

fn counts(scene: &Scene) -> String {
    let Counts {
        critical,
        warning,
        unknown,
        pending,
        ok,
        paused,
    } = scene.view.counts;
    let report = scene.alerts.as_deref();
    let routes = report.map_or(&[][..], |r| &r.routes);
    let refused = routes.iter().filter(|r| r.pending > 0).filter_map(|r| {
        let why = r.last_error.as_deref()?;
        Some((r.name.as_str(), why))
    });
    part(&CountsPart {
        tiles: [
            (Shown::Critical, critical),
            (Shown::Warning, warning),
            (Shown::Unknown, unknown),
            (Shown::Pending, pending),
            (Shown::Ok, ok),
            (Shown::Paused, paused),
        ]
        .map(|(shown, n)| (shown, n, thousands(n as u64)))
        .to_vec(),
        behind: scene
            .view
            .behind
            .iter()
            .map(|(name, n)| (name.as_str(), check_path(name), thousands(*n as u64)))
            .collect(),
        silences: report.map_or(0, |r| r.silences.len()),
        refused: refused.collect(),
    })
}

/// Whom a problem was told; empty: it is none, or there is nobody to be told.
pub fn told(site: &Site, scene: &Scene, row: &Row, now: u64) -> String {
    let Some(report) = scene.alerts.as_ref().filter(|_| row.urgency(now) <= 3) else {
        return String::new();
    };
    let places = board::notices(site, report);
    let of_row = places.get(&*row.name).into_iter().flatten();
    let notices = of_row.filter_map(|at| report.notices.get(*at));
    board::told(report, notices, &site.zone)
}

pub fn row(site: &Site, scene: &Scene, at: usize, samples: Option<&SamplesView>) -> String {
    let row = &scene.picture.rows[at];
    let now = clock::monotonic_ns();
    let sample = samples.and_then(|samples| samples.read(at));
    part(&RowPart {
        at,
        row,
        shown: shown(row),
        remark: remark(row, now),
        path: check_path(&row.name),
        age: times::age(row.since),
        held: scene
            .alerts
            .as_deref()
            .filter(|_| row.urgency(now) <= 3)
            .and_then(|report| held_back(report, &row.name)),
        told: told(site, scene, row, now),
        spark: sample.map_or_else(String::new, |s| spark::drawing(&s.last)),
        day: site.settings.history.then(|| site.days.of(&row.name)),
        latency: match row.last_run {
            0 => String::new(),
            _ => times::latency(row.latency_ns as f64 / 1e6),
        },
    })
}
