//! Who was told what, as the manager said last: acks and silences on every page, without asking for each of them.

use crate::control::{self, SHORT};
use crate::routes::Site;
use crate::times;
use healthd_core::wire::alerts::{AlertsReport, NoticeRow, SilenceRow};
use healthd_core::wire::control::{Op, Reply};
use jiff::tz::TimeZone;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A page has what is no older than this at once; then it is asked for behind its back. Nobody asks again any sooner, and
/// a manager that does not answer keeps one page waiting.
const FRESH: Duration = Duration::from_secs(1);
/// What is older is not shown.
const OLDEST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Board {
    /// When it was asked, and what it said.
    last: RefCell<Option<(Instant, Option<Rc<AlertsReport>>)>>,
    asking: Mutex<()>,
    /// Of which report, and by check the places of its notices.
    notices: RefCell<Option<(Rc<AlertsReport>, Places)>>,
}

type Places = Rc<HashMap<String, Vec<usize>>>;

/// None: the manager does not say.
pub async fn alerts(site: &Rc<Site>) -> Option<Rc<AlertsReport>> {
    let last = site.board.last.borrow().clone();
    match last {
        Some((at, said)) if at.elapsed() < FRESH => said,
        Some((at, Some(report))) if at.elapsed() < OLDEST => {
            if site.board.asking.try_lock().is_ok() {
                let site = site.clone();
                tokio::task::spawn_local(async move { ask(&site).await });
            }
            Some(report)
        }
        _ => ask(site).await,
    }
}

/// Of each check the places of its notices in the report: once for all who look at it.
pub fn notices(site: &Site, report: &Rc<AlertsReport>) -> Places {
    let mut last = site.board.notices.borrow_mut();
    if let Some((of, places)) = &*last
        && Rc::ptr_eq(of, report)
    {
        return places.clone();
    }
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, notice) in report.notices.iter().enumerate() {
        for check in &notice.checks {
            places.entry(check.clone()).or_default().push(at);
        }
    }
    let places = Rc::new(places);
    *last = Some((report.clone(), places.clone()));
    places
}

/// "mail 02:39:12, slack refused": whom a problem was told, or what is in the way. Empty: there is nobody to be told.
pub fn told<'a>(
    report: &AlertsReport,
    notices: impl Iterator<Item = &'a NoticeRow>,
    zone: &TimeZone,
) -> String {
    if report.routes.is_empty() {
        return String::new();
    }
    let told = notices.map(|n| {
        let how = match n.state.as_str() {
            "told" => times::of_text(n.told_at.as_deref(), zone),
            "collecting" => "waits".to_owned(),
            state => state.to_owned(),
        };
        format!("{} {how}", n.route)
    });
    match told.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "nobody".to_owned(),
        some => some,
    }
}

/// What somebody has just changed shows at once.
pub fn forget(site: &Site) {
    site.board.last.borrow_mut().take();
}

/// One at a time, for all who wait for it.
async fn ask(site: &Site) -> Option<Rc<AlertsReport>> {
    let _asking = site.board.asking.lock().await;
    let last = site.board.last.borrow().clone();
    if let Some((_, said)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
        return said;
    }
    let asked = control::one(site, Op::Alerts, SHORT, |reply| match reply {
        Reply::Alerts(report) => Some(*report),
        _ => None,
    });
    let said = asked.await.ok().map(Rc::new);
    *site.board.last.borrow_mut() = Some((Instant::now(), said.clone()));
    said
}

/// Who has this problem in hand, and why; or who has silenced it.
pub fn held_back<'a>(report: &'a AlertsReport, name: &str) -> Option<&'a SilenceRow> {
    let of_check = |s: &&SilenceRow| match s.kind.as_str() {
        "ack" => s.matches == name,
        // What asks for labels is the manager's to judge; names we know.
        _ => healthd_core::matching::Match::parse(&s.matches)
            .is_ok_and(|m| m.fits_by(name, |_| None)),
    };
    // Who has it in hand says more than that nobody is told.
    let is_ack = |s: &&SilenceRow| s.kind == "ack";
    let mut all = report.silences.iter().filter(of_check);
    let first = all.next()?;
    Some(if is_ack(&first) {
        first
    } else {
        all.find(is_ack).unwrap_or(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::alerts::RouteRow;

    #[test]
    fn a_row_says_whom_it_was_told_and_what_is_in_the_way() {
        let notice = |route: &str, state: &str, told_at: Option<&str>| NoticeRow {
            route: route.to_owned(),
            state: state.to_owned(),
            told_at: told_at.map(str::to_owned),
            ..NoticeRow::default()
        };
        let notices = [
            notice("mail", "told", Some("2020-11-29T02:39:12.000Z")),
            notice("slack", "refused", None),
            notice("oncall", "collecting", None),
        ];
        let mut report = AlertsReport::default();
        let said =
            |report: &AlertsReport, n: usize| told(report, notices.iter().take(n), &TimeZone::UTC);
        assert_eq!(said(&report, 3), "");
        report.routes.push(RouteRow::default());
        let all = "mail 2020-11-29 02:39:12, slack refused, oncall waits";
        assert_eq!(said(&report, 3), all);
        assert_eq!(said(&report, 0), "nobody");
    }
}
