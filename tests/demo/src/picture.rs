//! The picture of the README: the live table in each mood of the web server, as one SVG that turns the pages.
//!
//! `cargo demo --picture daemon/docs/demo.svg` makes it anew.

use crate::web::Mood;
use std::fmt::Write;
use std::time::Duration;

/// What the frames are drawn for.
pub const COLUMNS: usize = 104;
pub const LINES: usize = 22;

/// So long after a change of mood every check has had its say.
const SETTLED: Duration = Duration::from_secs(7);
const SECONDS_A_FRAME: usize = 4;

#[derive(Default)]
pub struct Picture {
    frames: Vec<(Mood, Vec<String>)>,
}

impl Picture {
    /// Whether a frame of this mood is wanted now.
    pub fn wants(&self, mood: Mood, in_it_since: Duration) -> bool {
        in_it_since >= SETTLED && !self.frames.iter().any(|(taken, _)| *taken == mood)
    }

    pub fn take(&mut self, mood: Mood, lines: Vec<String>) {
        self.frames.push((mood, lines));
    }

    pub fn is_complete(&self) -> bool {
        self.frames.len() == Mood::ALL.len()
    }

    pub fn svg(&self) -> String {
        let (wide, high) = (COLUMNS as f64 * CELL.0 + 32.0, LINES as f64 * CELL.1 + 28.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" \
             font-family=\"ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\">\n\
             <style>\n\
             text {{ fill: #d8dee4; white-space: pre; }}\n\
             .g {{ fill: #57d364; }} .y {{ fill: #e8b339; }} .r {{ fill: #ff6b62; font-weight: bold; }}\n\
             .m {{ fill: #d98cf0; }} .d {{ fill: #8b949e; }} .b {{ font-weight: bold; }}\n"
        );
        let count = self.frames.len().max(1);
        let share = 100.0 / count as f64;
        let _ = write!(
            svg,
            "@keyframes page {{ 0%, {share:.2}% {{ visibility: visible }} {:.2}%, 100% {{ visibility: hidden }} }}\n\
             .page {{ animation: page {}s step-end infinite; }}\n</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#161b22\"/>\n",
            share + 0.01,
            count * SECONDS_A_FRAME
        );
        for (n, (_, lines)) in self.frames.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<g class=\"page\" visibility=\"{}\" style=\"animation-delay: {}s\">",
                if n == 0 { "visible" } else { "hidden" },
                n * SECONDS_A_FRAME
            );
            for (row, line) in lines.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
                let y = 14.0 + CELL.1 * (row as f64 + 0.8);
                let _ = writeln!(
                    svg,
                    "<text x=\"16\" y=\"{y:.1}\" xml:space=\"preserve\">{}</text>",
                    spans(line)
                );
            }
            svg.push_str("</g>\n");
        }
        svg + "</svg>\n"
    }
}

/// Width and height of a character.
const CELL: (f64, f64) = (7.83, 17.0);

/// A line with our own colours, as SVG.
fn spans(line: &str) -> String {
    let mut out = String::new();
    for part in line.split("\x1b[") {
        let (code, text) = match part.split_once('m') {
            Some((code, text))
                if !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit() || b == b';') =>
            {
                (code, text)
            }
            _ => ("0", part),
        };
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let class = match code {
            "32" => "g",
            "33" => "y",
            "1;31" => "r",
            "35" => "m",
            "2" => "d",
            "1" => "b",
            _ => "",
        };
        match class {
            "" => out.push_str(&text),
            class => {
                let _ = write!(out, "<tspan class=\"{class}\">{text}</tspan>");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_text_stays_text() {
        assert_eq!(
            spans("machine <b> \x1b[1;31mCRITICAL\x1b[0m  50 ms"),
            "machine &lt;b&gt; <tspan class=\"r\">CRITICAL</tspan>  50 ms"
        );
    }

    #[test]
    fn one_frame_a_mood() {
        let mut picture = Picture::default();
        assert!(!picture.wants(Mood::Slow, Duration::from_secs(1)));
        for mood in Mood::ALL {
            assert!(picture.wants(mood, SETTLED));
            picture.take(mood, vec![mood.name().into()]);
            assert!(!picture.wants(mood, SETTLED));
        }
        assert!(picture.is_complete());
        assert_eq!(picture.svg().matches("<g ").count(), Mood::ALL.len());
    }
}
