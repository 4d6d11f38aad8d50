//! `reload`: the daemon reads its configuration again. Also what systemd's ExecReload= calls.

use crate::error::CtlError;
use crate::exit;
use crate::render::time;
use crate::session::Session;
use healthd_core::config::thousands;
use healthd_core::wire::control::{Op, ReloadReport, Reply};

pub fn run(session: &mut Session) -> Result<u8, CtlError> {
    ask(session, Op::Reload, "reloaded")
}

/// Of any request that is answered by `reloaded`.
pub fn ask(session: &mut Session, op: Op, what: &str) -> Result<u8, CtlError> {
    let report = report(session, op)?;
    if session.json {
        session.print_json(&report)?;
        return Ok(exit::OK);
    }
    session.screen.print_prose(&sentence(what, &report), "  ")?;
    Ok(exit::OK)
}

/// The answer to it; its warnings are told.
pub fn report(session: &mut Session, op: Op) -> Result<ReloadReport, CtlError> {
    let report = session.ask_one(op, "reloaded", |reply| match reply {
        Reply::Reloaded(report) => Some(report),
        _ => None,
    })?;
    if !session.json {
        for warning in &report.warnings {
            session.screen.note("warning", warning);
        }
    }
    Ok(report)
}

fn sentence(what: &str, report: &ReloadReport) -> String {
    let changes: Vec<String> = [
        (report.added, "added"),
        (report.changed, "changed"),
        (report.removed, "removed"),
    ]
    .iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{} {what}", thousands(*number)))
    .collect();
    let same = changes.is_empty() && report.plugins.is_empty() && report.new_generation.is_none();
    let changes = match changes.as_slice() {
        [] if same => "nothing has changed".to_owned(),
        [] => "no check changed".to_owned(),
        some => some.join(", "),
    };
    let plugins = match report.plugins.as_slice() {
        [] => String::new(),
        some => format!("; {}", some.join(", ")),
    };
    let workers = report
        .new_generation
        .map(|n| format!("; all workers were replaced by new ones (generation {n})"))
        .unwrap_or_default();
    format!(
        "{what} in {}: {changes}; {} as before{plugins}{workers}",
        time::latency(report.took_ms as f64),
        match report.unchanged {
            1 => "1 check".to_owned(),
            n => format!("{} checks", thousands(n)),
        },
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
            unchanged: 9990,
            took_ms: 12,
            ..ReloadReport::default()
        };
        assert_eq!(
            sentence("reloaded", &report),
            "reloaded in 12 ms: 2 added, 1 removed; 9,990 checks as before"
        );
        let report = ReloadReport {
            unchanged: 40,
            new_generation: Some(3),
            plugins: vec!["http 1 (01020304) -> http 2 (05060708)".into()],
            ..ReloadReport::default()
        };
        assert_eq!(
            sentence("rolled back", &report),
            "rolled back in 0.0 ms: no check changed; 40 checks as before; \
             http 1 (01020304) -> http 2 (05060708); \
             all workers were replaced by new ones (generation 3)"
        );
        let report = ReloadReport {
            unchanged: 1,
            took_ms: 3,
            ..ReloadReport::default()
        };
        assert_eq!(
            sentence("reloaded", &report),
            "reloaded in 3.0 ms: nothing has changed; 1 check as before"
        );
    }
}
