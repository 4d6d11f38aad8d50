//! What speaks against a check: the workers that its runs have killed, or may have killed. Pure: counts in, decisions out.

use serde::{Deserialize, Serialize};

/// So many deaths that are its own, without `ENOUGH` runs that survived between them, and it runs alone.
const CRASHES: u8 = 3;
/// So many runs in a row that survived, and what was before them does not count any more.
const ENOUGH: u8 = 10;
/// So many runs in a row that survived in the jail, and the quarantine is over.
pub const TO_BE_FREE: u8 = 3;
/// So many deaths in a row of a jail that held nothing but this check: then not even SIGKILL comes from somebody else.
const JAIL_KILLS: u8 = 2;
/// With so many deaths that may have been its own it runs alone until it survives; with fewer only the run that was cut off.
const STRIKES: u8 = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rap {
    /// Deaths of workers that were its doing, for certain.
    #[serde(default)]
    pub crashes: u8,
    /// Deaths that nobody can explain while a call of it was in progress.
    #[serde(default)]
    pub strikes: u8,
    /// The same in a jail, in a row.
    #[serde(default)]
    pub jail_kills: u8,
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
    /// Runs in a row that survived in the jail.
    pub survived: u8,
}

/// Where its next run belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Pool,
    /// Alone, if that can be had at once: it is only a suspect, and must not come late for it.
    RatherJail,
    Jail,
}

impl Rap {
    pub fn is_clean(&self) -> bool {
        self.crashes == 0 && self.strikes == 0 && self.jail_kills == 0 && self.quarantine.is_none()
    }

    /// `again`: its run was cut off by the death of a worker.
    pub fn place(&self, again: bool) -> Place {
        if self.quarantine.is_some() {
            Place::Jail
        } else if self.strikes >= STRIKES || (again && self.strikes > 0) {
            Place::RatherJail
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
    pub fn suspected(&mut self, in_jail: bool, plugin: u64) -> bool {
        self.plugin = plugin;
        self.strikes = self.strikes.saturating_add(1);
        self.survived = 0;
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.survived = 0;
        }
        if in_jail {
            // No more than the map has room for.
            self.jail_kills = self.jail_kills.saturating_add(1).min(JAIL_KILLS);
        }
        self.jail_kills >= JAIL_KILLS
    }

    /// A run of it has ended and its worker lives. True: the quarantine is over.
    pub fn survived(&mut self, in_jail: bool) -> bool {
        if self.is_clean() {
            return false;
        }
        self.survived = self.survived.saturating_add(1);
        self.jail_kills = 0;
        if in_jail {
            self.strikes = 0;
            if let Some(quarantine) = &mut self.quarantine {
                quarantine.survived = quarantine.survived.saturating_add(1);
                if quarantine.survived >= TO_BE_FREE {
                    *self = Rap::default();
                    return true;
                }
            }
        } else if self.survived >= ENOUGH {
            *self = Rap::default();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(rap: &mut Rap) -> bool {
        rap.crashed("SIGSEGV in libx.so+0x12 foo", 7, 1)
    }

    #[test]
    fn three_crashes_without_ten_good_runs_between_them_are_too_many() {
        let mut rap = Rap::default();
        assert!(!crash(&mut rap));
        for _ in 0..9 {
            assert!(!rap.survived(false));
        }
        assert!(!crash(&mut rap));
        for _ in 0..9 {
            rap.survived(false);
        }
        assert_eq!(rap.place(false), Place::Pool);
        assert!(crash(&mut rap));
        assert_eq!(rap.place(false), Place::Jail);
        assert!(!crash(&mut rap), "it is there already");

        let mut rap = Rap::default();
        for _ in 0..20 {
            assert!(!crash(&mut rap));
            for _ in 0..10 {
                rap.survived(false);
            }
            assert!(rap.is_clean());
        }
    }

    #[test]
    fn three_good_runs_in_a_row_in_the_jail_end_it() {
        let mut rap = Rap::default();
        while !crash(&mut rap) {}
        assert!(!rap.survived(true));
        assert!(!rap.survived(true));
        crash(&mut rap);
        assert!(!rap.survived(true));
        assert!(!rap.survived(true));
        assert!(rap.survived(true));
        assert!(rap.is_clean());
    }

    #[test]
    fn a_suspect_runs_alone_and_is_free_when_it_survives_there() {
        let mut rap = Rap::default();
        assert!(!rap.suspected(false, 1));
        assert_eq!(rap.place(true), Place::RatherJail);
        assert_eq!(
            rap.place(false),
            Place::Pool,
            "only the run that was cut off"
        );
        assert!(!rap.survived(true));
        assert!(rap.is_clean());
        rap.suspected(false, 1);
        rap.suspected(false, 1);
        assert_eq!(rap.place(false), Place::RatherJail);
        for _ in 0..10 {
            rap.survived(false);
        }
        assert!(rap.is_clean(), "the jail was never free");
    }

    #[test]
    fn only_the_second_death_in_a_row_of_a_jail_convicts() {
        let mut rap = Rap::default();
        for _ in 0..100 {
            assert!(
                !rap.suspected(false, 1),
                "in the pool it may have been anybody"
            );
        }
        assert!(!rap.suspected(true, 1));
        rap.survived(true);
        rap.suspected(false, 1);
        assert!(!rap.suspected(true, 1));
        assert!(rap.suspected(true, 1));
        // And from then on it stays there until it survives.
        crash(&mut rap);
        assert_eq!(rap.place(false), Place::RatherJail);
        assert!(rap.suspected(true, 1));
    }
}
