//! The families of alerts: what routes have to say, and what is held back. No map has them, so the manager is asked; while
//! it does not answer they are left out.

use super::format::{Kind, Labels, Writer};
use crate::control::{SHORT, one};
use crate::routes::Site;
use healthd_core::wire::alerts::{AlertsReport, RouteRow};
use healthd_core::wire::control::{Op, Reply};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So long an answer is good, and so long nobody asks again: whoever scrapes without end costs the manager no more.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// When the manager was asked last, and what it said.
#[derive(Default)]
pub struct Asked(RefCell<Option<(Instant, Option<Rc<AlertsReport>>)>>);

/// None: the manager does not answer, and a scrape does not wait for it.
pub async fn report(site: &Site) -> Option<Rc<AlertsReport>> {
    if let Some((at, said)) = &*site.alerts.0.borrow()
        && at.elapsed() < GOOD_FOR
    {
        return said.clone();
    }
    let said = one(site, Op::Alerts, SHORT, |reply| match reply {
        Reply::Alerts(report) => Some(Rc::new(*report)),
        _ => None,
    });
    let said = said.await.ok();
    *site.alerts.0.borrow_mut() = Some((Instant::now(), said.clone()));
    said
}

pub fn write(report: &AlertsReport, out: &mut Writer) {
    let of = |route: &RouteRow| Labels::none().with("route", &route.name);
    if !report.routes.is_empty() {
        let name = "healthd_notices_open";
        let help = "Problems of which a route speaks, and that are not over.";
        out.family(name, Kind::Gauge, help);
        for route in &report.routes {
            let open = report.notices.iter().filter(|n| n.route == route.name);
            out.sample(name, &of(route), open.count() as f64);
        }
        let name = "healthd_notify_pending";
        let help = "Notices that have something to say that has not got through.";
        out.family(name, Kind::Gauge, help);
        for route in &report.routes {
            out.sample(name, &of(route), route.pending as f64);
        }
    }
    let name = "healthd_silences";
    out.family(name, Kind::Gauge, "What holds problems back.");
    for kind in ["silence", "maintenance", "ack"] {
        let of_kind = report.silences.iter().filter(|s| s.kind == kind);
        let labels = Labels::none().with("kind", kind);
        out.sample(name, &labels, of_kind.count() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    #[test]
    fn each_route_has_its_series_and_each_kind_of_silence() {
        let report = AlertsReport {
            routes: vec![RouteRow {
                name: "mail".into(),
                pending: 2,
                ..RouteRow::default()
            }],
            ..AlertsReport::default()
        };
        let mut out = Writer::new(Format::Text);
        write(&report, &mut out);
        for series in [
            "healthd_notices_open{route=\"mail\"} 0\n",
            "healthd_notify_pending{route=\"mail\"} 2\n",
            "healthd_silences{kind=\"ack\"} 0\n",
        ] {
            assert!(out.text.contains(series), "{series}\n{}", out.text);
        }
        let mut none = Writer::new(Format::Text);
        write(&AlertsReport::default(), &mut none);
        assert!(!none.text.contains("route="));
    }
}
