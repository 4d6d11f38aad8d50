//! `clock`: does somebody keep this machine's time of day right, as the kernel knows it?
//!
//! Asks nobody but the kernel; `ntp` compares with a server.

use crate::report::{Grade, Report};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{BlockingCheck, Clock, Cx, Metric, Status, options};
use std::time::Duration;

options! {
    /// Whether this machine's clock is synchronised, and how far off it may be.
    pub struct Options {
        /// What a clock is that nobody keeps right (chrony, ntpd, systemd-timesyncd).
        unsynchronised: Grade = Grade::Crit,
        /// Warning if more than this is still to be corrected.
        offset_warn: Duration { bad: Above } = Duration::from_millis(50),
        /// Critical, likewise.
        offset_crit: Duration = Duration::from_millis(500),
        /// Warning if it may be off by more at the worst.
        error_warn: Option<Duration> { bad: Above },
        /// Critical, likewise.
        error_crit: Option<Duration>,
    }
}

pub struct SystemClock(Options);

impl BlockingCheck for SystemClock {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(SystemClock(options))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match Clock::ask() {
            Ok(clock) => self.judge(cx, clock),
            Err(e) => cx.unknown(format_args!(
                "the kernel does not tell: {e} (SystemCallFilter=@clock in the unit lets it)"
            )),
        }
    }
}

impl SystemClock {
    fn judge(&self, cx: Cx<'_>, clock: Clock) -> Status {
        let (offset, error) = self.limits();
        let metric = |name, value| Metric::new(name, value).unit("s");
        cx.metric(offset.on(metric("offset", clock.offset)));
        cx.metric(metric("estimated_error", clock.estimated_error).min(0.0));
        cx.metric(error.on(metric("maximum_error", clock.maximum_error).min(0.0)));
        let mut report = Report::new(cx);
        for (status, text) in self.findings(clock) {
            report.add(status, text);
        }
        report.end()
    }

    fn limits(&self) -> (Upper, Upper) {
        let o = &self.0;
        (
            Upper::of_durations(Some(o.offset_warn), Some(o.offset_crit)),
            Upper::of_durations(o.error_warn, o.error_crit),
        )
    }

    fn findings(&self, clock: Clock) -> Vec<(Status, String)> {
        let (offset, error) = self.limits();
        let off = clock.offset.abs();
        let mut found = vec![(offset.judge(off), format!("it is off by {}", text(off)))];
        if clock.is_synchronised {
            let worst = clock.maximum_error;
            found.push((
                error.judge(worst),
                format!("it may be off by {}", text(worst)),
            ));
        } else {
            // The kernel's error is then a number that grows for ever.
            found.push((
                self.0.unsynchronised.status(),
                "the clock is not synchronised: nobody keeps it right".into(),
            ));
        }
        found
    }
}

/// "2.5 ms"
fn text(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{LONG, check, create};
    use healthd_plugin::serde_json::json;

    #[test]
    fn what_the_kernel_says_of_this_machine() {
        let o = check("clock", json!({"offset_warn": "1h", "offset_crit": "1h"}));
        match Clock::ask() {
            Ok(clock) => {
                let wanted = match clock.is_synchronised {
                    true => Status::Ok,
                    false => Status::Critical,
                };
                assert_eq!(o.status, wanted, "{o:?}");
                assert!(o.metric("maximum_error").value >= 0.0);
            }
            Err(_) => assert_eq!(o.status, Status::Unknown, "{o:?}"),
        }
        let ok = create(
            "clock",
            &json!({"unsynchronised": "ok", "offset_warn": "1h", "offset_crit": "1h"}),
        );
        assert!(ok.expect("good options").run(LONG).status != Status::Critical);
    }

    #[test]
    fn limits() {
        use healthd_plugin::Options as _;
        let good = Clock {
            is_synchronised: true,
            offset: -0.001,
            maximum_error: 0.02,
            estimated_error: 0.0,
        };
        for (clock, options, status, said) in [
            (good, "{}", Status::Ok, "it may be off by 20.0 ms"),
            (
                Clock {
                    offset: -0.06,
                    ..good
                },
                "{}",
                Status::Warn,
                "it is off by 60.0 ms",
            ),
            (
                Clock {
                    offset: 2.0,
                    ..good
                },
                "{}",
                Status::Critical,
                "it is off by 2.0 s",
            ),
            (
                good,
                r#"{"error_crit": "10ms"}"#,
                Status::Critical,
                "it may be off by 20.0 ms",
            ),
            (
                Clock {
                    is_synchronised: false,
                    maximum_error: 16.0,
                    ..good
                },
                r#"{"error_crit": "10ms", "unsynchronised": "warn"}"#,
                Status::Warn,
                "the clock is not synchronised: nobody keeps it right",
            ),
        ] {
            let kind = SystemClock(Options::parse(options.as_bytes()).expect("good options"));
            let found = kind.findings(clock);
            assert!(found.contains(&(status, said.to_owned())), "{found:?}");
            assert_eq!(found.iter().fold(Status::Ok, |s, f| s.worst(f.0)), status);
        }
    }
}
