//! Lines that match: shared by `log` and `journal`. Counts are kept for a window of time, not for one run.

use crate::report::{Report, Unit, time_text};
use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Cx, Metric};
use regex_lite::Regex;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// What counts.
pub struct Patterns {
    wanted: Vec<Regex>,
    ignored: Vec<Regex>,
}

impl Patterns {
    pub fn new(wanted: &[String], ignored: &[String]) -> Result<Patterns, String> {
        let all = |name: &str, texts: &[String]| -> Result<Vec<Regex>, String> {
            let one = |(i, text): (usize, &String)| {
                Regex::new(text).map_err(|e| format!("{name}[{i}]: {e}"))
            };
            texts.iter().enumerate().map(one).collect()
        };
        Ok(Patterns {
            wanted: all("pattern", wanted)?,
            ignored: all("ignore", ignored)?,
        })
    }

    /// Without patterns every line counts.
    pub fn count(&self, line: &str) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(|r| r.is_match(line)))
            && !self.ignored.iter().any(|r| r.is_match(line))
    }
}

/// How many matched, and when: at most 60 numbers a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window(VecDeque<(u64, u64)>);

impl Window {
    pub fn add(&mut self, now: u64, window: Duration, count: u64) {
        let step = (window.as_secs() / 60).max(1);
        let at = now / step * step;
        // What is from the future was counted before the clock was set back.
        self.0
            .retain(|(t, _)| *t <= now && t + window.as_secs() >= now);
        if count == 0 {
            return;
        }
        match self.0.back_mut() {
            Some(last) if last.0 == at => last.1 += count,
            _ => self.0.push_back((at, count)),
        }
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    pub fn to_json(&self) -> Value {
        let pairs = self.0.iter().map(|(t, n)| json!([t, n]));
        pairs.collect()
    }

    pub fn from_json(value: &Value) -> Option<Window> {
        let pair = |v: &Value| Some((v.get(0)?.as_u64()?, v.get(1)?.as_u64()?));
        value
            .as_array()?
            .iter()
            .map(pair)
            .collect::<Option<_>>()
            .map(Window)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

/// What one run has read.
#[derive(Debug, Default)]
pub struct Seen {
    pub lines: u64,
    pub matches: u64,
    /// The first of them.
    pub shown: Vec<String>,
    pub last: Option<String>,
}

/// So many lines are shown in the detail, and so many characters of each.
const SHOWN: usize = 20;
const SHOWN_LENGTH: usize = 400;

impl Seen {
    pub fn line(&mut self, patterns: &Patterns, line: &str) {
        self.lines += 1;
        if patterns.count(line) {
            self.matches += 1;
            let short: String = line.chars().take(SHOWN_LENGTH).collect();
            if self.shown.len() < SHOWN {
                self.shown.push(short.clone());
            }
            self.last = Some(short);
        }
    }
}

/// Limits on matches within a window.
pub struct Limits {
    pub count: Upper,
    pub window: Duration,
}

impl Limits {
    pub fn judge(&self, cx: Cx<'_>, window: &Window, seen: &Seen, report: &mut Report<'_>) {
        let total = window.total() as f64;
        let last = match &seen.last {
            Some(line) => format!(", the last: {}", line.chars().take(160).collect::<String>()),
            None => String::new(),
        };
        let times = if total == 1.0 { "match" } else { "matches" };
        let text = format!(
            "{total} {times} within {}{last}",
            time_text(self.window.as_secs_f64())
        );
        report.upper(
            self.count,
            Metric::new("matches", total).min(0.0),
            total,
            &text,
            Unit::Plain,
        );
        if report.is_fine() {
            report.say(text);
        }
        report.say(match seen.lines {
            1 => "1 new line".to_owned(),
            n => format!("{n} new lines"),
        });
        cx.metric(Metric::new("lines", seen.lines as f64).min(0.0));
        if !seen.shown.is_empty() {
            cx.detail(seen.shown.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets() {
        let hour = Duration::from_secs(3600);
        let mut window = Window::default();
        window.add(10_000, hour, 2);
        window.add(10_001, hour, 1);
        window.add(10_500, hour, 4);
        window.add(10_600, hour, 0);
        assert_eq!((window.total(), window.0.len()), (7, 2));
        let again = Window::from_json(&window.to_json());
        assert_eq!(again.as_ref(), Some(&window));
        window.add(13_700, hour, 0);
        assert_eq!(window.total(), 4);
        window.add(20_000, hour, 1);
        assert_eq!(window.total(), 1);
        // The clock is set back.
        window.add(100, hour, 3);
        assert_eq!(window.total(), 3);
        assert_eq!(Window::from_json(&json!("x")), None);
        assert_eq!(Window::from_json(&json!([[1]])), None);
    }

    #[test]
    fn patterns() {
        let texts = |t: &[&str]| t.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let p = Patterns::new(&texts(&["error", "(?i)PANIC"]), &texts(&["error 404"])).unwrap();
        assert!(p.count("an error") && p.count("Panic!"));
        assert!(!p.count("error 404") && !p.count("fine"));
        let all = Patterns::new(&[], &texts(&["^$"])).unwrap();
        assert!(all.count("x") && !all.count(""));
        assert!(
            Patterns::new(&texts(&["a", "("]), &[])
                .err()
                .unwrap()
                .starts_with("pattern[1]: ")
        );
    }
}
