//! The live table.

use crate::daemon::Daemon;
use crate::scene::Scene;
use crate::web::Mood;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// What the table shows of a check.
pub struct Row {
    pub name: String,
    pub verdict: String,
    status: Option<String>,
    tries: String,
    latency_ms: Option<f64>,
    /// Nobody vouches for it any more: healthd does not answer.
    stale: bool,
    message: String,
}

impl Row {
    /// From a line of `healthctl --json watch`, with its place.
    pub fn read(line: &str) -> Option<(u64, Row)> {
        let row: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let read = Row {
            name: text("name")?,
            verdict: text("verdict")?,
            status: text("status"),
            tries: format!("{}/{}", row["attempt"], row["attempts"]),
            latency_ms: row["latency_ms"].as_f64(),
            stale: row["stale"] == true,
            // A server wrote it: nothing in it may steer the terminal.
            message: text("message")
                .unwrap_or_default()
                .replace(|c: char| c.is_control(), "?"),
        };
        Some((row["index"].as_u64()?, read))
    }

    /// `ok`, `CRITICAL`, or `ok, CRITICAL 1/2` while the attempts are not used up.
    fn state(&self) -> String {
        let state = self.fresh_state();
        match self.stale {
            true => format!("{state} (stale)"),
            false => state,
        }
    }

    fn fresh_state(&self) -> String {
        match &self.status {
            Some(status) if *status != self.verdict => {
                format!("{}, {} {}", cased(&self.verdict), cased(status), self.tries)
            }
            _ => cased(&self.verdict),
        }
    }

    fn latency(&self) -> String {
        match self.latency_ms {
            None => "-".into(),
            Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
            Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
            Some(ms) => format!("{:.1} s", ms / 1000.0),
        }
    }
}

fn cased(word: &str) -> String {
    match word {
        "ok" | "pending" => word.to_owned(),
        _ => word.to_uppercase(),
    }
}

/// The other screen of the terminal, until it is dropped.
pub struct Screen {
    color: bool,
    on_terminal: bool,
}

impl Screen {
    pub fn enter() -> Screen {
        // The alternate screen, no cursor, no line wrap.
        put("\x1b[?1049h\x1b[?25l\x1b[?7l");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen {
            color: !no_color,
            on_terminal: true,
        }
    }

    /// For a picture: nothing reaches a terminal.
    pub fn of_picture() -> Screen {
        Screen {
            color: true,
            on_terminal: false,
        }
    }

    pub fn draw<'a>(
        &mut self,
        scene: &Scene,
        daemon: &Daemon,
        mood: Mood,
        left: Duration,
        rows: impl Iterator<Item = &'a Row>,
    ) {
        let (columns, height) = size();
        let mut lines = self.lines(scene, daemon, mood, left, rows, columns);
        lines.truncate(height);
        let mut text = String::from("\x1b[H");
        for (n, line) in lines.iter().enumerate() {
            let end = if n + 1 < lines.len() { "\r\n" } else { "" };
            // Cleared first: after a full line the cursor still stands on its last letter.
            let _ = write!(text, "\x1b[K{line}{end}");
        }
        text.push_str("\x1b[J");
        put(&text);
    }

    /// What is on the screen, line by line.
    pub fn lines<'a>(
        &self,
        scene: &Scene,
        daemon: &Daemon,
        mood: Mood,
        left: Duration,
        rows: impl Iterator<Item = &'a Row>,
        columns: usize,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let seconds = left.as_secs() + 1;
        lines.push(format!(
            "{}  {} checks, ready after {} ms{}",
            self.paint("1", "healthd demo"),
            scene.checks.len(),
            daemon.ready_after.as_millis(),
            match self.on_terminal {
                true => format!("; its page: {}", scene.page),
                // It is another one each time.
                false => String::new(),
            },
        ));
        let color = match mood {
            Mood::Healthy => "32",
            Mood::Slow => "33",
            Mood::Failing => "1;31",
        };
        lines.push(format!(
            "The web server is {}: {}. In {seconds} s it turns {}.",
            self.paint(color, mood.name()),
            mood.explained(),
            mood.next().name()
        ));
        lines.push(String::new());
        let rows: Vec<&Row> = rows.collect();
        if !rows.is_empty() && rows.iter().all(|row| row.stale) {
            let text = "healthd does not answer; this is what it said last";
            lines.push(self.paint("35", text));
            lines.push(String::new());
        }
        let widest = |least: usize, text: &dyn Fn(&Row) -> String| {
            let of_rows = rows.iter().map(|row| text(row).chars().count()).max();
            of_rows.unwrap_or_default().max(least)
        };
        let name_width = widest("NAME".len(), &|row| row.name.clone());
        // Room for a second attempt, so that the table does not jump.
        let state_width = widest("ok, CRITICAL 1/2".len(), &Row::state);
        let head = format!(
            "{:<name_width$}  {:<state_width$}  {:>7}  MESSAGE",
            "NAME", "STATE", "LATENCY"
        );
        let room = columns.saturating_sub(head.len() - "MESSAGE".len());
        lines.push(self.paint("2", &head));
        for row in rows {
            let color = match row.verdict.as_str() {
                _ if row.stale => "35",
                "ok" => "32",
                "warning" => "33",
                "critical" => "1;31",
                "unknown" => "35",
                _ => "2",
            };
            let state = self.paint(color, &format!("{:<state_width$}", row.state()));
            lines.push(format!(
                "{:<name_width$}  {state}  {:>7}  {}",
                row.name,
                row.latency(),
                cut(&row.message, room)
            ));
        }
        lines.push(String::new());
        for (name, why) in &scene.left_out {
            lines.push(cut(&format!("left out: {name}: {why}"), columns));
        }
        lines.push("Ask it from another terminal, in this folder:".into());
        lines.push(format!(
            "  export HEALTHD_SOCKET={}",
            daemon.socket.display()
        ));
        let healthctl = shown(&daemon.healthctl);
        for example in ["status", "why shop/front", "workers", "run --all"] {
            lines.push(format!("  {healthctl} {example}"));
        }
        lines.push("Ctrl-C ends the demo.".into());
        lines
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !self.on_terminal {
            return;
        }
        put("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

/// That a terminal is gone, its hang-up signal tells.
fn put(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Columns and lines.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// As one would type it here.
fn shown(program: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    program
        .strip_prefix(here)
        .unwrap_or(program)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_verdict_and_attempts() {
        let line = r#"{"name":"a","verdict":"ok","status":"critical","attempt":1,"attempts":2,"message":"x\u001b[2J","latency_ms":12.4,"index":3}"#;
        let (index, row) = Row::read(line).expect("a row");
        assert_eq!((index, row.state().as_str()), (3, "ok, CRITICAL 1/2"));
        assert_eq!(
            (row.latency().as_str(), row.message.as_str()),
            ("12 ms", "x?[2J")
        );
        assert!(Row::read(r#"{"type":"gone","name":"a"}"#).is_none());
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
