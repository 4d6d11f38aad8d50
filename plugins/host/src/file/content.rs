//! What is in a file: its checksum, and texts that must or must not be there.

use super::Options;
use super::find::{Entry, Kind};
use crate::report::Report;
use healthd_plugin::options::{Size, size_text};
use healthd_plugin::{Cx, Status};
use nix::fcntl::OFlag;
use regex_lite::Regex;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub struct Content {
    sha256: Option<String>,
    contains: Option<Regex>,
    contains_not: Option<Regex>,
    max_read: Size,
}

impl Content {
    pub fn new(o: &Options) -> Result<Content, String> {
        let regex = |name: &str, text: &Option<String>| {
            let compiled = text.as_deref().map(Regex::new).transpose();
            compiled.map_err(|e| format!("{name}: {e}"))
        };
        Ok(Content {
            sha256: o.sha256.as_deref().map(str::to_lowercase),
            contains: regex("contains", &o.contains)?,
            contains_not: regex("contains_not", &o.contains_not)?,
            max_read: o.max_read,
        })
    }

    pub fn judge(&self, cx: Cx<'_>, entry: &Entry, report: &mut Report<'_>) {
        if self.sha256.is_none() && self.contains.is_none() && self.contains_not.is_none() {
            return;
        }
        let path = entry.path.display();
        if entry.kind != Kind::File {
            report.add(
                Status::Unknown,
                format!("{path} is a {}: it is not read", entry.kind.name()),
            );
            return;
        }
        cx.phase("read");
        let bytes = match self.read(cx, &entry.path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let most = size_text(self.max_read.0 as f64);
                report.add(
                    Status::Unknown,
                    format!("{path} is larger than max_read ({most}): it is not read"),
                );
                return;
            }
            Err(e) => {
                let (_, text) = healthd_plugin::failure(&path.to_string(), &e);
                report.add(Status::Unknown, text);
                return;
            }
        };
        if let Some(wanted) = &self.sha256 {
            let sum: String = Sha256::digest(&bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            if sum != *wanted {
                report.add(Status::Critical, format!("{path} has the SHA-256 {sum}"));
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some(wanted) = self.contains.as_ref().filter(|r| !r.is_match(&text)) {
            report.add(
                Status::Critical,
                format!("{path} does not contain {wanted}"),
            );
        }
        if let Some(unwanted) = self.contains_not.as_ref().filter(|r| r.is_match(&text)) {
            report.add(Status::Critical, format!("{path} contains {unwanted}"));
        }
    }

    /// None: it is too large.
    fn read(&self, cx: Cx<'_>, path: &Path) -> io::Result<Option<Vec<u8>>> {
        // It may have become a FIFO since it was looked at, which would wait for a writer.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("is no regular file any more"));
        }
        if about.len() > self.max_read.0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut rest = file.take(self.max_read.0 + 1);
        while rest.by_ref().take(1 << 20).read_to_end(&mut bytes)? > 0 {
            if cx.is_cancelled() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no time to read it all",
                ));
            }
        }
        // Files of /proc have no size before they are read.
        Ok((bytes.len() as u64 <= self.max_read.0).then_some(bytes))
    }
}
