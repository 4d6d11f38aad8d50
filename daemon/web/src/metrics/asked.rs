//! What no map has: the manager is asked. While it does not answer these families are left out.

use crate::control::{self, Failure, one};
use crate::routes::Site;
use healthd_core::wire::alerts::AlertsReport;
use healthd_core::wire::control::{Op, Reply};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A manager that is busy may take so long; a scrape has 10 s by default.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long an answer is good, and so long nobody asks again: whoever scrapes without end costs the manager no more.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// The same for what plugins hold, which costs it a look at each check.
const PLUGINS_GOOD_FOR: Duration = Duration::from_secs(15);

/// When the manager was asked last, and what it said: by one at a time, for all who want to know it.
pub struct Asked<T>(Mutex<Option<(Instant, Option<Rc<T>>)>>);

impl<T> Default for Asked<T> {
    fn default() -> Asked<T> {
        Asked(Mutex::default())
    }
}

impl<T> Asked<T> {
    /// None: it does not answer, and a scrape does not wait for it for long.
    async fn get(
        &self,
        good_for: Duration,
        ask: impl Future<Output = Result<T, Failure>>,
    ) -> Option<Rc<T>> {
        let mut last = self.0.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < said.as_ref().map_or(GOOD_FOR, |_| good_for)
        {
            return said.clone();
        }
        let said = ask.await.ok().map(Rc::new);
        *last = Some((Instant::now(), said.clone()));
        said
    }
}

/// Threads that are in a call whose deadline has passed, by plugin.
pub type Stuck = Vec<(String, u64)>;

pub async fn alerts(site: &Site) -> Option<Rc<AlertsReport>> {
    let ask = one(site, Op::Alerts, PATIENCE, |reply| match reply {
        Reply::Alerts(report) => Some(*report),
        _ => None,
    });
    site.alerts.get(GOOD_FOR, ask).await
}

pub async fn stuck(site: &Site) -> Option<Rc<Stuck>> {
    let ask = async {
        let mut replies = control::ask(site, Op::Plugins, PATIENCE).await?;
        let mut stuck = Stuck::new();
        while let Some(reply) = replies.next(Some(PATIENCE)).await? {
            if let Reply::Plugin(row) = reply {
                stuck.extend(row.cost.map(|cost| (row.name, cost.stuck_threads)));
            }
        }
        Ok(stuck)
    };
    site.stuck.get(PLUGINS_GOOD_FOR, ask).await
}
