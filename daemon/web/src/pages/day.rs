//! What part of the last day the checks of a page were up, by history. Asked behind the page's back and kept for a while:
//! no page waits for the disk twice.

use crate::history;
use crate::routes::Site;
use healthd_sys::clock;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What is older is asked anew.
const FRESH: Duration = Duration::from_secs(60);
/// Who is the first to ask waits so long, and does without then.
const PATIENCE: Duration = Duration::from_millis(50);
/// Checks that are remembered: of twenty pages.
const MOST: usize = 2_000;
const DAY: u64 = 86_400_000_000_000;

#[derive(Default)]
pub struct Days {
    /// When it was asked, and what it is; empty: nothing is known.
    known: RefCell<HashMap<String, (Instant, String)>>,
    asking: Cell<bool>,
}

impl Days {
    /// "99.71 %".
    pub fn of(&self, name: &str) -> String {
        let known = self.known.borrow();
        known
            .get(name)
            .map_or_else(String::new, |(_, day)| day.clone())
    }
}

pub async fn ask<'a>(site: &Rc<Site>, names: impl Iterator<Item = &'a str>) {
    if !site.settings.history {
        return;
    }
    let (mut old, mut is_new) = (Vec::new(), false);
    {
        let known = site.days.known.borrow();
        for name in names {
            let asked = known.get(name).map(|(asked, _)| asked);
            is_new |= asked.is_none();
            if asked.is_none_or(|asked| asked.elapsed() > FRESH) {
                old.push(name.to_owned());
            }
        }
    }
    if old.is_empty() || site.days.asking.replace(true) {
        return;
    }
    let of_site = site.clone();
    let asked = tokio::task::spawn_local(async move { learn(&of_site, old).await });
    if is_new {
        let _ = tokio::time::timeout(PATIENCE, asked).await;
    }
}

async fn learn(site: &Site, names: Vec<String>) {
    let since = clock::realtime_ns().saturating_sub(DAY);
    let found = history::availability(site, names.clone(), since).await;
    let mut found: HashMap<String, f64> = found.unwrap_or_default().into_iter().collect();
    let now = Instant::now();
    let mut known = site.days.known.borrow_mut();
    if known.len() + names.len() > MOST {
        known.clear();
    }
    for name in names {
        let day = found.remove(&name).map_or_else(String::new, percent);
        known.insert(name, (now, day));
    }
    site.days.asking.set(false);
}

/// Never more than it was: 100 % is said of what never failed.
fn percent(part: f64) -> String {
    match part >= 1.0 {
        true => "100 %".to_owned(),
        false => format!("{:.2} %", (part * 10_000.0).floor() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_once_is_not_said_to_be_whole() {
        let said: Vec<String> = [1.0, 0.999_999, 0.997_1, 0.0].map(percent).to_vec();
        assert_eq!(said, ["100 %", "99.99 %", "99.71 %", "0.00 %"]);
    }
}
