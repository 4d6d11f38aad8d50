//! What `doctor` has found: the gravest first, each with the command that mends it. On a terminal what is well is one line.

use super::Look;
use super::paint::Paint;
use super::table::{Cell, Column, Table};
use super::text::wrap;
use crate::doctor::{Finding, State};

pub fn table(findings: &[Finding], look: &Look) -> String {
    let is_shown = |finding: &&Finding| look.width.is_none() || finding.state != State::Ok;
    let shown: Vec<&Finding> = findings.iter().filter(is_shown).collect();
    let mut out = match shown.is_empty() {
        true => String::new(),
        false => rows(&shown, look),
    };
    if shown.len() < findings.len() {
        out += &well(findings, look);
    }
    out
}

/// The areas in which there is nothing to mend.
fn well(findings: &[Finding], look: &Look) -> String {
    let mut areas: Vec<&str> = Vec::new();
    for finding in findings {
        let is_well = |f: &Finding| f.area != finding.area || f.state == State::Ok;
        if findings.iter().all(is_well) && !areas.contains(&finding.area) {
            areas.push(finding.area);
        }
    }
    let line = format!("well: {} (--wide shows what was found)", areas.join(", "));
    let lines = wrap(&line, look.width.unwrap_or(usize::MAX));
    Paint::Dim.on(&lines.join("\n"), look.color) + "\n"
}

fn rows(findings: &[&Finding], look: &Look) -> String {
    let mut table = Table::new(vec![
        Column::left("STATE"),
        Column::left("AREA"),
        Column::left("WHAT").wraps(),
    ]);
    for finding in findings {
        let (word, paint) = match finding.state {
            State::Ok => ("ok", Paint::Good),
            State::Warning => ("WARNING", Paint::Warn),
            State::Problem => ("PROBLEM", Paint::Bad),
        };
        table.row(vec![
            Cell::new(word).paint(paint),
            Cell::new(finding.area),
            Cell::new(&finding.what),
        ]);
        if let Some(mend) = &finding.mend {
            table.row(vec![
                Cell::new(""),
                Cell::new(""),
                Cell::new(format!("mend: {mend}")).paint(Paint::Bold),
            ]);
        }
    }
    table.render(look)
}

#[cfg(test)]
mod tests {
    use super::super::tests::look;
    use super::*;

    #[test]
    fn a_finding_has_its_command_below_it() {
        let findings = [
            Finding {
                area: "clock",
                state: State::Warning,
                what: "nobody keeps it right".into(),
                mend: Some("sudo timedatectl set-ntp true".into()),
            },
            Finding {
                area: "kernel",
                state: State::Ok,
                what: "Linux 6.1".into(),
                mend: None,
            },
        ];
        assert_eq!(
            table(&findings, &look(None)),
            "STATE    AREA    WHAT\n\
             WARNING  clock   nobody keeps it right\n                 \
             mend: sudo timedatectl set-ntp true\n\
             ok       kernel  Linux 6.1\n"
        );
        assert_eq!(
            table(&findings, &look(Some(80))),
            "STATE    AREA   WHAT\n\
             WARNING  clock  nobody keeps it right\n                \
             mend: sudo timedatectl set-ntp true\n\
             well: kernel (--wide shows what was found)\n"
        );
        let well = table(&findings[1..], &look(Some(80)));
        assert_eq!(well, "well: kernel (--wide shows what was found)\n");
    }
}
