//! From deaths of workers to what becomes of the checks that are to blame: held, suspected, in quarantine, released.

use crate::check::{Check, HOLD_LAST_NS, Hold};
use crate::fleet::crash_record::{CrashRecord, Quarantine, TO_BE_FREE};
use crate::time;
use crate::time::MS;
use healthd_core::wire::control::QuarantineInfo;
use healthd_core::wire::maps::StandingRecord;
use healthd_sys::clock;
use serde::{Deserialize, Serialize};

/// After an unexplained death of its solo worker a check runs again so soon, or an hour could pass until the culprit is known.
pub(super) const CONFIRM_NS: u64 = 1_000 * MS;

/// A crash record and a hold as they outlive a manager and a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStanding {
    #[serde(flatten)]
    crashes: CrashRecord,
    /// CLOCK_REALTIME, ns, as the machine may have been started anew since. 0: not held.
    #[serde(default)]
    hold_until: u64,
    #[serde(default)]
    hold_ms: u32,
}

impl SavedStanding {
    /// The map is newer; the disk has what does not fit there.
    pub fn of(record: &StandingRecord, on_disk: Option<&SavedStanding>) -> Option<SavedStanding> {
        if *record == StandingRecord::default() {
            return None;
        }
        let known = on_disk.map(|s| &s.crashes);
        let quarantine = record.quarantine.map(|survived| Quarantine {
            survived,
            ..known.and_then(|r| r.quarantine.clone()).unwrap_or_default()
        });
        Some(SavedStanding {
            crashes: CrashRecord {
                crashes: record.crashes,
                unexplained: record.unexplained,
                solo_deaths: record.solo_deaths,
                survived: record.survived,
                plugin: known.map_or(0, |r| r.plugin),
                quarantine,
            },
            hold_until: time::wall(record.hold_until),
            hold_ms: record.hold_ms,
        })
    }

    pub fn record(&self) -> StandingRecord {
        record_of(&self.crashes, self.hold())
    }

    fn hold(&self) -> Option<Hold> {
        let left = self.hold_until.saturating_sub(clock::realtime_ns());
        // A clock that was set back must not hold it for years.
        let length_ns = (u64::from(self.hold_ms) * MS).min(HOLD_LAST_NS);
        (length_ns > 0).then(|| Hold {
            until_ns: clock::monotonic_ns() + left.min(length_ns),
            length_ns,
        })
    }
}

fn record_of(crashes: &CrashRecord, hold: Option<Hold>) -> StandingRecord {
    StandingRecord {
        crashes: crashes.crashes,
        unexplained: crashes.unexplained,
        solo_deaths: crashes.solo_deaths,
        survived: crashes.survived,
        quarantine: crashes.quarantine.as_ref().map(|q| q.survived),
        hold_until: hold.map_or(0, |h| h.until_ns),
        hold_ms: hold.map_or(0, |h| (h.length_ns / MS) as u32),
    }
}

impl Check {
    pub fn saved_standing(&self) -> Option<SavedStanding> {
        if self.standing.crashes.is_clean() && self.standing.hold.is_none() {
            return None;
        }
        Some(SavedStanding {
            crashes: self.standing.crashes.clone(),
            hold_until: self.standing.hold.map_or(0, |h| time::wall(h.until_ns)),
            hold_ms: self.standing.hold.map_or(0, |h| (h.length_ns / MS) as u32),
        })
    }

    pub fn remember_standing(&mut self, saved: &SavedStanding) {
        self.standing.crashes = saved.crashes.clone();
        self.standing.hold = saved.hold();
    }

    /// What the next manager must know at once.
    pub fn standing_record(&self) -> StandingRecord {
        record_of(&self.standing.crashes, self.standing.hold)
    }

    pub fn quarantine_info(&self, now: u64) -> Option<QuarantineInfo> {
        let q = self.standing.crashes.quarantine.as_ref()?;
        let reason = match q.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let next = match self.standing.hold.filter(|h| h.until_ns > now) {
            Some(h) => format!("next try in {}", time::span(h.until_ns - now)),
            None => format!("{} of {TO_BE_FREE} good runs in a row", q.survived),
        };
        Some(QuarantineInfo {
            since: time::rfc3339(q.since),
            crashes: u64::from(self.standing.crashes.crashes),
            reason: q.reason.clone(),
            survived: u64::from(q.survived),
            needed: u64::from(TO_BE_FREE),
            text: format!(
                "quarantined after {} crashes of plugin `{}`{reason}; runs alone; {next}; `healthctl plugins \
                 release {}` ends it",
                self.standing.crashes.crashes, self.spec.plugin, self.spec.name
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> SavedStanding {
        SavedStanding {
            crashes: CrashRecord {
                crashes: 4,
                unexplained: 1,
                plugin: 77,
                quarantine: Some(Quarantine {
                    since: 5,
                    reason: "SIGSEGV in libx.so+0x12 foo".into(),
                    survived: 1,
                }),
                ..CrashRecord::default()
            },
            hold_until: clock::realtime_ns() + 60_000 * MS,
            hold_ms: 64_000,
        }
    }

    #[test]
    fn what_the_map_lacks_comes_from_the_disk_and_the_rest_from_the_map() {
        let on_disk = held();
        let mut record = on_disk.record();
        record.crashes = 5;
        record.quarantine = Some(2);
        let both = SavedStanding::of(&record, Some(&on_disk)).expect("something speaks against it");
        assert_eq!((both.crashes.crashes, both.crashes.plugin), (5, 77));
        let q = both
            .crashes
            .quarantine
            .as_ref()
            .expect("it is in quarantine");
        assert_eq!((q.survived, q.since), (2, 5));
        assert_eq!(q.reason, "SIGSEGV in libx.so+0x12 foo");
        let left = both.hold().expect("it is held").until_ns - clock::monotonic_ns();
        assert!(left > 50_000 * MS && left <= 60_000 * MS, "{left}");
        // Without a word on disk the counts stand all the same.
        let alone = SavedStanding::of(&record, None).expect("something speaks against it");
        assert_eq!((alone.crashes.crashes, alone.crashes.plugin), (5, 0));
        assert_eq!(
            SavedStanding::of(&StandingRecord::default(), Some(&on_disk)),
            None
        );
    }

    #[test]
    fn a_saved_hold_of_any_length_is_one_that_we_give() {
        let saved: SavedStanding = serde_json::from_str(
            r#"{"crashes":255,"strikes":255,"jail_kills":255,"survived":255,"hold_until":18446744073709551615,"hold_ms":4294967295,"quarantine":{"since":0,"reason":"","survived":255}}"#,
        )
        .expect("any numbers");
        let hold = saved.hold().expect("it is held");
        assert_eq!(hold.length_ns, HOLD_LAST_NS);
        assert!(hold.until_ns <= clock::monotonic_ns() + HOLD_LAST_NS);
        let mut crashes = saved.crashes;
        assert!(crashes.suspected(true, 1));
        crashes.crashed("x", 0, 1);
        crashes.survived(true);
    }

    #[test]
    fn it_survives_its_json() {
        let saved = held();
        let json = serde_json::to_string(&saved).expect("plain data");
        let again: SavedStanding = serde_json::from_str(&json).expect("our own");
        assert_eq!(again, saved);
    }
}
