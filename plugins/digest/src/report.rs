//! What was found, in counts and a few names, and what that means.

use crate::Extra;
use crate::manifest::Manifest;
use crate::work::Outcome;
use healthd_plugin::{Cx, Metric, Status};
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// Names in the message, and in the detail of each kind.
const IN_MESSAGE: usize = 3;
const IN_DETAIL: usize = 100;

pub struct Report<'m> {
    manifest: &'m Manifest,
    extra_means: Extra,
    matched: u64,
    bytes: u64,
    changed: Found,
    missing: Found,
    extra: Found,
    /// By a lack of ours: nothing is known of these.
    unreadable: Found,
    /// Of this machine's resources.
    lacking: Option<io::Error>,
}

#[derive(Default)]
struct Found {
    count: u64,
    /// (place, text): the first ones by place, whatever the order they came in.
    names: Vec<(usize, String)>,
}

impl Found {
    fn add(&mut self, place: usize, text: String) {
        self.count += 1;
        self.names.push((place, text));
        // Now and then only: a million of them must not be held.
        if self.names.len() > 4 * IN_DETAIL {
            self.keep_first();
        }
    }

    fn keep_first(&mut self) {
        self.names.sort();
        self.names.truncate(IN_DETAIL);
    }

    fn tell(&self, text: &mut String, what: &str) {
        if self.count == 0 {
            return;
        }
        let names: Vec<&str> = self
            .names
            .iter()
            .take(IN_MESSAGE)
            .map(|n| n.1.as_str())
            .collect();
        let more = if self.count > names.len() as u64 {
            ", ..."
        } else {
            ""
        };
        let _ = write!(text, "{} {what} ({}{more}), ", self.count, names.join(", "));
    }

    fn list(&self, text: &mut String, what: &str) {
        if self.count == 0 {
            return;
        }
        let _ = writeln!(text, "{what}: {}", self.count);
        for (_, name) in &self.names {
            let _ = writeln!(text, "  {name}");
        }
        let rest = self.count - self.names.len() as u64;
        if rest > 0 {
            let _ = writeln!(text, "  and {rest} more");
        }
    }
}

impl<'m> Report<'m> {
    pub fn new(manifest: &'m Manifest, extra_means: Extra) -> Report<'m> {
        Report {
            manifest,
            extra_means,
            matched: 0,
            bytes: 0,
            changed: Found::default(),
            missing: Found::default(),
            extra: Found::default(),
            unreadable: Found::default(),
            lacking: None,
        }
    }

    /// `place`: which entry of the manifest.
    pub fn file(&mut self, place: usize, outcome: Outcome) {
        let entry = &self.manifest.entries[place];
        let name = shown(&entry.name);
        match outcome {
            Outcome::Hash(hash, size) => {
                self.bytes += size;
                if hash == entry.hash {
                    self.matched += 1;
                } else {
                    self.changed.add(place, name);
                }
            }
            Outcome::NotRegular => self.changed.add(place, format!("{name}: no regular file")),
            Outcome::Changing => self
                .unreadable
                .add(place, format!("{name}: changed while it was read")),
            Outcome::Failed(libc::ENOENT | libc::ENOTDIR) => self.missing.add(place, name),
            Outcome::Failed(libc::ELOOP) => {
                self.changed.add(place, format!("{name}: a symbolic link"));
            }
            Outcome::Failed(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                let text = format!("{name}: {error}");
                match errno {
                    // A lack of the daemon's rights says nothing about the file.
                    libc::EACCES | libc::EPERM => self.unreadable.add(place, text),
                    libc::EMFILE | libc::ENFILE | libc::ENOMEM => {
                        self.unreadable.add(place, text);
                        self.lacking = Some(error);
                    }
                    // The medium cannot give it back.
                    _ => self.changed.add(place, text),
                }
            }
        }
    }

    pub fn sort(&mut self) {
        for found in [&mut self.changed, &mut self.missing, &mut self.unreadable] {
            found.keep_first();
        }
    }

    pub fn extra(&mut self, mut paths: Vec<PathBuf>) {
        paths.sort();
        for (place, path) in paths.iter().enumerate() {
            self.extra.add(place, shown(path));
        }
        self.extra.keep_first();
    }

    pub fn folder(&mut self, folder: &Path, error: &io::Error) {
        let place = self.manifest.entries.len();
        self.unreadable
            .add(place, format!("{}/: {error}", shown(folder)));
    }

    pub fn judge(&self, cx: Cx<'_>) -> Status {
        let files = self.matched + self.changed.count + self.missing.count + self.unreadable.count;
        for (name, value) in [
            ("files", files),
            ("matched", self.matched),
            ("changed", self.changed.count),
            ("missing", self.missing.count),
            ("unreadable", self.unreadable.count),
        ] {
            cx.metric(Metric::new(name, value as f64).min(0.0));
        }
        if self.extra_means != Extra::Ignore {
            cx.metric(Metric::new("extra", self.extra.count as f64).min(0.0));
        }
        cx.metric(Metric::new("bytes", self.bytes as f64).unit("By").min(0.0));
        let mut text = String::new();
        self.changed.tell(&mut text, "changed");
        self.missing.tell(&mut text, "missing");
        self.extra.tell(&mut text, "extra");
        self.unreadable.tell(&mut text, "could not be read");
        let manifest = self.manifest;
        if manifest.bad > 0 {
            let _ = write!(
                text,
                "{} lines of the manifest are not sha256sum's (the first is {}), ",
                manifest.bad, manifest.first_bad
            );
        }
        let _ = write!(
            text,
            "{} of {files} files match, {}",
            self.matched,
            size(self.bytes)
        );
        cx.message(text);
        let mut detail = String::new();
        self.changed.list(&mut detail, "changed");
        self.missing.list(&mut detail, "missing");
        self.extra.list(&mut detail, "extra");
        self.unreadable.list(&mut detail, "could not be read");
        if !detail.is_empty() {
            cx.detail(detail);
        }
        let mut status = Status::Ok;
        if self.changed.count + self.missing.count > 0 {
            status = Status::Critical;
        }
        if self.extra.count > 0 {
            status = status.worst(match self.extra_means {
                Extra::Crit => Status::Critical,
                Extra::Warn => Status::Warn,
                Extra::Ignore => Status::Ok,
            });
        }
        if self.unreadable.count > 0 || manifest.bad > 0 {
            status = status.worst(Status::Unknown);
        }
        // Only if nothing else is wrong: what was found stays found.
        if self.lacking.is_some() && status == Status::Unknown {
            return Status::Resources;
        }
        status
    }
}

/// A name on one line, whatever is in it.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.chars().any(char::is_control) {
        text.escape_debug().to_string()
    } else {
        text.into_owned()
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
