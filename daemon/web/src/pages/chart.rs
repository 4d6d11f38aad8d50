//! Charts as SVG, made of roll-ups. Each has its words, for whoever does not see it.

use crate::history::Point;
use crate::times;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt::Write;

/// What time a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Day,
    Week,
    Month,
    Years,
}

impl Span {
    pub const ALL: [Span; 4] = [Span::Day, Span::Week, Span::Month, Span::Years];

    pub fn of(word: &str) -> Span {
        let named = Span::ALL.into_iter().find(|s| s.word() == word);
        named.unwrap_or(Span::Day)
    }

    pub fn word(self) -> &'static str {
        match self {
            Span::Day => "24h",
            Span::Week => "7d",
            Span::Month => "35d",
            Span::Years => "3y",
        }
    }

    pub fn days(self) -> u64 {
        match self {
            Span::Day => 1,
            Span::Week => 7,
            Span::Month => 35,
            Span::Years => 3 * 366,
        }
    }
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
/// Below it stand the times.
const BASE: f64 = 130.0;
/// More points than this nobody sees.
const MOST: usize = 360;

/// The median as a line in a band up to 95 %, and the longest as a fine line above. `end`: seconds.
pub fn latency(points: &[Point], span: Span, end: u64, zone: &TimeZone) -> String {
    let begin = end.saturating_sub(span.days() * 86_400);
    let timed: Vec<&Point> = points.iter().filter(|p| p.p50.is_some()).collect();
    let Some(newest) = timed.last() else {
        return String::new();
    };
    let at_once = timed.len().div_ceil(MOST);
    let merged: Vec<(f64, [f64; 3], u64)> = timed.chunks(at_once).map(merge).collect();
    let highest = merged.iter().map(|(_, v, _)| v[2]).fold(0.0, f64::max);
    let top = round_up(highest);
    let x = |t: f64| (t - begin as f64) / (end - begin).max(1) as f64 * WIDTH;
    let y = |ms: f64| BASE - (ms / top).min(1.0) * (BASE - 10.0);
    let words = format!(
        "Latency, {}: median {} in the newest of {} parts, at most {}",
        span.word(),
        times::latency(newest.p50.unwrap_or(0.0)),
        timed.len(),
        times::latency(highest)
    );
    let mut svg = format!(
        "<svg class=chart viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{words}\"><title>{words}</title>"
    );
    for part in [1.0, 0.5] {
        let level = y(top * part);
        let _ = write!(
            svg,
            "<path class=grid d=\"M0 {level:.0}H{WIDTH}\"/><text x=2 y={:.0}>{}</text>",
            level - 3.0,
            times::latency(top * part)
        );
    }
    // A gap in time is a gap in the drawing.
    let gap = |pair: &[(f64, [f64; 3], u64)]| {
        pair[1].0 - pair[0].0 > 2.5 * pair[0].2.max(pair[1].2) as f64
    };
    let mut pieces: Vec<Vec<(f64, [f64; 3], u64)>> = vec![Vec::new()];
    for (n, point) in merged.iter().enumerate() {
        if n > 0 && gap(&merged[n - 1..=n]) {
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(*point);
        }
    }
    let (mut band, mut line, mut most) = (String::new(), String::new(), String::new());
    for piece in &pieces {
        for (n, (t, [p50, p95, max], _)) in piece.iter().enumerate() {
            let letter = if n == 0 { 'M' } else { 'L' };
            let _ = write!(band, "{letter}{:.0} {:.0}", x(*t), y(*p95));
            let _ = write!(line, "{letter}{:.0} {:.0}", x(*t), y(*p50));
            let _ = write!(most, "{letter}{:.0} {:.0}", x(*t), y(*max));
        }
        if piece.len() == 1 {
            // A dot.
            line.push_str("h-3");
            most.push_str("h-3");
        }
        for (t, [p50, ..], _) in piece.iter().rev() {
            let _ = write!(band, "L{:.0} {:.0}", x(*t), y(*p50));
        }
        band.push('Z');
    }
    let _ = write!(
        svg,
        "<path class=band d=\"{band}\"/><path class=most d=\"{most}\"/><path class=line d=\"{line}\"/>"
    );
    for n in 0..5 {
        let t = begin + (end - begin) * n / 4;
        let anchor = match n {
            0 => "start",
            4 => "end",
            _ => "middle",
        };
        let _ = write!(
            svg,
            "<text x={:.0} y=146 text-anchor={anchor}>{}</text>",
            x(t as f64),
            told(t, span, zone)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Of points that stand side by side: when, and half, most and the longest of them.
fn merge(points: &[&Point]) -> (f64, [f64; 3], u64) {
    let n = points.len() as f64;
    let mean = |of: fn(&Point) -> Option<f64>| points.iter().filter_map(|p| of(p)).sum::<f64>() / n;
    let most = points.iter().filter_map(|p| p.max).fold(0.0, f64::max);
    let middle = points[points.len() / 2];
    let p50 = mean(|p| p.p50);
    let p95 = mean(|p| p.p95).max(p50);
    (
        middle.start as f64 + middle.seconds as f64 / 2.0,
        [p50, p95, most.max(p95)],
        middle.seconds * points.len() as u64,
    )
}

/// The next of 1, 2, 5, 10, 20, ...
fn round_up(ms: f64) -> f64 {
    let ms = ms.max(0.001);
    let ten = 10f64.powf(ms.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps
        .into_iter()
        .map(|s| s * ten)
        .find(|s| *s >= ms)
        .unwrap_or(ten * 10.0)
}

fn told(seconds: u64, span: Span, zone: &TimeZone) -> String {
    let format = match span {
        Span::Day => "%H:%M",
        Span::Week => "%a %d",
        Span::Month => "%b %-d",
        Span::Years => "%b %Y",
    };
    match Timestamp::from_second(seconds.cast_signed()) {
        Ok(time) => time
            .to_zoned_datetime(zone.clone())
            .strftime(format)
            .to_string(),
        Err(_) => String::new(),
    }
}

const DAY: u64 = 86_400;

/// "2026-11-29": when that day begins, in UTC as days of roll-ups are; seconds.
pub fn day(date: &str) -> Option<u64> {
    let date: Date = date.parse().ok()?;
    let begin = date.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(begin.as_second()).ok()
}

/// A square a day, 90 of them; and the same in words. `link`: what leads to a day, when its date is put behind it.
pub fn uptime(days: &[Point], end: u64, zone: &TimeZone, link: Option<&str>) -> (String, String) {
    const DAYS: usize = 90;
    const SIDE: usize = 8;
    let last = end / DAY;
    let day = |ago: usize| {
        let start = last.saturating_sub((DAYS - 1 - ago) as u64) * DAY;
        let of_day = days
            .iter()
            .filter(|p| p.start >= start && p.start < start + DAY);
        let (runs, bad, unjudged) = of_day.fold((0, 0, 0), |(r, b, u), p| {
            (r + p.runs, b + p.bad, u + p.unjudged)
        });
        (start, runs.saturating_sub(unjudged), bad)
    };
    let (mut known, mut failed, mut squares) = (0, 0, String::new());
    for n in 0..DAYS {
        let (start, runs, bad) = day(n);
        known += runs;
        failed += bad;
        let good = (runs > 0).then(|| 1.0 - bad as f64 / runs as f64);
        let class = match good {
            None => "n",
            Some(1.0) => "o",
            Some(good) if good >= 0.99 => "w",
            Some(_) => "c",
        };
        let date = told(start + DAY / 2, Span::Month, zone);
        let said = match good {
            None => "nothing known".to_owned(),
            Some(good) => format!("{:.2} % of {runs} runs ok", good * 100.0),
        };
        let square = format!(
            "<rect class={class} x={} y=0 width={} height=24 rx=1><title>{date}: {said}</title></rect>",
            n * SIDE,
            SIDE - 2
        );
        // A day of which nothing is known leads nowhere.
        let _ = match link.filter(|_| good.is_some()) {
            None => squares.write_str(&square),
            Some(link) => {
                let day = iso(start);
                let label = format!("{date}: {said}");
                write!(
                    squares,
                    "<a href=\"{link}{day}\" aria-label=\"{label}\">{square}</a>"
                )
            }
        };
    }
    if known == 0 {
        return (String::new(), String::new());
    }
    let words = format!(
        "{:.2} % of {known} runs in 90 days were ok",
        (1.0 - failed as f64 / known as f64) * 100.0
    );
    // What is in an image nobody reaches.
    let role = if link.is_some() { "group" } else { "img" };
    let svg = format!(
        "<svg class=days viewBox=\"0 0 {} 24\" role={role} aria-label=\"{words}\">{squares}</svg>",
        DAYS * SIDE
    );
    (svg, words)
}

/// The date of that moment in UTC.
fn iso(seconds: u64) -> String {
    let time = Timestamp::from_second(seconds.cast_signed());
    time.map_or_else(|_| String::new(), |t| t.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(start: u64, ms: f64) -> Point {
        Point {
            start,
            seconds: 300,
            runs: 30,
            bad: 1,
            unjudged: 0,
            p50: Some(ms),
            p95: Some(ms * 2.0),
            max: Some(ms * 3.0),
        }
    }

    #[test]
    fn a_gap_in_time_is_a_gap_in_the_line() {
        let end = 200_000_000;
        let mut points: Vec<Point> = (0..10)
            .map(|n| point(end - 6_000 + n * 300, 10.0))
            .collect();
        points.remove(4);
        points.remove(4);
        let svg = latency(&points, Span::Day, end, &TimeZone::UTC);
        let line = svg.split("class=line d=").nth(1).expect("a line");
        assert_eq!(
            line.split('>').next().map(|l| l.matches('M').count()),
            Some(2)
        );
        assert!(
            svg.contains("at most 30 ms") && svg.contains(">50 ms<"),
            "{svg}"
        );
        assert!(latency(&[], Span::Day, end, &TimeZone::UTC).is_empty());
    }

    #[test]
    fn a_day_without_a_run_is_not_a_good_one() {
        let end = 90 * 86_400 + 100;
        let mut good = point(end - 86_400, 1.0);
        good.bad = 0;
        let (svg, words) = uptime(&[point(end - 50, 1.0), good], end, &TimeZone::UTC, None);
        assert_eq!(svg.matches("class=n").count(), 88);
        assert_eq!(
            (
                svg.matches("class=o").count(),
                svg.matches("class=c").count()
            ),
            (1, 1)
        );
        assert!(words.starts_with("98.33 % of 60 runs"), "{words}");
        assert!(svg.contains("role=img") && !svg.contains("<a "), "{svg}");
        assert_eq!(round_up(12.0), 20.0);
        assert_eq!(round_up(0.3), 0.5);
    }

    #[test]
    fn a_square_leads_to_its_day() {
        let begin = day("2026-11-29").expect("a day");
        assert_eq!((begin % DAY, iso(begin).as_str()), (0, "2026-11-29"));
        assert!([day("2026-13-01"), day("x"), day("1969-12-31")] == [None; 3]);
        let points = [point(begin + 600, 1.0)];
        let (svg, _) = uptime(
            &points,
            begin + 2 * DAY,
            &TimeZone::UTC,
            Some("/check/a?day="),
        );
        assert_eq!(svg.matches("<a ").count(), 1);
        let link =
            "<a href=\"/check/a?day=2026-11-29\" aria-label=\"Nov 29: 96.67 % of 30 runs ok\">";
        assert!(svg.contains(link) && svg.contains("role=group"), "{svg}");
    }
}
