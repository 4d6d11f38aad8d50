//! Pages for people: made here from the maps, whole without a script and without anything from elsewhere. What a page
//! has from the manager it can do without.

mod alerts;
pub mod board;
mod chart;
mod check;
pub mod day;
pub mod events;
mod incidents;
pub mod live;
pub mod overview;
pub mod parts;
pub mod public;
mod spark;
pub mod words;
mod workers;

use crate::body::Answer;
use crate::problem::Problem;
use crate::routes::{Access, Answered, Route, Site, get, typed};
use crate::{picture::Picture, times};
use askama::Template;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use std::io;
use std::rc::Rc;

pub const ROUTES: [Route; 12] = [
    get("/", Access::Read, |site, call| {
        Box::pin(parts::page(site, call))
    }),
    get("/live", Access::Read, |site, call| {
        Box::pin(live::overview(site, call))
    }),
    get("/check/{name}", Access::Read, |site, call| {
        Box::pin(check::page(site, call))
    }),
    get("/events", Access::Read, |site, call| {
        Box::pin(events::page(site, call))
    }),
    get("/events/live", Access::Read, |site, call| {
        Box::pin(events::live(site, call))
    }),
    get("/alerts", Access::Read, |site, call| {
        Box::pin(alerts::page(site, call))
    }),
    get("/workers", Access::Read, |site, _| {
        Box::pin(workers::page(site))
    }),
    get("/public", Access::Open, |site, _| {
        Box::pin(public::page(site))
    }),
    get("/public.atom", Access::Open, |site, _| {
        Box::pin(public::feed(site))
    }),
    get("/style.css", Access::Open, |_, _| {
        Box::pin(async { asset("text/css; charset=utf-8", STYLE) })
    }),
    get("/page.js", Access::Open, |_, _| {
        Box::pin(async { asset("text/javascript; charset=utf-8", SCRIPT) })
    }),
    get("/icon.svg", Access::Open, |_, _| {
        Box::pin(async { asset("image/svg+xml", ICON) })
    }),
];

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/page.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// What every page has.
pub struct Top {
    pub host: String,
    /// Which of the pages is shown.
    pub here: &'static str,
    /// Why what is shown need not be so any more; empty: it is.
    pub alarm: String,
    pub clock: String,
    /// Another one for other styles and scripts.
    pub version: String,
}

impl Top {
    pub fn new(site: &Site, here: &'static str, alarm: String) -> Top {
        Top {
            host: host(),
            here,
            alarm,
            clock: times::now(&site.zone),
            version: version(),
        }
    }
}

/// The picture, or why it cannot be had; and what is wrong with it.
pub fn picture(site: &Site) -> (Rc<Picture>, String) {
    let (picture, mut alarm) = match site.viewer.borrow_mut().picture() {
        Ok(picture) => (picture, String::new()),
        Err(e) => (Rc::default(), no_map(&e)),
    };
    if let Some(age) = picture.silence().filter(|_| alarm.is_empty()) {
        alarm = format!("The manager has been silent for {age}: what is shown here is old.");
    }
    (picture, alarm)
}

fn no_map(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "The manager has written nothing yet.".to_owned(),
        _ => format!("What the manager has written cannot be read: {e}."),
    }
}

pub fn html(page: &impl Template) -> Answered {
    match page.render() {
        Ok(text) => Ok(typed(
            StatusCode::OK,
            "text/html; charset=utf-8",
            Answer::text(text),
        )),
        Err(e) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the page could not be made: {e}"),
        )),
    }
}

/// A part of a page.
pub fn part(template: &impl Template) -> String {
    // Writing into a String does not fail.
    template.render().unwrap_or_default()
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed<'a> {
    top: Top,
    problem: &'a Problem,
}

pub fn failed(site: &Site, problem: &Problem) -> Response<Answer> {
    let page = Failed {
        top: Top::new(site, "", String::new()),
        problem,
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    typed(
        status,
        "text/html; charset=utf-8",
        Answer::text(part(&page)),
    )
}

/// Its address changes with it, so a browser may keep it.
fn asset(kind: &'static str, text: &'static str) -> Answered {
    let body = Answer::Whole(Some(hyper::body::Bytes::from_static(text.as_bytes())));
    let mut response = typed(StatusCode::OK, kind, body);
    let keep = HeaderValue::from_static("public, max-age=86400");
    response.headers_mut().insert(CACHE_CONTROL, keep);
    Ok(response)
}

fn version() -> String {
    let bytes = STYLE.bytes().chain(SCRIPT.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:x}")
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_and_scripts_are_small_and_nothing_is_from_elsewhere() {
        assert!(STYLE.len() <= 8_000, "{}", STYLE.len());
        assert!(SCRIPT.len() <= 8_000, "{}", SCRIPT.len());
        for text in [STYLE, SCRIPT] {
            assert!(
                !text.contains("http") && !text.contains("@import"),
                "{text}"
            );
        }
    }
}
