//! What speaks against a check: the workers that its runs have killed, or may have killed. Pure: counts in, decisions out.

use serde::{Deserialize, Serialize};

/// So many deaths that are its own, without `ENOUGH` runs that survived between them, and it runs alone.
const CRASHES: u8 = 3;
/// So many runs in a row that survived, and what was before them does not count any more.
const ENOUGH: u8 = 10;
/// So many runs in a row that survived in the solo worker, and the quarantine is over.
pub const TO_BE_FREE: u8 = 3;
/// So many deaths in a row of a solo worker that held nothing but this check: then not even SIGKILL comes from somebody else.
const SOLO_DEATHS: u8 = 2;
/// With so many deaths that may have been its own it runs alone until it survives; with fewer only the run that was cut off.
const UNEXPLAINED: u8 = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashRecord {
    /// Deaths of workers that were its doing, for certain.
    #[serde(default)]
    pub crashes: u8,
    /// Deaths that nobody can explain while a call of it was in progress.
    #[serde(default, rename = "strikes")]
    pub unexplained: u8,
    /// The same in a solo worker, in a row.
    #[serde(default, rename = "jail_kills")]
    pub solo_deaths: u8,
    /// Runs that survived since the last of these.
    #[serde(default)]
    pub survived: u8,
    /// Hash of the plugin's bytes that all this is about: other bytes begin anew.
    #[serde(default)]
    pub plugin: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// CLOCK_REALTIME, ns.
    pub since: u64,
    /// "SIGSEGV in libx.so+0x12 foo"
    pub reason: String,
    /// Runs in a row that survived in the solo worker.
    pub survived: u8,
}

/// Where its next run belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Pool,
    /// Alone, if that can be had at once: it is only a suspect, and must not come late for it.
    RatherSolo,
    Solo,
}

impl CrashRecord {
    pub fn is_clean(&self) -> bool {
        self.crashes == 0
            && self.unexplained == 0
            && self.solo_deaths == 0
            && self.quarantine.is_none()
    }

    /// `again`: its run was cut off by the death of a worker.
    pub fn place(&self, again: bool) -> Place {
        if self.quarantine.is_some() {
            Place::Solo
        } else if self.unexplained >= UNEXPLAINED || (again && self.unexplained > 0) {
            Place::RatherSolo
        } else {
            Place::Pool
        }
    }

    /// It has killed a worker. True: from now on it is in quarantine.
    pub fn crashed(&mut self, reason: &str, now_wall: u64, plugin: u64) -> bool {
        self.plugin = plugin;
        self.crashes = self.crashes.saturating_add(1);
        self.survived = 0;
        match &mut self.quarantine {
            Some(quarantine) => {
                quarantine.survived = 0;
                quarantine.reason = reason.to_owned();
                false
            }
            None if self.crashes >= CRASHES => {
                self.quarantine = Some(Quarantine {
                    since: now_wall,
                    reason: reason.to_owned(),
                    survived: 0,
                });
                true
            }
            None => false,
        }
    }

    /// A worker died while a call of it was in progress, and nobody knows why. True: it was, as it has died so often
    /// with nobody but this check in it.
    pub fn suspected(&mut self, was_solo: bool, plugin: u64) -> bool {
        self.plugin = plugin;
        self.unexplained = self.unexplained.saturating_add(1);
        self.survived = 0;
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.survived = 0;
        }
        if was_solo {
            // No more than the map has room for.
            self.solo_deaths = self.solo_deaths.saturating_add(1).min(SOLO_DEATHS);
        }
        self.solo_deaths >= SOLO_DEATHS
    }

    /// A run of it has ended and its worker lives. True: the quarantine is over.
    pub fn survived(&mut self, was_solo: bool) -> bool {
        if self.is_clean() {
            return false;
        }
        self.survived = self.survived.saturating_add(1);
        self.solo_deaths = 0;
        if was_solo {
            self.unexplained = 0;
            if let Some(quarantine) = &mut self.quarantine {
                quarantine.survived = quarantine.survived.saturating_add(1);
                if quarantine.survived >= TO_BE_FREE {
                    *self = CrashRecord::default();
                    return true;
                }
            }
        } else if self.survived >= ENOUGH {
            *self = CrashRecord::default();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(record: &mut CrashRecord) -> bool {
        record.crashed("SIGSEGV in libx.so+0x12 foo", 7, 1)
    }

    #[test]
    fn three_crashes_without_ten_good_runs_between_them_are_too_many() {
        let mut record = CrashRecord::default();
        assert!(!crash(&mut record));
        for _ in 0..9 {
            assert!(!record.survived(false));
        }
        assert!(!crash(&mut record));
        for _ in 0..9 {
            record.survived(false);
        }
        assert_eq!(record.place(false), Place::Pool);
        assert!(crash(&mut record));
        assert_eq!(record.place(false), Place::Solo);
        assert!(!crash(&mut record), "it is there already");

        let mut record = CrashRecord::default();
        for _ in 0..20 {
            assert!(!crash(&mut record));
            for _ in 0..10 {
                record.survived(false);
            }
            assert!(record.is_clean());
        }
    }

    #[test]
    fn three_good_runs_in_a_row_in_the_jail_end_it() {
        let mut record = CrashRecord::default();
        while !crash(&mut record) {}
        assert!(!record.survived(true));
        assert!(!record.survived(true));
        crash(&mut record);
        assert!(!record.survived(true));
        assert!(!record.survived(true));
        assert!(record.survived(true));
        assert!(record.is_clean());
    }

    #[test]
    fn a_suspect_runs_alone_and_is_free_when_it_survives_there() {
        let mut record = CrashRecord::default();
        assert!(!record.suspected(false, 1));
        assert_eq!(record.place(true), Place::RatherSolo);
        assert_eq!(
            record.place(false),
            Place::Pool,
            "only the run that was cut off"
        );
        assert!(!record.survived(true));
        assert!(record.is_clean());
        record.suspected(false, 1);
        record.suspected(false, 1);
        assert_eq!(record.place(false), Place::RatherSolo);
        for _ in 0..10 {
            record.survived(false);
        }
        assert!(record.is_clean(), "the jail was never free");
    }

    #[test]
    fn only_the_second_death_in_a_row_of_a_jail_convicts() {
        let mut record = CrashRecord::default();
        for _ in 0..100 {
            assert!(
                !record.suspected(false, 1),
                "in the pool it may have been anybody"
            );
        }
        assert!(!record.suspected(true, 1));
        record.survived(true);
        record.suspected(false, 1);
        assert!(!record.suspected(true, 1));
        assert!(record.suspected(true, 1));
        // And from then on it stays there until it survives.
        crash(&mut record);
        assert_eq!(record.place(false), Place::RatherSolo);
        assert!(record.suspected(true, 1));
    }
}
