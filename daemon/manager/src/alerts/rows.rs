//! The report of the engine as it crosses the control socket.

use crate::time::rfc3339;
use healthd_alerts::{Report, RouteRow, SilenceRow};
use healthd_core::wire::alerts as wire;

pub fn report(report: Report) -> wire::AlertsReport {
    let notices = report.notices.into_iter().map(|n| wire::NoticeRow {
        id: n.id.to_string(),
        route: n.route.to_string(),
        state: n.state.to_owned(),
        kind: n.kind.map(str::to_owned),
        since: rfc3339(n.since),
        checks: n.checks.iter().map(|name| name.to_string()).collect(),
        told_at: n.told_at.and_then(rfc3339),
        next_try: n.next_try.and_then(rfc3339),
        refusal: n.refusal,
        receipt: n.receipt,
    });
    wire::AlertsReport {
        notices: notices.collect(),
        routes: report.routes.into_iter().map(route).collect(),
        silences: report.silences.into_iter().map(silence).collect(),
    }
}

fn route(row: RouteRow) -> wire::RouteRow {
    wire::RouteRow {
        name: row.name.to_string(),
        plugin: row.plugin,
        enabled: row.enabled,
        pending: row.pending as u64,
        oldest_pending_s: row.oldest as f64 / 1e9,
        last_ok: row.last_ok.and_then(rfc3339),
        last_error: row.last_error,
        accepted: row.ends.accepted,
        refused: row.ends.refused,
        unknown: row.ends.unknown,
        took_s: row.ends.took as f64 / 1e9,
        week: row.week,
        budget: row.budget.map(u64::from),
    }
}

pub fn silence(row: SilenceRow) -> wire::SilenceRow {
    wire::SilenceRow {
        id: row.id.to_string(),
        kind: row.kind.to_owned(),
        matches: row.matches,
        until: row.until.and_then(rfc3339),
        reason: row.reason,
        author: row.author,
        since: rfc3339(row.since),
    }
}
