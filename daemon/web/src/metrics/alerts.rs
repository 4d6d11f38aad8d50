//! The families of alerts: what routes have to say and have delivered, and what is held back.

use super::format::{Kind, Labels, Writer};
use healthd_core::wire::alerts::{AlertsReport, RouteRow};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What routes have delivered. The counters of the manager begin anew with each manager; here they go on.
#[derive(Default)]
pub struct Delivered(RefCell<BTreeMap<(String, &'static str), Counter>>);

#[derive(Clone, Copy, Default)]
struct Counter {
    /// What managers before this one had counted when they were asked last.
    before: f64,
    last: f64,
}

impl Delivered {
    fn go_on(&self, route: &str, what: &'static str, now: f64) -> f64 {
        let mut all = self.0.borrow_mut();
        let counter = all.entry((route.to_owned(), what)).or_default();
        if now < counter.last {
            counter.before += counter.last;
        }
        counter.last = now;
        counter.before + now
    }
}

pub fn write(report: &AlertsReport, delivered: &Delivered, out: &mut Writer) {
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
        let name = "healthd_notify_oldest_pending_seconds";
        let help = "For how long the oldest of them has been failing; 0: none has.";
        out.family(name, Kind::Gauge, help);
        for route in &report.routes {
            out.sample(name, &of(route), route.oldest_pending_s);
        }
        let name = "healthd_notify_messages_total";
        let help = "Deliveries by how they ended; unknown: it may have arrived.";
        out.family(name, Kind::Counter, help);
        for route in &report.routes {
            for (result, n) in ended(route) {
                let n = delivered.go_on(&route.name, result, n as f64);
                out.sample(name, &of(route).with("result", result), n);
            }
        }
        let name = "healthd_notify_duration_seconds";
        out.family(name, Kind::Summary, "How long deliveries took.");
        for route in &report.routes {
            let took = delivered.go_on(&route.name, "took", route.took_s);
            let all = ended(route).map(|(_, n)| n).iter().sum::<u64>();
            let all = delivered.go_on(&route.name, "all", all as f64);
            out.summary(name, &of(route), took, all as u64);
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

fn ended(route: &RouteRow) -> [(&'static str, u64); 3] {
    [
        ("accepted", route.accepted),
        ("refused", route.refused),
        ("unknown", route.unknown),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    fn page(delivered: &Delivered, routes: Vec<RouteRow>) -> String {
        let report = AlertsReport {
            routes,
            ..AlertsReport::default()
        };
        let mut out = Writer::new(Format::Text);
        write(&report, delivered, &mut out);
        out.text()
    }

    #[test]
    fn each_route_has_its_series_and_each_kind_of_silence() {
        let mail = RouteRow {
            name: "mail".into(),
            pending: 2,
            oldest_pending_s: 1.5,
            ..RouteRow::default()
        };
        let text = page(&Delivered::default(), vec![mail]);
        for series in [
            "healthd_notices_open{route=\"mail\"} 0\n",
            "healthd_notify_pending{route=\"mail\"} 2\n",
            "healthd_notify_oldest_pending_seconds{route=\"mail\"} 1.5\n",
            "healthd_notify_messages_total{route=\"mail\",result=\"refused\"} 0\n",
            "healthd_silences{kind=\"ack\"} 0\n",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
        assert!(!page(&Delivered::default(), Vec::new()).contains("route="));
    }

    #[test]
    fn what_was_delivered_goes_on_over_a_manager() {
        let delivered = Delivered::default();
        let after = |accepted: u64| {
            let mail = RouteRow {
                name: "mail".into(),
                accepted,
                refused: 1,
                took_s: accepted as f64 / 2.0,
                ..RouteRow::default()
            };
            page(&delivered, vec![mail])
        };
        let series = "healthd_notify_messages_total{route=\"mail\",result=\"accepted\"}";
        assert!(after(7).contains(&format!("{series} 7\n")));
        let text = after(2);
        assert!(text.contains(&format!("{series} 9\n")), "{text}");
        assert!(text.contains("healthd_notify_duration_seconds_sum{route=\"mail\"} 4.5\n"));
        assert!(text.contains("healthd_notify_duration_seconds_count{route=\"mail\"} 11\n"));
    }
}
