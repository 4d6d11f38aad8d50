//! What must be in nothing that a plugin says: the secrets of each check of this process.
//!
//! Whatever a plugin says of a check passes its `Context`, which takes its check's secrets out; a line of the log has the
//! secrets of all checks taken out. A check that got new options keeps the old secrets too: a run may still have them.
//! What plugins write to standard error does not pass here: for that the supervisor is told the values.

use healthd_core::scrub::{Scrubber, in_options};
use healthd_core::wire::told_secrets as told;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

#[derive(Default)]
struct Known {
    checks: HashMap<String, Arc<Scrubber>>,
    /// Of all of them; None: to be made anew.
    all: Option<Arc<Scrubber>>,
}

static KNOWN: RwLock<Option<Known>> = RwLock::new(None);

/// Before the first instance of the check is made. `places`: where in its options secrets are.
pub fn define(check: &str, config: &str, places: &[String]) {
    let values = in_options(config, places);
    let mut new = Scrubber::new(&values);
    if let Some(told) = &mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner) {
        told.tell(values);
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(old) = known.checks.get(check) {
        new = Scrubber::merged([&**old, &new]);
        if new == **old {
            return;
        }
    } else if new.is_empty() {
        return;
    }
    known.checks.insert(check.to_owned(), Arc::new(new));
    known.all = None;
}

/// From now on each secret is written there before its check's first instance is made.
pub fn tell_to(file: OwnedFd) {
    let told = Told {
        file: file.into(),
        end: 0,
        values: HashSet::new(),
    };
    *TOLD.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
}

static TOLD: Mutex<Option<Told>> = Mutex::new(None);

/// What the supervisor knows.
struct Told {
    file: File,
    /// Bytes behind the head.
    end: u64,
    values: HashSet<String>,
}

impl Told {
    fn tell(&mut self, values: Vec<String>) {
        for value in values {
            if self.end == told::TOO_MANY || self.values.contains(&value) {
                continue;
            }
            // What it cannot know it must not believe to know.
            if self.append(&value).is_err() {
                self.end = told::TOO_MANY;
            }
            let _ = self.file.write_all_at(&self.end.to_le_bytes(), 0);
            self.values.insert(value);
        }
    }

    fn append(&mut self, value: &str) -> io::Result<()> {
        let record = told::record(value);
        let end = self.end + record.len() as u64;
        if end > told::MOST_BYTES || self.values.len() >= told::MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all_at(&record, told::HEAD + self.end)?;
        self.end = end;
        Ok(())
    }
}

/// None: it has no secrets.
pub(crate) fn of(check: &str) -> Option<Arc<Scrubber>> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.as_ref()?.checks.get(check).cloned()
}

/// A text that is no check's in particular, without the secrets of any.
pub fn scrub(text: &str) -> Cow<'_, str> {
    match all().scrub(text) {
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(clean) => clean.into(),
    }
}

fn all() -> Arc<Scrubber> {
    {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        match known.as_ref().map(|k| &k.all) {
            None => return Arc::default(),
            Some(Some(all)) => return all.clone(),
            Some(None) => {}
        }
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let merged = || Arc::new(Scrubber::merged(known.checks.values().map(|s| &**s)));
    match &known.all {
        Some(all) => all.clone(),
        None => {
            let all = merged();
            known.all = Some(all.clone());
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_is_told_once_until_there_are_too_many() {
        let file = healthd_sys::memfd::empty("told").expect("a memory file");
        let ours = File::from(file.try_clone().expect("a descriptor"));
        let mut told = Told {
            file: file.into(),
            end: 0,
            values: HashSet::new(),
        };
        let head = || {
            let mut head = [0; 8];
            ours.read_exact_at(&mut head, 0)
                .map(|()| u64::from_le_bytes(head))
        };
        told.tell(vec!["one".into(), "two".into(), "one".into()]);
        let length = head().expect("a head");
        let mut bytes = vec![0; length as usize];
        ours.read_exact_at(&mut bytes, told::HEAD)
            .expect("what it says");
        assert_eq!(told::read(&bytes), Some(vec!["one", "two"]));
        told.tell((0..told::MOST).map(|n| n.to_string()).collect());
        assert_eq!(head().expect("a head"), told::TOO_MANY);
        told.tell(vec!["more".into()]);
        assert_eq!(head().expect("a head"), told::TOO_MANY);
    }
}
