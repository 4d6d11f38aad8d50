//! `status`: the checks and their verdicts, problems first.

use crate::args::StatusArgs;
use crate::error::CtlError;
use crate::render::Look;
use crate::session::Session;
use crate::{exit, render::check};
use healthd_core::config::thousands;
use healthd_core::wire::control::CheckRow;

/// Of more rows than this a terminal shows those that are a problem, and counts the others.
const MANY: usize = 200;

pub fn run(session: &mut Session, args: &StatusArgs) -> Result<u8, CtlError> {
    let filter = args.selection.filter();
    if args.nagios {
        return super::nagios::run(session, &filter);
    }
    let rows = session.check_rows(&filter)?;
    let problems = std::mem::take(&mut session.problems);
    // First of all, whatever the rows say. Programs get them as they were promised.
    let lines = problems.iter().map(|p| format!("healthd: {}\n", p.text));
    let told: String = lines.collect();
    match session.json {
        true => problems
            .iter()
            .for_each(|p| session.screen.note("warning", &p.text)),
        false => session.screen.print(&told)?,
    }
    if rows.is_empty() {
        if session.json {
            session.print_json_array(&rows)?;
        }
        let code = session.nothing_matches(&filter)?;
        return Ok(exit::with_problems(code, &problems));
    }
    let code = exit::with_problems(exit::of_verdicts(&rows), &problems);
    if session.json {
        session.print_json_array(&rows)?;
        return Ok(code);
    }
    let look = session.screen.look();
    let summary = check::summary(&rows, &look);
    let named = !args.selection.names.is_empty();
    let (shown, left_out) = chosen(&rows, args.all, named, &look);
    let mut text = match shown.is_empty() {
        true => String::new(),
        false => check::table(&shown, &look),
    };
    if left_out > 0 {
        text += &format!(
            "and {} more that are no problem; --all shows them\n",
            thousands(left_out as u64)
        );
    }
    text += &format!("\n{summary}\n");
    session.screen.print(&text)?;
    Ok(code)
}

/// What is shown, and how many more there are that one would look for.
fn chosen<'r>(
    rows: &'r [CheckRow],
    all: bool,
    named: bool,
    look: &Look,
) -> (Vec<&'r CheckRow>, usize) {
    let mut rows = check::by_urgency(rows);
    // Switched off on purpose; who names it wants to see it.
    if !all && !named {
        rows.retain(|row| !row.disabled);
    }
    let many = look.width.is_some() && rows.len() > MANY;
    if all || named || !many {
        return (rows, 0);
    }
    let before = rows.len();
    rows.retain(|row| !check::is_quiet(row));
    let left_out = before - rows.len();
    (rows, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::check::tests::row;
    use crate::render::tests::look;
    use healthd_core::check::outcome::Verdict;

    fn names<'r>(rows: &[&'r CheckRow]) -> Vec<&'r str> {
        rows.iter().map(|row| row.name.as_str()).collect()
    }

    #[test]
    fn problems_come_first_and_what_is_switched_off_is_left_out() {
        let mut rows = vec![
            row("ok", Verdict::Ok),
            row("off", Verdict::Pending),
            row("warn", Verdict::Warning),
            row("bad", Verdict::Critical),
        ];
        rows[1].disabled = true;
        let pick = |all, named| chosen(&rows, all, named, &look(Some(80)));
        assert_eq!(names(&pick(false, false).0), ["bad", "warn", "ok"]);
        assert_eq!(names(&pick(true, false).0), ["bad", "warn", "ok", "off"]);
        assert_eq!(names(&pick(false, true).0), ["bad", "warn", "ok", "off"]);
    }

    #[test]
    fn a_terminal_is_not_flooded_with_what_is_well() {
        let mut rows: Vec<CheckRow> = (0..MANY).map(|_| row("ok", Verdict::Ok)).collect();
        rows.push(row("bad", Verdict::Critical));
        let (shown, left_out) = chosen(&rows, false, false, &look(Some(80)));
        assert_eq!((names(&shown), left_out), (vec!["bad"], MANY));
        assert_eq!(
            chosen(&rows, true, false, &look(Some(80))).0.len(),
            MANY + 1
        );
        assert_eq!(chosen(&rows, false, false, &look(None)).0.len(), MANY + 1);
    }
}
