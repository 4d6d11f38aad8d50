//! What `healthctl alerts` shows: open notices, how each route is doing, and what is held back.

use crate::engine::Engine;
use crate::holds::{Scope, Until};
use crate::lane::Ends;
use crate::notice::{Class, Notice, Stage};
use crate::time::Now;
use serde::Serialize;
use std::sync::Arc;

/// Ids and times as numbers; whoever prints them gives them their form.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub notices: Vec<NoticeRow>,
    pub routes: Vec<RouteRow>,
    pub silences: Vec<SilenceRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoticeRow {
    pub id: u64,
    pub route: Arc<str>,
    /// `collecting`, `sending`, `refused`, `told`, `ending`.
    pub state: &'static str,
    /// Of the message that is due or on its way; null: none is.
    pub kind: Option<&'static str>,
    /// CLOCK_REALTIME, ns, as all times here.
    pub since: u64,
    pub checks: Vec<Arc<str>>,
    pub told_at: Option<u64>,
    pub next_try: Option<u64>,
    pub refusal: Option<String>,
    pub receipt: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteRow {
    pub name: Arc<str>,
    pub plugin: String,
    pub enabled: bool,
    /// Notices that have something to say that has not got through.
    pub pending: usize,
    /// For how long the oldest of these has been failing, ns.
    pub oldest: u64,
    pub last_ok: Option<u64>,
    pub last_error: Option<String>,
    #[serde(skip)]
    pub ends: Ends,
    /// Messages of the last seven days, and how many are enough.
    pub week: u64,
    pub budget: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SilenceRow {
    pub id: u64,
    /// `silence`, `maintenance` or `ack`.
    pub kind: &'static str,
    /// A `match`, or the check whose problem is acknowledged.
    #[serde(rename = "match")]
    pub matches: String,
    pub until: Option<u64>,
    pub reason: String,
    pub author: String,
    pub since: u64,
}

impl Engine {
    pub fn report(&self, now: Now) -> Report {
        let failing = |route: &str| {
            let of_it = self.open_notices().filter(|n| *n.route == *route);
            let failing = of_it.filter(|n| n.is_overdue(now.mono) || has_failed(n));
            let since = failing.filter_map(|n| Some(n.trouble?.1.since)).min();
            since.map_or(0, |since| now.mono.saturating_sub(since))
        };
        let routes = self.config_routes().map(|(route, lane)| RouteRow {
            name: route.name.clone(),
            plugin: route.plugin.clone(),
            enabled: route.enabled,
            pending: self
                .open_notices()
                .filter(|n| n.route == route.name && due(n).is_some())
                .count(),
            week: self.week(&route.name, now),
            budget: route.budget,
            oldest: failing(&route.name),
            ends: lane.map(|lane| lane.ends).unwrap_or_default(),
            last_ok: lane.and_then(|lane| lane.last_ok),
            last_error: lane.and_then(|lane| lane.last_error.clone()),
        });
        Report {
            notices: self.open_notices().map(|n| row(n, now)).collect(),
            routes: routes.collect(),
            silences: self
                .holds()
                .given()
                .map(|(id, hold)| {
                    let (kind, matches) = match &hold.scope {
                        Scope::Problem(name) => ("ack", name.to_string()),
                        Scope::Matching(text) if hold.planned => ("maintenance", text.clone()),
                        Scope::Matching(text) => ("silence", text.clone()),
                    };
                    SilenceRow {
                        id,
                        kind,
                        matches,
                        until: match hold.until {
                            Until::Time(t) => Some(t),
                            Until::Further => None,
                        },
                        reason: hold.reason.clone(),
                        author: hold.author.clone(),
                        since: hold.since,
                    }
                })
                .collect(),
        }
    }
}

fn row(notice: &Notice, now: Now) -> NoticeRow {
    let next_try = match (notice.flying, notice.trouble) {
        (None, Some((_, trouble))) if has_failed(notice) => {
            Some(now.wall + trouble.next.saturating_sub(now.mono))
        }
        _ => None,
    };
    NoticeRow {
        id: notice.id,
        route: notice.route.clone(),
        state: match notice.stage {
            Stage::Collecting { .. } => "collecting",
            Stage::Refused => "refused",
            Stage::Sending { .. } => "sending",
            Stage::Told => "told",
            Stage::Ending { .. } => "ending",
        },
        kind: due(notice),
        since: notice.since,
        checks: notice.members.keys().cloned().collect(),
        told_at: Some(notice.told_at).filter(|at| *at > 0),
        next_try,
        refusal: notice.refusal.clone(),
        receipt: notice.receipt.clone(),
    }
}

fn has_failed(notice: &Notice) -> bool {
    notice.trouble.is_some_and(|(_, trouble)| trouble.tries > 0)
}

fn due(notice: &Notice) -> Option<&'static str> {
    if let Some(kind) = notice.flying {
        return Some(kind.as_str());
    }
    match notice.stage {
        // It waits for its place among the deliveries.
        Stage::Collecting { .. } => notice.trouble.map(|_| "problem"),
        Stage::Refused | Stage::Sending { .. } => Some("problem"),
        Stage::Ending { .. } => Some("recovery"),
        Stage::Told => match notice.trouble? {
            (Class::Recovery, _) => Some("recovery"),
            _ => notice.extra.map(|(kind, _)| kind.as_str()),
        },
    }
}
