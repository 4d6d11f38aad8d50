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
use crate::routes::{Access, Answered, Call, Route, typed};
use hyper::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub const OPENAPI: &str = include_str!("../../openapi.json");

/// In the paths of healthchecks.io, so that its clients work.
macro_rules! beat {
    ($method:literal, $path:literal, $answer:path) => {
        Route {
            method: $method,
            path: $path,
            access: Access::Beat,
            answer: |site, call| Box::pin($answer(site, call)),
        }
    };
}

pub const BEATS: [Route; 6] = [
    beat!("GET", "/ping/{name}/start", ping::start),
    beat!("POST", "/ping/{name}/start", ping::start),
    beat!("GET", "/ping/{name}/fail", ping::fail),
    beat!("POST", "/ping/{name}/fail", ping::fail),
    beat!("GET", "/ping/{name}", ping::done),
    beat!("POST", "/ping/{name}", ping::done),
];

pub const ROUTES: [Route; 15] = [
    Route {
        method: "GET",
        path: "/v1/checks",
        access: Access::Read,
        answer: |site, call| Box::pin(checks::all(site, call)),
    },
    Route {
        method: "GET",
        path: "/v1/checks/{name}",
        access: Access::Read,
        answer: |site, call| Box::pin(checks::one(site, call)),
    },
    Route {
        method: "GET",
        path: "/v1/history/{name}",
        access: Access::Read,
        answer: |site, call| Box::pin(checks::history(site, call)),
    },
    Route {
        method: "GET",
        path: "/v1/events",
        access: Access::Read,
        answer: |site, call| Box::pin(events::events(site, call)),
    },
    Route {
        method: "GET",
        path: "/v1/workers",
        access: Access::Read,
        answer: |site, _| Box::pin(checks::workers(site)),
    },
    Route {
        method: "GET",
        path: "/v1/plugins",
        access: Access::Read,
        answer: |site, _| Box::pin(checks::plugins(site)),
    },
    Route {
        method: "POST",
        path: "/v1/run",
        access: Access::Change,
        answer: |site, call| Box::pin(run::run(site, call)),
    },
    // It changes nothing, but costs: who may not change anything may not ask for it either.
    Route {
        method: "POST",
        path: "/v1/analyse",
        access: Access::Change,
        answer: |_, call| Box::pin(analyse::analyse(call)),
    },
    Route {
        method: "GET",
        path: "/v1/alerts",
        access: Access::Read,
        answer: |site, _| Box::pin(alerts::report(site)),
    },
    Route {
        method: "GET",
        path: "/v1/silences",
        access: Access::Read,
        answer: |site, _| Box::pin(alerts::silences(site)),
    },
    Route {
        method: "POST",
        path: "/v1/silences",
        access: Access::Change,
        answer: |site, call| Box::pin(alerts::silence(site, call)),
    },
    Route {
        method: "DELETE",
        path: "/v1/silences/{name}",
        access: Access::Change,
        answer: |site, call| Box::pin(alerts::unsilence(site, call)),
    },
    Route {
        method: "POST",
        path: "/v1/ack",
        access: Access::Change,
        answer: |site, call| Box::pin(alerts::ack(site, call)),
    },
    Route {
        method: "GET",
        path: "/badge/{name}.svg",
        access: Access::Read,
        answer: |site, call| Box::pin(badge::badge(site, call)),
    },
    Route {
        method: "GET",
        path: "/v1/openapi.json",
        access: Access::Open,
        answer: |_, _| {
            Box::pin(async {
                let kind = "application/json";
                Ok(typed(StatusCode::OK, kind, Answer::text(OPENAPI)))
            })
        },
    },
];

/// One value on one line.
fn json(status: StatusCode, value: &impl Serialize) -> Answered {
    let text = serde_json::to_string(value).map_err(|e| {
        let detail = format!("the answer has no JSON form: {e}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    Ok(typed(status, "application/json", Answer::text(text + "\n")))
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
