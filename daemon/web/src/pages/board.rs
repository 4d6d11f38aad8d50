//! Who was told what, as the manager said last: acks and silences on every page, without asking for each of them.

use crate::control::{self, SHORT};
use crate::routes::Site;
use healthd_core::wire::alerts::{AlertsReport, SilenceRow};
use healthd_core::wire::control::{Op, Reply};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A page has what is no older than this at once; then it is asked for behind its back.
const FRESH: Duration = Duration::from_secs(1);
/// What is older is not shown.
const OLDEST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Board {
    last: RefCell<Option<(Instant, Rc<AlertsReport>)>>,
    asking: Cell<bool>,
}

/// None: the manager does not say.
pub async fn alerts(site: &Rc<Site>) -> Option<Rc<AlertsReport>> {
    let last = site.board.last.borrow().clone();
    match last {
        Some((at, report)) if at.elapsed() < FRESH => Some(report),
        Some((at, report)) if at.elapsed() < OLDEST => {
            if !site.board.asking.replace(true) {
                let site = site.clone();
                tokio::task::spawn_local(async move { ask(&site).await });
            }
            Some(report)
        }
        _ => ask(site).await,
    }
}

/// What somebody has just changed shows at once.
pub fn forget(site: &Site) {
    site.board.last.borrow_mut().take();
}

async fn ask(site: &Site) -> Option<Rc<AlertsReport>> {
    let asked = control::one(site, Op::Alerts, SHORT, |reply| match reply {
        Reply::Alerts(report) => Some(*report),
        _ => None,
    });
    let report = asked.await.ok().map(Rc::new);
    site.board.asking.set(false);
    let now = Instant::now();
    *site.board.last.borrow_mut() = report.clone().map(|report| (now, report));
    report
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
