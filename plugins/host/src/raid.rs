//! `raid`: are the arrays of Linux (md) whole?

use crate::glob;
use crate::kernel::Kernel;
use crate::report::Report;
use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options};

options! {
    /// Linux software RAID: degraded arrays, failed disks, rebuilds, mismatches.
    pub struct Options {
        /// Arrays, or patterns of arrays: `md0`. Without any: all.
        arrays: Vec<String> = Vec::new(),
        /// Warning while an array is rebuilt.
        rebuild: bool = true,
        /// Warning if the last check found more blocks that differ.
        mismatches_warn: Option<u64>,
    }
}

pub struct Raid {
    options: Options,
    kernel: Kernel,
}

/// What is to be said, and the numbers of one array.
#[derive(Debug, PartialEq)]
struct Seen {
    found: Vec<(Status, String)>,
    degraded: u64,
    /// In percent.
    sync: Option<f64>,
}

impl BlockingCheck for Raid {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Raid {
            options,
            kernel: Kernel::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let mut report = Report::new(cx);
        let names = match self.kernel.names("sys/block") {
            Ok(names) => names,
            Err(e) => return cx.unknown(format_args!("/sys/block: {e}")),
        };
        let arrays = self.arrays(&names);
        for wanted in &self.options.arrays {
            if !arrays.iter().any(|a| glob::matches(wanted, a)) {
                report.add(Status::Critical, format!("there is no array {wanted}"));
            }
        }
        if arrays.is_empty() && self.options.arrays.is_empty() {
            report.add(Status::Unknown, "this machine has no md array");
        }
        for name in &arrays {
            let seen = self.look(name);
            for (status, text) in seen.found {
                report.add(status, text);
            }
            let suffix = if arrays.len() == 1 {
                String::new()
            } else {
                format!(":{name}")
            };
            let degraded = format!("degraded{suffix}");
            cx.metric(Metric::new(&degraded, seen.degraded as f64).min(0.0));
            if let Some(percent) = seen.sync {
                let sync = format!("sync{suffix}");
                cx.metric(Metric::new(&sync, percent).unit("%").min(0.0).max(100.0));
            }
        }
        report.end()
    }
}

impl Raid {
    fn arrays(&self, names: &[String]) -> Vec<String> {
        let wanted = &self.options.arrays;
        let is_wanted = |n: &str| wanted.is_empty() || wanted.iter().any(|p| glob::matches(p, n));
        let is_array = |n: &str| self.kernel.path(format!("sys/block/{n}/md/level")).exists();
        let arrays = names.iter().filter(|n| is_array(n) && is_wanted(n));
        arrays.cloned().collect()
    }

    fn look(&self, name: &str) -> Seen {
        let line = |file: &str| self.kernel.line(format!("sys/block/{name}/md/{file}")).ok();
        let number = |file: &str| self.kernel.number(format!("sys/block/{name}/md/{file}"));
        let level = line("level").unwrap_or_default();
        let mut found = Vec::new();
        let degraded = number("degraded").unwrap_or(0);
        let disks = number("raid_disks").unwrap_or(0);
        match line("array_state").as_deref() {
            Some("clear" | "inactive" | "suspended" | "broken") | None => {
                let state = line("array_state").unwrap_or_else(|| "in no state".into());
                found.push((Status::Critical, format!("{name} is {state}")));
            }
            Some(_) => {}
        }
        if degraded > 0 {
            found.push((
                Status::Critical,
                format!("{name} lacks {degraded} of {disks} disks"),
            ));
        }
        let parts = self
            .kernel
            .names(format!("sys/block/{name}/md"))
            .unwrap_or_default();
        for part in parts.iter().filter_map(|p| p.strip_prefix("dev-")) {
            let state = line(&format!("dev-{part}/state")).unwrap_or_default();
            if state.split(',').any(|s| s == "faulty") {
                found.push((Status::Critical, format!("{part} of {name} is faulty")));
            }
            if state.split(',').any(|s| s == "blocked") {
                found.push((Status::Warn, format!("{part} of {name} is blocked")));
            }
        }
        let action = line("sync_action").unwrap_or_else(|| "idle".into());
        let sync = line("sync_completed").and_then(|t| percent(&t));
        let progress = sync.map_or(String::new(), |p| format!(" ({p:.1} %)"));
        match action.as_str() {
            "recover" | "reshape" => {
                let status = if self.options.rebuild {
                    Status::Warn
                } else {
                    Status::Ok
                };
                let what = if action == "recover" {
                    "is rebuilt"
                } else {
                    "is reshaped"
                };
                found.push((status, format!("{name} {what}{progress}")));
            }
            "resync" | "check" | "repair" => {
                found.push((Status::Ok, format!("{name}: {action}{progress}")));
            }
            _ => {}
        }
        let mismatches = number("mismatch_cnt").unwrap_or(0);
        if self
            .options
            .mismatches_warn
            .is_some_and(|limit| mismatches > limit)
        {
            found.push((
                Status::Warn,
                format!("{mismatches} blocks of {name} differ"),
            ));
        }
        if found.is_empty() {
            found.push((
                Status::Ok,
                format!("{name} ({level}) has all {disks} disks"),
            ));
        }
        Seen {
            found,
            degraded,
            sync,
        }
    }
}

/// `123 / 456`; None: nothing goes on.
fn percent(text: &str) -> Option<f64> {
    let (done, all) = text.split_once('/')?;
    let (done, all) = (
        done.trim().parse::<f64>().ok()?,
        all.trim().parse::<f64>().ok()?,
    );
    (all > 0.0).then(|| (done / all * 100.0).clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{check, sample};
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;
    use std::path::Path;

    fn raid(files: &[(&str, &str)], options: &str) -> (healthd_testing::Folder, Raid) {
        let files: Vec<(String, &str)> = files
            .iter()
            .map(|(f, t)| (format!("sys/block/md0/md/{f}"), *t))
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (f.as_str(), *t)).collect();
        let (folder, kernel) = sample(&files);
        let options = Options::parse(options.as_bytes()).unwrap();
        (folder, Raid { options, kernel })
    }

    const GOOD: [(&str, &str); 7] = [
        ("level", "raid1\n"),
        ("array_state", "clean\n"),
        ("raid_disks", "2\n"),
        ("degraded", "0\n"),
        ("sync_action", "idle\n"),
        ("sync_completed", "none\n"),
        ("dev-sda1/state", "in_sync\n"),
    ];

    #[test]
    fn states_of_an_array() {
        let look = |changes: &[(&str, &str)], options: &str| {
            let files: Vec<(&str, &str)> =
                GOOD.into_iter().chain(changes.iter().copied()).collect();
            let (_folder, raid) = raid(&files, options);
            assert_eq!(raid.arrays(&["md0".into(), "sda".into()]), ["md0"]);
            raid.look("md0").found
        };
        let one = |status, text: &str| vec![(status, text.to_owned())];
        assert_eq!(
            look(&[], "{}"),
            one(Status::Ok, "md0 (raid1) has all 2 disks")
        );
        assert_eq!(
            look(
                &[("degraded", "1"), ("dev-sdb1/state", "faulty,write_error")],
                "{}"
            ),
            [
                (Status::Critical, "md0 lacks 1 of 2 disks".to_owned()),
                (Status::Critical, "sdb1 of md0 is faulty".to_owned())
            ]
        );
        let rebuild = [("sync_action", "recover"), ("sync_completed", "25 / 100")];
        assert_eq!(
            look(&rebuild, "{}"),
            one(Status::Warn, "md0 is rebuilt (25.0 %)")
        );
        assert_eq!(
            look(&rebuild, r#"{"rebuild":false}"#),
            one(Status::Ok, "md0 is rebuilt (25.0 %)")
        );
        assert_eq!(
            look(&[("sync_action", "check"), ("sync_completed", "x")], "{}"),
            one(Status::Ok, "md0: check")
        );
        assert_eq!(
            look(&[("array_state", "inactive")], "{}"),
            one(Status::Critical, "md0 is inactive")
        );
        assert_eq!(
            look(&[("array_state", "broken")], "{}"),
            one(Status::Critical, "md0 is broken")
        );
        assert_eq!(
            look(&[("mismatch_cnt", "128")], r#"{"mismatches_warn":0}"#),
            one(Status::Warn, "128 blocks of md0 differ")
        );
        assert_eq!(look(&[("mismatch_cnt", "128")], "{}").len(), 1);
        assert_eq!(percent("1 / 0"), None);
        // It was taken apart between two looks.
        let (_folder, raid) = raid(&[("level", "raid1")], "{}");
        assert_eq!(
            raid.look("md0").found[0],
            (Status::Critical, "md0 is in no state".to_owned())
        );
    }

    #[test]
    fn on_this_machine() {
        let o = check("raid", json!({"arrays": ["md_nowhere"]}));
        assert_eq!(
            (o.status, o.message.as_str()),
            (Status::Critical, "there is no array md_nowhere")
        );
        if !Path::new("/sys/block/md0").exists() {
            let o = check("raid", json!({}));
            assert_eq!(
                (o.status, o.message.as_str()),
                (Status::Unknown, "this machine has no md array")
            );
        }
    }
}
