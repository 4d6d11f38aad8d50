//! What must be in nothing that a plugin says: the secrets of each check of this process.
//!
//! Whatever a plugin says of a check passes its `Context`, which takes its check's secrets out; a line of the log has the
//! secrets of all checks taken out. A check that got new options keeps the old secrets too: a run may still have them.

use healthd_core::scrub::Scrubber;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Default)]
struct Known {
    checks: HashMap<String, Arc<Scrubber>>,
    /// Of all of them; None: to be made anew.
    all: Option<Arc<Scrubber>>,
}

static KNOWN: RwLock<Option<Known>> = RwLock::new(None);

/// Before the first instance of the check is made. `places`: where in its options secrets are.
pub fn define(check: &str, config: &str, places: &[String]) {
    let mut new = Scrubber::of_options(config, places);
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
