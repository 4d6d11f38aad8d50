//! `mount`: is a file system mounted where it should be, as it should be, and does it answer?
//!
//! What is mounted says the kernel, without asking any file system; whether one answers is asked on a thread of its own.

use crate::glob;
use crate::mountinfo::{self, Mount};
use crate::report::{Report, time_text};
use crate::stuck::{Answer, Question, ask};
use healthd_plugin::options::ReadPath;
use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options};
use std::path::Path;

options! {
    /// Mount points: whether something is mounted there, of which type and with which options, and whether it answers.
    pub struct Options {
        /// Where something must be mounted.
        paths: Vec<ReadPath> { min_items: 1, max_items: 64 },
        /// One of these types, as patterns: `nfs*`.
        types: Vec<String> = Vec::new(),
        /// What is mounted, as a pattern: `server:/export*`.
        source: Option<String> { min_length: 1 },
        /// Options that it must have: `noexec`, `ro`.
        options: Vec<String> = Vec::new(),
        /// Options that it must not have.
        options_not: Vec<String> = Vec::new(),
        /// Ask the file system something, and wait for its answer.
        alive: bool = true,
    }
}

pub struct Mounts(Options);

impl BlockingCheck for Mounts {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Mounts(o))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let o = &self.0;
        let text = match std::fs::read("/proc/self/mountinfo") {
            Ok(text) => text,
            Err(e) => return cx.unknown(format_args!("/proc/self/mountinfo: {e}")),
        };
        let mounts = mountinfo::parse(&text);
        let mut report = Report::new(cx);
        let patience = cx.remaining() / 2 / o.paths.len().max(1) as u32;
        let mut mounted = 0;
        for path in &o.paths {
            let shown = path.display().to_string().replace('\n', "?");
            let found = judge(&mounts, path, o);
            let is_fine = found.iter().all(|f| f.0 == Status::Ok);
            for (status, text) in found {
                report.add(status, format!("{shown}{text}"));
            }
            mounted += u32::from(is_fine);
            if !is_fine || !o.alive {
                continue;
            }
            match ask(path, patience, &STAT) {
                Ok(Answer::Got(None)) => {}
                Ok(Answer::Got(Some(why))) => {
                    report.add(Status::Critical, format!("{shown}: {why}"))
                }
                Ok(Answer::Silent(since)) => {
                    let since = time_text(since.as_secs_f64().round().max(1.0));
                    let text =
                        format!("{shown} does not answer for {since} (one thread waits for it)");
                    report.add(Status::Critical, text);
                }
                Err(e) => {
                    cx.message(format_args!("no thread to ask the file system with: {e}"));
                    return Status::Resources;
                }
            }
        }
        cx.metric(Metric::new("mounted", mounted.into()).min(0.0));
        report.end()
    }
}

/// Asks it for its size; what it says of that is its own fault: a stale handle, an I/O error.
const STAT: Question<Option<String>> = Question {
    name: "statvfs",
    ask: |path| {
        let error = nix::sys::statvfs::statvfs(path).err()?;
        // That we may not look at it says nothing about it.
        (error != nix::errno::Errno::EACCES).then(|| error.desc().to_lowercase())
    },
};

/// What is to be said of a path, each to stand behind its name.
fn judge(mounts: &[Mount], path: &Path, o: &Options) -> Vec<(Status, String)> {
    let at = mounts.iter().rfind(|m| m.point == path);
    let Some(mount) = at else {
        // Below a stand-in nobody sees what is really there.
        let hidden = mountinfo::covering(mounts, path).and_then(Mount::stand_in);
        return vec![match hidden {
            Some(by) => (
                Status::Unknown,
                format!(": {by} of the unit hides it from healthd"),
            ),
            None => (Status::Critical, ": nothing is mounted there".into()),
        }];
    };
    if let Some(by) = mount.stand_in() {
        return vec![(
            Status::Unknown,
            format!(": {by} of the unit hides it from healthd"),
        )];
    }
    let mut found = Vec::new();
    let kind = &mount.kind;
    if !o.types.is_empty() && !o.types.iter().any(|t| glob::matches(t, kind)) {
        found.push((
            Status::Critical,
            format!(" is of type {kind}, not {}", o.types.join(" or ")),
        ));
    }
    if let Some(wanted) = o
        .source
        .as_deref()
        .filter(|s| !glob::matches(s, &mount.source))
    {
        found.push((
            Status::Critical,
            format!(" is {}, not {wanted}", mount.source),
        ));
    }
    if mount.has_turned_read_only() {
        found.push((Status::Critical, " has turned read-only".into()));
    }
    // Some are of the mount, others of the file system; `rw` of the latter says little.
    let has = |wanted: &str| {
        let of = |all: &str| all.split(',').any(|o| o == wanted);
        match wanted {
            "rw" => of(&mount.options) && !mount.is_read_only(),
            "ro" => of(&mount.options) || mount.is_read_only(),
            _ => of(&mount.options) || of(&mount.super_options),
        }
    };
    for wanted in o.options.iter().filter(|w| !has(w)) {
        found.push((Status::Critical, format!(" is mounted without {wanted}")));
    }
    for unwanted in o.options_not.iter().filter(|w| has(w)) {
        found.push((Status::Critical, format!(" is mounted with {unwanted}")));
    }
    if found.is_empty() {
        found.push((Status::Ok, format!(" is {kind} of {}", mount.source)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::Fuse;
    use crate::tests::{LONG, check, create};
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;
    use healthd_testing::Folder;
    use std::time::Duration;

    const SAMPLE: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro\n\
        40 27 254:1 / /srv rw,nosuid - xfs /dev/vdb ro\n\
        42 27 0:41 / /mnt rw,noexec - nfs4 server:/export rw,vers=4.2,hard\n\
        43 27 0:42 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw\n\
        45 27 0:43 / /a\\040b ro - tmpfs tmpfs rw\n";

    #[test]
    fn what_is_mounted_how() {
        let mounts = mountinfo::parse(SAMPLE.as_bytes());
        for (path, options, status, text) in [
            ("/", "{}", Status::Ok, " is ext4 of /dev/vda1"),
            (
                "/a b",
                r#"{"options":["ro"]}"#,
                Status::Ok,
                " is tmpfs of tmpfs",
            ),
            (
                "/a b",
                r#"{"options":["rw"]}"#,
                Status::Critical,
                " is mounted without rw",
            ),
            ("/srv", "{}", Status::Critical, " has turned read-only"),
            (
                "/srv/x",
                "{}",
                Status::Critical,
                ": nothing is mounted there",
            ),
            (
                "/home",
                "{}",
                Status::Unknown,
                ": ProtectHome or InaccessiblePaths of the unit hides it from healthd",
            ),
            (
                "/home/a",
                "{}",
                Status::Unknown,
                ": ProtectHome or InaccessiblePaths of the unit hides it from healthd",
            ),
            (
                "/mnt",
                r#"{"types":["nfs*"],"source":"server:*","options":["noexec","hard"],"options_not":["ro"]}"#,
                Status::Ok,
                " is nfs4 of server:/export",
            ),
            (
                "/mnt",
                r#"{"types":["ext4","xfs"]}"#,
                Status::Critical,
                " is of type nfs4, not ext4 or xfs",
            ),
            (
                "/mnt",
                r#"{"source":"other:*"}"#,
                Status::Critical,
                " is server:/export, not other:*",
            ),
            (
                "/mnt",
                r#"{"options":["nodev"]}"#,
                Status::Critical,
                " is mounted without nodev",
            ),
            (
                "/mnt",
                r#"{"options_not":["noexec"]}"#,
                Status::Critical,
                " is mounted with noexec",
            ),
        ] {
            let mut all =
                healthd_plugin::serde_json::from_str::<healthd_plugin::serde_json::Value>(options)
                    .unwrap();
            all["paths"] = json!([path]);
            let o = Options::parse(all.to_string().as_bytes()).unwrap();
            assert_eq!(
                judge(&mounts, Path::new(path), &o),
                [(status, text.to_owned())],
                "{path} {options}"
            );
        }
    }

    #[test]
    fn on_this_machine() {
        let o = check("mount", json!({"paths": ["/proc"], "types": ["proc"]}));
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        assert!(o.message.starts_with("/proc is proc of "), "{}", o.message);
        assert_eq!(o.metric("mounted").value, 1.0);
        let o = check("mount", json!({"paths": ["/proc", "/nowhere"]}));
        assert_eq!(o.status, Status::Critical);
        assert!(
            o.message
                .starts_with("/nowhere: nothing is mounted there; /proc is "),
            "{}",
            o.message
        );
    }

    #[test]
    fn a_file_system_that_does_not_answer() {
        let folder = Folder::new();
        let Some(fuse) = Fuse::mount(&folder, "mnt") else {
            eprintln!("skipped: bindfs is not installed, or there is no /dev/fuse");
            return;
        };
        let options = json!({"paths": [fuse.point], "types": ["fuse*"]});
        let check = create("mount", &options).unwrap();
        let o = check.run(LONG);
        assert_eq!(o.status, Status::Ok, "{}", o.message);
        fuse.signal("-STOP");
        // Half of the time is spent on waiting for it; what it is mounted as is known without it.
        let o = check.run(Duration::from_secs(2));
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        assert!(o.message.contains(" does not answer for "), "{}", o.message);
        fuse.signal("-CONT");
        healthd_testing::until(|| check.run(LONG).status == Status::Ok, String::new);
    }
}
