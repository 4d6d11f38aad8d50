//! `digest`: files against a manifest of sha256sum: missing, changed and extra ones are told. All cores read. Options,
//! metrics and verdicts are described in README.md beside this crate.
//!
//! Runs in: the run lane of all cpu workers. A chunk is a group of files of about the same bytes; one file is never
//! split, as SHA-256 goes through it from its beginning to its end.

#![forbid(unsafe_code)]

mod manifest;
mod report;
#[cfg(test)]
mod tests;
mod tree;
mod work;

use healthd_plugin::{
    BlockingCheck, Chunk, Cx, Fanout, FanoutError, Plan, Status, memory_file, options, plugins,
};
use manifest::Manifest;
use report::Report;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tree::{Excludes, Walk};
use work::Outcome;

options! {
    /// Holds files against a manifest in sha256sum's format.
    pub struct Options {
        /// The manifest, an absolute path: what `sha256sum` printed.
        manifest: String { pattern: "^/" },
        /// The folder that the manifest's names are relative to. Without it the manifest's own folder.
        root: Option<String> { pattern: "^/" },
        /// What a file means that is below `root` and not in the manifest: ignore (nobody looks for it), warn or crit.
        extra: Extra = Extra::Ignore,
        /// Follow symbolic links. Else a link in the place of a file is a change, and links to folders are not entered.
        follow: bool = false,
        /// Files that are left out, in the manifest and below `root`: shell patterns of paths relative to `root`; `**` goes over `/`.
        exclude: Vec<String> = Vec::new(),
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Extra { Ignore = "ignore", Warn = "warn", Crit = "crit" }
}

struct DigestCheck {
    options: Options,
    root: PathBuf,
    excludes: Excludes,
}

/// A manifest of more bytes is something else.
const MAX_MANIFEST: u64 = 256 << 20;
const BLOCK: usize = 256 << 10;

impl BlockingCheck for DigestCheck {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        let manifest = Path::new(&options.manifest);
        let own = manifest.parent().unwrap_or(Path::new("/"));
        Ok(DigestCheck {
            root: options.root.as_ref().map_or(own.to_owned(), PathBuf::from),
            excludes: Excludes(options.exclude.clone()),
            options,
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        cx.phase("manifest");
        let manifest = match self.read_manifest() {
            Ok(manifest) => manifest,
            // Without it nothing can be said of the files.
            Err(e) => {
                let status = cx.fail(&self.options.manifest, &e);
                return if status == Status::Resources {
                    status
                } else {
                    Status::Unknown
                };
            }
        };
        if manifest.entries.is_empty() && manifest.bad == 0 {
            return cx.unknown(format_args!("{}: it names no file", self.options.manifest));
        }
        let mut report = Report::new(&manifest, self.options.extra);
        if let Err(e) = self.read_files(cx, &manifest, &mut report) {
            return e.status(cx);
        }
        if self.options.extra != Extra::Ignore {
            cx.phase("extra");
            if !self.look_for_extra(cx, &manifest, &mut report) {
                return Status::Cancelled;
            }
        }
        report.judge(cx)
    }
}

impl Fanout for DigestCheck {
    fn chunk(&self, cx: Cx<'_>, chunk: &mut Chunk<'_>) -> Status {
        let input = match chunk.input() {
            Ok(input) => input,
            Err(e) => return cx.fail("input", &e),
        };
        let mut out = Vec::new();
        let mut buffer = vec![0; BLOCK];
        for group in chunk.items() {
            let Some(paths) = work::paths(&input, group) else {
                return cx.unknown("half a list of files");
            };
            for path in paths {
                match self.hash(cx, path, &mut buffer) {
                    Some(outcome) => outcome.encode(&mut out),
                    None => return Status::Cancelled,
                }
            }
        }
        chunk.finish(&out)
    }
}

plugins! {
    fanout DigestCheck {
        name: "digest",
        summary: "files against a manifest of sha256sum, on all cores",
        stack_kib: 512,
    }
}

impl DigestCheck {
    fn read_manifest(&self) -> io::Result<Manifest> {
        let mut bytes = Vec::new();
        let file = File::open(&self.options.manifest)?;
        file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            let most = MAX_MANIFEST >> 20;
            return Err(io::Error::other(format!("larger than {most} MiB")));
        }
        Ok(Manifest::parse(&bytes))
    }

    fn read_files(
        &self,
        cx: Cx<'_>,
        manifest: &Manifest,
        report: &mut Report<'_>,
    ) -> Result<(), FanoutError> {
        cx.phase("look");
        // The names are relative to the root, unless they are absolute.
        let wanted: Vec<(usize, PathBuf)> = manifest
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| !self.excludes.hit(&e.name))
            .map(|(i, e)| (i, self.root.join(&e.name)))
            .collect();
        let mut sizes = Vec::with_capacity(wanted.len());
        for (nth, (_, path)) in wanted.iter().enumerate() {
            if nth % 256 == 0 && cx.is_cancelled() {
                return Err(FanoutError::Cancelled);
            }
            // Only how the work is cut depends on it.
            sizes.push(std::fs::symlink_metadata(path).map_or(0, |m| m.len()));
        }
        let groups = work::groups(&sizes, cx.workers());
        let paths: Vec<&Path> = wanted.iter().map(|(_, path)| path.as_path()).collect();
        let input = memory_file(&work::encode(&groups, &paths)).map_err(FanoutError::Open)?;
        cx.phase("read");
        let plan = Plan::over(groups.len() as u64).chunks_of(1).input(&input);
        let mut fan = cx.fan_out(plan.as_completed())?;
        while let Some(done) = fan.next() {
            let done = done?;
            let output = done.output()?;
            let group = groups.get(done.index() as usize).map_or(&[][..], |g| g);
            let outcomes = Outcome::decode(&output).filter(|o| o.len() == group.len());
            let half = || FanoutError::Output(io::Error::other("half a list of hashes"));
            for (index, outcome) in group.iter().zip(outcomes.ok_or_else(half)?) {
                report.file(wanted[*index as usize].0, outcome);
            }
        }
        report.sort();
        Ok(())
    }

    /// None: cancelled.
    fn hash(&self, cx: Cx<'_>, path: &Path, buffer: &mut [u8]) -> Option<Outcome> {
        match self.try_hash(cx, path, buffer) {
            Ok(outcome) => outcome,
            Err(e) => Some(Outcome::Failed(e.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    fn try_hash(&self, cx: Cx<'_>, path: &Path, buffer: &mut [u8]) -> io::Result<Option<Outcome>> {
        // A pipe must not hold us, a terminal must not become ours.
        let mut flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        if !self.options.follow {
            flags |= libc::O_NOFOLLOW;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let before = file.metadata()?;
        if !before.is_file() {
            return Ok(Some(Outcome::NotRegular));
        }
        let mut sha = Sha256::new();
        let mut size = 0;
        loop {
            if cx.is_cancelled() {
                return Ok(None);
            }
            match file.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    sha.update(&buffer[..n]);
                    size += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let stamp = |m: &Metadata| {
            (
                m.len(),
                m.mtime(),
                m.mtime_nsec(),
                m.ctime(),
                m.ctime_nsec(),
            )
        };
        if stamp(&before) != stamp(&file.metadata()?) {
            return Ok(Some(Outcome::Changing));
        }
        Ok(Some(Outcome::Hash(sha.finalize().into(), size)))
    }

    /// False: cancelled.
    fn look_for_extra(&self, cx: Cx<'_>, manifest: &Manifest, report: &mut Report<'_>) -> bool {
        let mut known: std::collections::HashSet<&Path> =
            manifest.entries.iter().map(|e| e.name.as_path()).collect();
        if let Ok(own) = Path::new(&self.options.manifest).strip_prefix(&self.root) {
            known.insert(own);
        }
        let mut extra = Vec::new();
        let mut walk = Walk {
            root: &self.root,
            follow: self.options.follow,
            excludes: &self.excludes,
            cancelled: &|| cx.is_cancelled(),
            file: &mut |path| {
                if !known.contains(path.as_path()) {
                    extra.push(path);
                }
            },
            unreadable: Vec::new(),
        };
        let done = walk.run();
        let unreadable = std::mem::take(&mut walk.unreadable);
        report.extra(extra);
        for (folder, error) in unreadable {
            report.folder(&folder, &error);
        }
        done
    }
}
