//! `run`: runs checks now and shows each result as it comes.

use crate::args::RunArgs;
use crate::connection::Incoming;
use crate::error::{Change, CtlError};
use crate::exit;
use crate::interrupt::Interrupt;
use crate::render::paint::Paint;
use crate::render::{Look, check, text, time};
use crate::session::Session;
use healthd_core::wire::control::{CheckRow, Op, Reply};
use std::time::{Duration, Instant};

/// How often the clock in the progress line moves, and the least time between two of its lines.
const TICK: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(50);
const BAR: usize = 20;

pub fn run(session: &mut Session, args: &RunArgs) -> Result<u8, CtlError> {
    let filter = args.targets.filter();
    let interrupt = Interrupt::new()?;
    let mut connection = session.ask(Op::Run(filter.clone()))?;
    let patience = session.stream_patience();
    let mut report = Report::new(args.ordered);
    let mut last_heard = Instant::now();
    let mut silence = patience.first;
    let interrupted = loop {
        let silent_until = silence.map(|time| last_heard + time);
        let tick = session.screen.has_progress().then(|| Instant::now() + TICK);
        let until = [silent_until, tick].into_iter().flatten().min();
        match connection.next(until, Some(&interrupt))? {
            Incoming::Reply(Reply::Started { total }) => report.total = Some(total),
            Incoming::Reply(Reply::Check(row)) => report.finished(session, row)?,
            Incoming::Reply(reply) => session.tell_unknown(crate::connection::kind_of(&reply)),
            Incoming::Unknown(kind) => session.tell_unknown(&kind),
            Incoming::End => break false,
            Incoming::Stop => break true,
            Incoming::Quiet => {
                if silent_until.is_some_and(|until| Instant::now() >= until) {
                    let socket = connection.socket().to_owned();
                    let waited = silence.unwrap_or_default();
                    return Err(match Change::of(&Op::Run(filter)) {
                        Some(change) => CtlError::Unanswered {
                            socket,
                            waited,
                            change,
                        },
                        None => CtlError::Silent { socket, waited },
                    });
                }
                report.progress(session);
                continue;
            }
        }
        last_heard = Instant::now();
        silence = patience.between;
        if session.screen.is_closed() {
            break true;
        }
    };
    if report.rows.is_empty() && !interrupted {
        return session.nothing_matches(&filter);
    }
    report.end(session, interrupted)
}

struct Report {
    total: Option<u64>,
    rows: Vec<CheckRow>,
    ordered: bool,
    began: Instant,
    drawn: Option<Instant>,
    name_width: usize,
}

impl Report {
    fn new(ordered: bool) -> Report {
        Report {
            total: None,
            rows: Vec::new(),
            ordered,
            began: Instant::now(),
            drawn: None,
            name_width: 16,
        }
    }

    fn finished(&mut self, session: &mut Session, row: CheckRow) -> Result<(), CtlError> {
        self.name_width = self.name_width.max(text::width(&row.name));
        if !self.ordered {
            self.show(session, &row)?;
        }
        self.rows.push(row);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.progress(session);
        }
        Ok(())
    }

    fn show(&self, session: &mut Session, row: &CheckRow) -> Result<(), CtlError> {
        if session.json {
            return session.print_json(row);
        }
        let look = session.screen.look();
        let line = match self.total {
            Some(1) => check::run_alone(row, self.name_width, &look),
            _ => check::run_line(row, self.name_width, &look),
        };
        session.screen.print_line(&line)
    }

    fn progress(&mut self, session: &mut Session) {
        if !session.screen.has_progress() {
            return;
        }
        let look = session.screen.look();
        session.screen.progress(&progress_line(
            self.rows.len() as u64,
            self.total,
            &self.rows,
            self.began.elapsed(),
            &look,
        ));
        self.drawn = Some(Instant::now());
    }

    fn end(mut self, session: &mut Session, interrupted: bool) -> Result<u8, CtlError> {
        session.screen.clear_progress();
        if self.ordered {
            self.rows.sort_by_key(|row| row.index);
            for row in &self.rows {
                self.show(session, row)?;
            }
        }
        if interrupted {
            if !session.screen.is_closed() {
                let total = self.total.map(|n| format!(" of {n}")).unwrap_or_default();
                let text = format!(
                    "interrupted: {}{total} finished; healthd ends the others by itself",
                    self.rows.len()
                );
                session.screen.note("note", &text);
            }
            return Ok(exit::UNKNOWN);
        }
        if !session.json && self.rows.len() > 1 {
            let look = session.screen.look();
            let took = time::latency(self.began.elapsed().as_secs_f64() * 1e3);
            let all = text::count(self.rows.len() as u64, "check");
            let head = format!("{all} run in {took}:");
            let line = check::run_tally(&head, &self.rows, &look);
            session.screen.print_line(&format!("\n{line}"))?;
        }
        Ok(exit::of_runs(&self.rows))
    }
}

/// `[########............] 48/120  2 critical, 46 ok  3s`
fn progress_line(
    done: u64,
    total: Option<u64>,
    rows: &[CheckRow],
    time: Duration,
    look: &Look,
) -> String {
    let look = Look {
        color: false,
        width: None,
        ..look.clone()
    };
    let tally = check::run_tally("", rows, &look);
    let bar = match total {
        Some(total) if total > 0 => {
            let full = (done.min(total) * BAR as u64 / total) as usize;
            format!(
                "[{}{}] {done}/{total}",
                "#".repeat(full),
                ".".repeat(BAR - full)
            )
        }
        _ => format!("{done} done"),
    };
    Paint::Plain.on(
        format!("{bar}  {tally}  {}s", time.as_secs()).trim_end(),
        false,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::check::tests::row;
    use crate::render::tests::look;
    use healthd_core::check::outcome::Verdict;

    #[test]
    fn the_bar_fills() {
        let rows = [row("a", Verdict::Ok), row("b", Verdict::Critical)];
        let line = |done, total| {
            progress_line(
                done,
                total,
                &rows,
                Duration::from_millis(3_900),
                &look(None),
            )
        };
        assert_eq!(
            line(2, Some(4)),
            "[##########..........] 2/4  1 critical, 1 ok  3s"
        );
        assert_eq!(
            line(9, Some(4)),
            "[####################] 9/4  1 critical, 1 ok  3s"
        );
        assert_eq!(line(2, None), "2 done  1 critical, 1 ok  3s");
    }
}
