//! The API, version 1: what `healthctl` shows as JSON, and what it can change. `openapi.json` describes it, and a test
//! holds both against each other.

mod alerts;
mod analyse;
mod badge;
mod checks;
mod events;
mod ping;
mod run;

use crate::body::Answer;
use crate::problem::Problem;
use crate::routes::{Access, Answered, Answers, Call, Route, Site, delete, get, post, typed};
use healthd_core::matching::Match;
use healthd_core::wire::glob;
use hyper::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub const OPENAPI: &str = include_str!("../../openapi.json");

/// In the paths of healthchecks.io, so that its clients work.
pub const BEATS: [Route; 6] = [
    get("/ping/{name}/start", Access::Beat, START),
    post("/ping/{name}/start", Access::Beat, START),
    get("/ping/{name}/fail", Access::Beat, FAIL),
    post("/ping/{name}/fail", Access::Beat, FAIL),
    get("/ping/{name}", Access::Beat, DONE),
    post("/ping/{name}", Access::Beat, DONE),
];

const START: Answers = |site, call| Box::pin(ping::start(site, call));
const FAIL: Answers = |site, call| Box::pin(ping::fail(site, call));
const DONE: Answers = |site, call| Box::pin(ping::done(site, call));

pub const ROUTES: [Route; 15] = [
    get("/v1/checks", Access::Read, |site, call| {
        Box::pin(checks::all(site, call))
    }),
    get("/v1/checks/{name}", Access::Read, |site, call| {
        Box::pin(checks::one(site, call))
    }),
    get("/v1/history/{name}", Access::Read, |site, call| {
        Box::pin(checks::history(site, call))
    }),
    get("/v1/events", Access::Read, |site, call| {
        Box::pin(events::events(site, call))
    }),
    get("/v1/workers", Access::Read, |site, _| {
        Box::pin(checks::workers(site))
    }),
    get("/v1/plugins", Access::Read, |site, _| {
        Box::pin(checks::plugins(site))
    }),
    post("/v1/run", Access::Change, |site, call| {
        Box::pin(run::run(site, call))
    }),
    // It changes nothing, but costs: who may not change anything may not ask for it either.
    post("/v1/analyse", Access::Change, |_, call| {
        Box::pin(analyse::analyse(call))
    }),
    get("/v1/alerts", Access::Read, |site, _| {
        Box::pin(alerts::report(site))
    }),
    get("/v1/silences", Access::Read, |site, _| {
        Box::pin(alerts::silences(site))
    }),
    post("/v1/silences", Access::Change, |site, call| {
        Box::pin(alerts::silence(site, call))
    }),
    delete("/v1/silences/{name}", Access::Change, |site, call| {
        Box::pin(alerts::unsilence(site, call))
    }),
    post("/v1/ack", Access::Change, |site, call| {
        Box::pin(alerts::ack(site, call))
    }),
    get("/badge/{name}.svg", Access::Read, |site, call| {
        Box::pin(badge::badge(site, call))
    }),
    get("/v1/openapi.json", Access::Open, |_, _| {
        Box::pin(async {
            let kind = "application/json";
            Ok(typed(StatusCode::OK, kind, Answer::text(OPENAPI)))
        })
    }),
];

/// One value on one line.
fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let text = serde_json::to_string(value).map_err(|e| {
        let detail = format!("the answer has no JSON form: {e}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    Ok(typed(status, "application/json", Answer::text(text + "\n")))
}

/// Characters of a `match`: in bytes at most what healthd takes.
const MATCH: usize = 250;
/// Bytes; no check has a longer one.
const NAME: usize = 256;

fn matching(text: &str) -> Result<Match, Problem> {
    if text.chars().count() > MATCH {
        let long = Problem::bad(format!("`match` is longer than {MATCH} characters"));
        return Err(long.help("name a label that the checks have"));
    }
    Match::parse(text).map_err(|e| Problem::bad(format!("`match` {}", e.what)).help(e.help))
}

/// A `match` as healthd takes it for one: what has neither `=` nor a comma may be a name, or a glob with a blank in it.
fn match_of(site: &Site, text: String) -> Result<String, Problem> {
    let picture = site.viewer.borrow_mut().picture();
    if picture.is_ok_and(|p| p.rows.iter().any(|r| *r.name == *text)) {
        return Ok(text);
    }
    matching(&text)?;
    let text = text.trim();
    match Match::is_meant(text) || !text.contains([' ', '\'', '"']) {
        true => {
            possible(text)?;
            Ok(text.to_owned())
        }
        // Twice the same is the same.
        false => Ok(format!("{text}, {text}")),
    }
}

/// A name that a check may have.
fn possible(name: &str) -> Result<(), Problem> {
    match name.len() <= NAME || Match::is_meant(name) || glob::is_pattern(name) {
        true => Ok(()),
        false => Err(Problem::no_check(name)),
    }
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Problem> {
    serde_json::from_slice(&call.body).map_err(|e| {
        Problem::bad(format!("the body is not what is asked for: {e}"))
            .help("/v1/openapi.json has the shape")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::routes;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_each_path_and_method_that_is_answered_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let paths = described["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods");
                methods
                    .keys()
                    .map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let is_api = |path: &str| path.starts_with("/v1/") || path.starts_with("/badge/");
        let answered: BTreeSet<(String, String)> = routes()
            .filter(|route| is_api(route.path))
            .map(|route| (route.path.to_owned(), route.method.to_owned()))
            .collect();
        assert_eq!(described, answered);
    }

    #[test]
    fn what_changes_something_is_no_get() {
        // Who says that a job is well has curl, and no more.
        for route in routes().filter(|route| route.access != Access::Beat) {
            let changes = route.access == Access::Change;
            assert_eq!(changes, route.method != "GET", "{}", route.path);
        }
    }
}
