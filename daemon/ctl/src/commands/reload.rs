//! `reload`: the daemon reads its configuration again. Also what systemd's ExecReload= calls.

use crate::error::CtlError;
use crate::session::Session;
use crate::{exit, render::time};
use healthd_core::wire::control::{Op, ReloadReport, Reply};

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    let report = session.ask_one(Op::Reload, "reloaded", |reply| match reply {
        Reply::Reloaded(report) => Some(report),
        _ => None,
    })?;
    if session.json {
        session.print_json(&report)?;
        return Ok(exit::OK);
    }
    for warning in &report.warnings {
        session.screen.note("warning", warning);
    }
    session.screen.print_line(&sentence(&report))?;
    Ok(exit::OK)
}

fn sentence(report: &ReloadReport) -> String {
    let changes: Vec<String> = [
        (report.added, "added"),
        (report.changed, "changed"),
        (report.removed, "removed"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    let changes = if changes.is_empty() {
        "no check changed".to_owned()
    } else {
        changes.join(", ")
    };
    let workers = report
        .new_generation
        .map(|n| format!("; workers replaced (generation {n})"))
        .unwrap_or_default();
    format!(
        "reloaded in {}: {changes}, {} unchanged{workers}",
        time::duration(report.took_ms),
        report.unchanged
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let report = ReloadReport {
            added: 2,
            removed: 1,
            unchanged: 40,
            took_ms: 12,
            ..ReloadReport::default()
        };
        assert_eq!(
            sentence(&report),
            "reloaded in 12ms: 2 added, 1 removed, 40 unchanged"
        );
        let report = ReloadReport {
            unchanged: 40,
            new_generation: Some(3),
            ..ReloadReport::default()
        };
        assert_eq!(
            sentence(&report),
            "reloaded in 0s: no check changed, 40 unchanged; workers replaced (generation 3)"
        );
    }
}
