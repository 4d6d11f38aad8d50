//! `watch`: changes as they happen, as lines or as a live table.

use crate::args::WatchArgs;
use crate::connection::{Incoming, kind_of};
use crate::error::{CtlError, Inside};
use crate::exit;
use crate::interrupt::Interrupt;
use crate::render::{check, paint::Paint, text};
use crate::session::{Session, describe};
use healthd_core::config::thousands;
use healthd_core::wire::control::{CheckRow, Op, Reply};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Ages in the table grow by themselves; changes are gathered, so that a storm cannot flood a terminal.
const TICK: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(200);
/// After so long without a word healthd is asked whether it is there: nothing to tell, or stopped?
const QUIET: Duration = Duration::from_secs(2);

pub fn run(session: &mut Session, args: &WatchArgs) -> Result<u8, CtlError> {
    if args.table && !session.screen.can_move_cursor() {
        return Err(CtlError::Unsupported {
            what: "watch --table",
            why: "standard output is no terminal that can move its cursor; leave out --table",
        });
    }
    let interrupt = Interrupt::new()?;
    let mut view = View::new(args);
    let result = follow(session, args, &mut view, &interrupt);
    // Before any error is told: the alternate screen would take it along.
    view.close(session)?;
    if result.is_ok() && session.screen.can_move_cursor() {
        // The terminal has echoed ^C where the prompt belongs.
        session.screen.print("\r\x1b[K")?;
    }
    result.map(|()| exit::OK)
}

/// Until Ctrl-C, or until our reader or healthd leaves.
fn follow(
    session: &mut Session,
    args: &WatchArgs,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<(), CtlError> {
    loop {
        let lost = match listen(session, args, view, interrupt) {
            Ok(()) => return Ok(()),
            // The first connection must work: a typing mistake in --socket is not waited for.
            Err(error) if args.reconnect && view.connected && error.may_pass() => error,
            Err(error) => return Err(error),
        };
        view.lost(session, &lost)?;
        if interrupt.pause_before_reconnect()? {
            return Ok(());
        }
    }
}

fn listen(
    session: &mut Session,
    args: &WatchArgs,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<(), CtlError> {
    let filter = args.selection.filter();
    let mut connection = session.ask(Op::Watch(filter.clone()))?;
    let mut snapshot = Snapshot::Awaited {
        until: session
            .stream_patience()
            .first
            .map(|time| Instant::now() + time),
    };
    let mut heard = Instant::now();
    loop {
        let silent_until = match &snapshot {
            Snapshot::Awaited { until } => *until,
            Snapshot::Coming { .. } | Snapshot::Complete => None,
        };
        let ask_at = matches!(snapshot, Snapshot::Complete).then(|| heard + QUIET);
        let wakes = [silent_until, view.wakes_at(), ask_at];
        let until = wakes.into_iter().flatten().min();
        match connection
            .next(until, Some(interrupt))
            .map_err(name_the_watch)?
        {
            Incoming::Reply(Reply::Started { total }) => {
                heard = Instant::now();
                view.begin_snapshot();
                snapshot = Snapshot::Coming { left: total };
                if total == 0 && filter.verdicts.is_empty() && !filter.is_empty() {
                    return Err(CtlError::NothingMatches {
                        filter: describe(&filter),
                    });
                }
            }
            Incoming::Reply(Reply::Check(row)) => {
                heard = Instant::now();
                if view.mute {
                    view.mute(session, false)?;
                }
                match &mut snapshot {
                    Snapshot::Coming { left } if *left > 0 => {
                        *left -= 1;
                        view.known_row(row);
                    }
                    _ => view.changed(session, row)?,
                }
            }
            Incoming::Reply(Reply::Gone { name }) => view.gone(session, &name)?,
            Incoming::Reply(reply) => session.tell_unknown(kind_of(&reply)),
            Incoming::Unknown(kind) => session.tell_unknown(&kind),
            Incoming::End => return Err(ended(connection.socket())),
            Incoming::Stop => return Ok(()),
            Incoming::Quiet if silent_until.is_some_and(|until| Instant::now() >= until) => {
                let waited = session.stream_patience().first.unwrap_or_default();
                return Err(CtlError::Silent {
                    socket: connection.socket().to_owned(),
                    waited,
                });
            }
            Incoming::Quiet if ask_at.is_some_and(|at| Instant::now() >= at) => {
                heard = Instant::now();
                let mute = !session.is_answered();
                if mute != view.mute {
                    view.mute(session, mute)?;
                }
            }
            Incoming::Quiet => {}
        }
        if matches!(snapshot, Snapshot::Coming { left: 0 }) {
            snapshot = Snapshot::Complete;
            view.snapshot_complete(session)?;
        }
        view.draw_if_due(session)?;
        if session.screen.is_closed() {
            return Ok(());
        }
    }
}

/// A watch has no end of its own: when it ends, the daemon leaves.
fn ended(socket: &Path) -> CtlError {
    CtlError::HungUp {
        socket: socket.to_owned(),
        inside: Inside::Watch,
    }
}

fn name_the_watch(error: CtlError) -> CtlError {
    match error {
        CtlError::HungUp {
            socket,
            inside: Inside::Answer,
        } => ended(&socket),
        other => other,
    }
}

enum Snapshot {
    Awaited { until: Option<Instant> },
    Coming { left: u64 },
    Complete,
}

/// What is known of the checks, and how it is shown.
struct View {
    rows: HashMap<String, CheckRow>,
    /// What was known before the connection was lost: a new snapshot is told as changes against it.
    before: Option<HashMap<String, CheckRow>>,
    every: bool,
    connected: bool,
    /// It holds the connection, but does not answer: stopped, or stuck.
    mute: bool,
    /// The connection is gone; until the next one nothing new is heard.
    lost: bool,
    told_lost: bool,
    name_width: usize,
    table: Option<Live>,
}

struct Live {
    open: bool,
    /// False while a snapshot is coming in: half a table would look like a whole one.
    ready: bool,
    drawn: Option<Instant>,
    dirty: bool,
    remark: String,
}

impl View {
    fn new(args: &WatchArgs) -> View {
        View {
            rows: HashMap::new(),
            before: None,
            every: args.every,
            connected: false,
            mute: false,
            lost: false,
            told_lost: false,
            name_width: 0,
            table: args.table.then(|| Live {
                open: false,
                ready: false,
                drawn: None,
                dirty: true,
                remark: String::new(),
            }),
        }
    }

    fn begin_snapshot(&mut self) {
        let known = std::mem::take(&mut self.rows);
        // A connection lost in the middle of its snapshot leaves the older, whole knowledge in place.
        if self.connected && self.before.is_none() {
            self.before = Some(known);
        }
        self.connected = true;
        self.lost = false;
        self.mute = false;
        if let Some(live) = &mut self.table {
            live.ready = false;
        }
        self.told_lost = false;
    }

    fn known_row(&mut self, row: CheckRow) {
        self.name_width = self.name_width.max(text::width(&row.name));
        self.rows.insert(row.name.clone(), row);
    }

    fn snapshot_complete(&mut self, session: &mut Session) -> Result<(), CtlError> {
        let mut rows: Vec<CheckRow> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| row.index);
        if let Some(live) = &mut self.table {
            live.ready = true;
            live.dirty = true;
            live.drawn = None;
            live.remark.clear();
            self.before = None;
            return Ok(());
        }
        let before = self.before.take();
        if before.is_none() && !session.json {
            let look = session.screen.look();
            let line = check::summary_after("watching ", &rows, &look);
            session.screen.print_line(&line)?;
        }
        for row in &rows {
            match &before {
                // After a reconnect only what is new counts.
                Some(before) => self.tell(session, before.get(&row.name), row)?,
                // A program gets the whole state to start from, a person the problems.
                None if session.json => session.print_json(row)?,
                None if is_news_by_itself(row) => self.print_change(session, None, row)?,
                None => {}
            }
        }
        for name in before
            .iter()
            .flatten()
            .map(|(name, _)| name)
            .filter(|name| !self.rows.contains_key(*name))
        {
            print_gone(session, name, self.name_width)?;
        }
        Ok(())
    }

    fn changed(&mut self, session: &mut Session, row: CheckRow) -> Result<(), CtlError> {
        self.name_width = self.name_width.max(text::width(&row.name));
        let before = self.rows.insert(row.name.clone(), row.clone());
        if let Some(live) = &mut self.table {
            live.dirty = true;
            return Ok(());
        }
        self.tell(session, before.as_ref(), &row)
    }

    fn gone(&mut self, session: &mut Session, name: &str) -> Result<(), CtlError> {
        self.rows.remove(name);
        if let Some(live) = &mut self.table {
            live.dirty = true;
            return Ok(());
        }
        print_gone(session, name, self.name_width)
    }

    fn tell(
        &self,
        session: &mut Session,
        before: Option<&CheckRow>,
        row: &CheckRow,
    ) -> Result<(), CtlError> {
        let news = before.is_none_or(|before| {
            check::state(before) != check::state(row) && !only_attempt_differs(before, row)
        }) || (self.every
            && before.is_some_and(|before| before.last_run != row.last_run));
        match (news, session.json) {
            (false, _) => Ok(()),
            (true, true) => session.print_json(row),
            (true, false) => self.print_change(session, before, row),
        }
    }

    fn print_change(
        &self,
        session: &mut Session,
        before: Option<&CheckRow>,
        row: &CheckRow,
    ) -> Result<(), CtlError> {
        let look = session.screen.look();
        let line = check::change_line(before, row, self.name_width, &look);
        session.screen.print_line(&line)
    }

    /// Nothing new is heard, and so what is shown may be otherwise now; or it is heard again.
    fn mute(&mut self, session: &mut Session, mute: bool) -> Result<(), CtlError> {
        self.mute = mute;
        let remark = "healthd does not answer: stopped, or overloaded; what is shown is stale";
        if let Some(live) = &mut self.table {
            live.remark = if mute { remark } else { "" }.to_owned();
            live.dirty = true;
            live.drawn = None;
            return self.draw_if_due(session);
        }
        if session.json {
            let mut rows: Vec<&CheckRow> = self.rows.values().collect();
            rows.sort_by_key(|row| row.index);
            for row in rows {
                session.print_json(&aged(row.clone(), mute))?;
            }
            return Ok(());
        }
        session.screen.note(
            "warning",
            if mute {
                remark
            } else {
                "healthd answers again"
            },
        );
        Ok(())
    }

    fn lost(&mut self, session: &mut Session, error: &CtlError) -> Result<(), CtlError> {
        match &mut self.table {
            Some(live) => {
                live.remark = format!("{error}; waiting for it");
                live.ready = true;
                live.dirty = true;
                live.drawn = None;
                self.lost = true;
                self.draw_if_due(session)
            }
            None => {
                if !std::mem::replace(&mut self.told_lost, true) {
                    session
                        .screen
                        .note("warning", &format!("{error}; waiting for it"));
                }
                Ok(())
            }
        }
    }

    fn wakes_at(&self) -> Option<Instant> {
        let live = self.table.as_ref().filter(|live| live.ready)?;
        let drawn = live.drawn?;
        Some(drawn + if live.dirty { REDRAW } else { TICK })
    }

    fn draw_if_due(&mut self, session: &mut Session) -> Result<(), CtlError> {
        let due = self.wakes_at().is_none_or(|at| Instant::now() >= at);
        let Some(live) = self.table.as_mut().filter(|live| due && live.ready) else {
            return Ok(());
        };
        let (_, lines) = session.screen.size();
        let look = session.screen.look();
        let mut out = String::new();
        if !std::mem::replace(&mut live.open, true) {
            out.push_str(OPEN);
        }
        out.push_str("\x1b[H");
        let stale = self.mute || self.lost;
        let rows = self.rows.values().cloned();
        let rows: Vec<CheckRow> = rows.map(|row| aged(row, stale)).collect();
        let summary = check::summary(&rows, &look);
        let rows = check::by_urgency(&rows);
        let mut frame: Vec<String> = summary.lines().map(str::to_owned).collect();
        // Heading, blank line, table head, and the last line that stays free of a line end.
        let room = lines.saturating_sub(frame.len() + 3).max(1);
        let remark = text::escape(&live.remark);
        let remark = text::cut(&remark, look.width.unwrap_or(usize::MAX));
        frame.push(Paint::Odd.on(&remark, look.color));
        frame.extend(
            check::table(&rows[..rows.len().min(room)], &look)
                .lines()
                .map(str::to_owned),
        );
        if rows.len() > room {
            frame.push(Paint::Dim.on(
                &format!("and {} more", thousands((rows.len() - room) as u64)),
                look.color,
            ));
        }
        // Cleared line by line, for a clear of the whole screen flickers; and before the text, for
        // after a full line the cursor stands on its last character and would take that along.
        let last = frame.pop().unwrap_or_default();
        for line in frame {
            out.push_str(&format!("\x1b[K{line}\r\n"));
        }
        out.push_str(&format!("\x1b[J{last}"));
        live.drawn = Some(Instant::now());
        live.dirty = false;
        session.screen.print(&out)
    }

    fn close(&mut self, session: &mut Session) -> Result<(), CtlError> {
        let open = self
            .table
            .as_mut()
            .is_some_and(|live| std::mem::take(&mut live.open));
        if open {
            session.screen.print(CLOSE)
        } else {
            Ok(())
        }
    }
}

/// The alternate screen, without a cursor and without wrapping of long lines; and back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

fn print_gone(session: &mut Session, name: &str, width: usize) -> Result<(), CtlError> {
    if session.json {
        return session.print_json(&Reply::Gone {
            name: name.to_owned(),
        });
    }
    let look = session.screen.look();
    session
        .screen
        .print_line(&check::gone_line(name, width, &look))
}

/// A row that nobody has confirmed for a while.
fn aged(row: CheckRow, stale: bool) -> CheckRow {
    CheckRow {
        stale: row.stale || stale,
        ..row
    }
}

/// The third failed attempt is no news after the second: the verdict will tell.
fn only_attempt_differs(before: &CheckRow, row: &CheckRow) -> bool {
    let same_attempt = CheckRow {
        attempt: before.attempt,
        ..row.clone()
    };
    check::state(before) == check::state(&same_attempt)
}

fn is_news_by_itself(row: &CheckRow) -> bool {
    !matches!(check::paint(row), Paint::Good | Paint::Dim)
}
