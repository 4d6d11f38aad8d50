//! What a history supports, for people. Pure.

use super::Look;
use super::table::{Cell, Column, Table};
use super::text::escape;
use healthd_recorder::calibrate::Calibration;
use healthd_units::duration::{self, about_seconds};
use std::time::Duration;

pub fn page(name: &str, c: &Calibration, look: &Look) -> String {
    let over = match c.problems {
        0 => "no problem is over".to_owned(),
        1 => format!("1 problem is over, {} less than 5 min long", c.short),
        n => format!("{n} problems are over, {} less than 5 min long", c.short),
    };
    let mut out = format!(
        "{}\nattempts = {}; {over}\n\n",
        escape(name),
        c.now.attempts
    );
    let mut table = Table::new(vec![
        Column::right("ATTEMPTS"),
        Column::right("QUIET"),
        Column::right("MISSED"),
        Column::right("LATER"),
    ]);
    for a in &c.attempts {
        table.row(vec![
            Cell::new(a.attempts.to_string()),
            Cell::new(format!("{} of {}", a.cut_short, c.short)),
            Cell::new(format!("{} of {}", a.cut_long, c.problems - c.short)),
            Cell::new(about_seconds(a.later_s as u64)),
        ]);
    }
    out += &table.render(look);
    out += "\nwhat it supports\n";
    out += &match c.advised_attempts {
        Some(n) if n == c.now.attempts => format!("  attempts = {n}: as it is\n"),
        Some(n) => format!("  attempts = {n}\n"),
        None if c.short < 3 => {
            "  attempts: too few short problems to say anything; as it is\n".to_owned()
        }
        None => {
            "  attempts: no number of them is enough; a longer retry_interval may be\n".to_owned()
        }
    };
    match c.times {
        None => out += "  timeout, latency: no hour without a bad run was recorded\n",
        Some(t) => {
            let show = |s: f64| duration::show(Duration::from_secs_f64(s));
            out += &format!(
                "  timeout = \"{}\" (now {}; 99 of 100 runs took up to {} in the slowest hour)\n",
                show(t.advised_timeout_s),
                show(c.now.timeout_s),
                duration::about_ms(t.slowest_p99_s * 1e3)
            );
            out += &format!(
                "  latency_warn = \"{}\", latency_crit = \"{}\"\n",
                show(t.advised_latency_warn_s),
                show(t.advised_latency_crit_s)
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;
    use healthd_recorder::calibrate::{Hour, Now, calibrate};

    #[test]
    fn lines_that_can_be_pasted() {
        let now = Now {
            attempts: 2,
            retry_interval_s: 10.0,
            timeout_s: 5.0,
        };
        let hour = Hour {
            bad: 0,
            p95: 120.0,
            p99: 800.0,
        };
        let c = calibrate(now, &[3.0, 9.0, 12.0, 1_000.0], &[hour]);
        let page = page("web", &c, &look(Some(80)));
        for part in [
            "attempts = 4",
            "timeout = \"2s\"",
            "latency_warn = \"200ms\"",
            "0 of 1",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
