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
    if let Some(waits) = waits(&report) {
        session.screen.print_prose(&waits, "  ")?;
    }
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
    let counts = counts(report);
    let more: String = more(report).iter().map(|m| format!("; {m}")).collect();
    let changes = match counts.as_str() {
        "" if more.is_empty() => "nothing has changed",
        "" => "no check changed",
        some => some,
    };
    format!(
        "{what} in {}: {changes}; {} as before{more}",
        time::latency(report.took_ms as f64),
        match report.unchanged {
            1 => "1 check".to_owned(),
            n => format!("{} checks", thousands(n)),
        },
    )
}

/// Of checks: "2 added, 1 removed".
fn counts(report: &ReloadReport) -> String {
    let all = [
        (report.added, "added"),
        (report.changed, "changed"),
        (report.removed, "removed"),
    ];
    let some = all.iter().filter(|(number, _)| *number > 0);
    let some: Vec<String> = some
        .map(|(number, what)| format!("{} {what}", thousands(*number)))
        .collect();
    some.join(", ")
}

/// What changed besides checks.
fn more(report: &ReloadReport) -> Vec<String> {
    let mut more = report.settings.clone();
    if !report.plugins.is_empty() {
        more.push(report.plugins.join(", "));
    }
    let workers = |n| format!("all workers were replaced by new ones (generation {n})");
    more.extend(report.new_generation.map(workers));
    more
}

/// What a reload took in besides the one check for which it was asked: somebody else had edited the files.
pub fn beside_one_check(report: &ReloadReport) -> Option<String> {
    let mut others = vec![counts(&ReloadReport {
        added: report.added.saturating_sub(1),
        ..report.clone()
    })];
    others.extend(report.settings.iter().cloned());
    others.retain(|other| !other.is_empty());
    let others = others.join("; ");
    (!others.is_empty()).then(|| format!("other edits came into effect with it: {others}"))
}

/// Of this reload or of one before it.
fn waits(report: &ReloadReport) -> Option<String> {
    let keys = report.waiting.join(", ");
    (!keys.is_empty()).then(|| format!("waits for a restart of healthd: {keys}"))
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
        assert_eq!(waits(&report), None);
        let report = ReloadReport {
            settings: vec![
                "[daemon] changed (log)".into(),
                "[web] added (healthd-web starts)".into(),
            ],
            waiting: vec!["`log` of [daemon]".into(), "`exec` of [users]".into()],
            ..report
        };
        assert_eq!(
            sentence("reloaded", &report),
            "reloaded in 3.0 ms: no check changed; 1 check as before; \
             [daemon] changed (log); [web] added (healthd-web starts)"
        );
        assert_eq!(
            waits(&report).as_deref(),
            Some("waits for a restart of healthd: `log` of [daemon], `exec` of [users]")
        );
        assert_eq!(
            beside_one_check(&report).as_deref(),
            Some(
                "other edits came into effect with it: [daemon] changed (log); \
                 [web] added (healthd-web starts)"
            )
        );
        let one = ReloadReport {
            added: 1,
            unchanged: 7,
            new_generation: Some(2),
            ..ReloadReport::default()
        };
        assert_eq!(beside_one_check(&one), None);
        let three = ReloadReport { added: 3, ..one };
        assert_eq!(
            beside_one_check(&three).as_deref(),
            Some("other edits came into effect with it: 2 added")
        );
    }
}
