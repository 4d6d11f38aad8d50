//! What the recorder has counted and not yet written for good: in memory, in the runtime folder over its own death,
//! and in the state folder over a stop of the daemon.

use crate::rolls::{Counts, Open, Span, put, take};
use healthd_core::wire::history::LEVELS;
use healthd_core::wire::samples::SampleRecord;
use healthd_sys::files;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE: &str = "recorder.open";
/// More than 100,000 checks with full buckets.
const MOST: u64 = 256 << 20;
const MAGIC: u64 = 0x4844_4f50_454e_3031;

/// The rows that are open, of all checks.
#[derive(Default)]
pub struct Kept {
    /// When each level's row began, and how long of it has been counted, ns.
    pub levels: [Option<(Span, u64)>; LEVELS.len()],
    pub checks: HashMap<String, Check>,
    /// When a recorder of this daemon saved it last, CLOCK_REALTIME, ns. None: the daemon was started since.
    pub saved: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Its number in the database; 0: not known yet.
    pub id: i64,
    /// Since when its counters count; another time, and they began anew.
    since: u64,
    pub open: Open,
    /// It is among the checks of now.
    pub present: bool,
}

impl Check {
    pub fn look(&mut self, record: &SampleRecord) {
        if record.since != self.since {
            self.open.last = Counts::default();
            self.since = record.since;
        }
        self.open.look(Counts::of(record));
        self.present = true;
    }
}

impl Kept {
    /// Of those that a recorder before us left, the newer one. `last` counters of another daemon tell themselves by
    /// their time.
    pub fn load(runtime_dir: &Path, state_dir: &Path) -> Kept {
        let found = |dir: &Path| read(&files::read(&dir.join(FILE), MOST).ok()?);
        match (found(runtime_dir), found(state_dir)) {
            (Some((ours, _)), Some((stopped, kept))) if stopped > ours => kept,
            (Some((time, kept)), _) => Kept {
                saved: Some(time),
                ..kept
            },
            (None, Some((_, kept))) => kept,
            (None, None) => Kept::default(),
        }
    }

    /// `now`: CLOCK_REALTIME, ns.
    pub fn save(&self, dir: &Path, now: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(self.checks.len() * 256);
        put(&mut bytes, MAGIC);
        put(&mut bytes, now);
        for level in &self.levels {
            let (span, counted) = level.unwrap_or((Span { start: 0, end: 0 }, 0));
            for n in [span.start, span.end, counted] {
                put(&mut bytes, n);
            }
        }
        put(&mut bytes, self.checks.len() as u64);
        for (name, check) in &self.checks {
            put(&mut bytes, name.len() as u64);
            bytes.extend_from_slice(name.as_bytes());
            put(&mut bytes, check.since);
            check.open.write(&mut bytes);
        }
        let temp = dir.join(format!("{FILE}.new"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&temp)?;
        io::Write::write_all(&mut file, &bytes)?;
        std::fs::rename(&temp, dir.join(FILE))
    }
}

fn read(bytes: &[u8]) -> Option<(u64, Kept)> {
    let rest = &mut &*bytes;
    if take(rest)? != MAGIC {
        return None;
    }
    let time = take(rest)?;
    let mut kept = Kept::default();
    for level in &mut kept.levels {
        let span = Span {
            start: take(rest)?,
            end: take(rest)?,
        };
        let counted = take(rest)?;
        *level = (span.end > span.start).then_some((span, counted));
    }
    for _ in 0..take(rest)? {
        let length = usize::try_from(take(rest)?).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        let check = Check {
            since: take(rest)?,
            open: Open::read(rest)?,
            ..Check::default()
        };
        kept.checks
            .insert(String::from_utf8(name.to_vec()).ok()?, check);
    }
    Some((time, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_found_again_and_the_newer_one_counts() {
        let dir = std::env::temp_dir().join(format!("healthd-kept-{}", std::process::id()));
        let (run, state) = (dir.join("run"), dir.join("state"));
        for dir in [&run, &state] {
            std::fs::create_dir_all(dir).expect("temp dir");
        }
        let mut kept = Kept::default();
        kept.levels[1] = Some((Span::at(1, 7300), 5));
        let mut check = Check {
            since: 7,
            ..Check::default()
        };
        check.open.levels[0].runs[2] = 9;
        kept.checks.insert("shop/é".into(), check.clone());
        kept.save(&run, 10).expect("saved");
        kept.checks.insert("other".into(), Check::default());
        kept.save(&state, 20).expect("saved");
        let found = Kept::load(&run, &state);
        assert_eq!((found.levels, found.checks.len()), (kept.levels, 2));
        assert_eq!(found.checks["shop/é"], check);
        let bytes = std::fs::read(run.join(FILE)).expect("saved");
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_none(), "{cut}");
        }
        std::fs::remove_dir_all(dir).expect("our own");
    }
}
