//! Who was told of what, what did not get through, and what holds problems back.

use super::{Top, html, picture};
use crate::listen::Peer;
use crate::pages::board;
use crate::routes::{Answered, Call, Site};
use crate::times;
use askama::Template;
use healthd_core::wire::alerts::AlertsReport;
use jiff::tz::TimeZone;
use std::rc::Rc;

#[derive(Template)]
#[template(path = "alerts.html")]
struct Page<'a> {
    top: Top,
    report: Option<&'a AlertsReport>,
    may_change: bool,
    needs_token: bool,
    zone: &'a TimeZone,
}

impl Page<'_> {
    /// On the clock of this machine.
    fn time(&self, rfc3339: &Option<String>) -> String {
        times::of_text(rfc3339.as_deref(), self.zone)
    }
}

pub async fn page(site: Rc<Site>, call: Call) -> Answered {
    let (_, alarm) = picture(&site);
    let report = match alarm.is_empty() {
        true => board::alerts(&site).await,
        false => None,
    };
    let needs_token = site.settings.web.token.is_some();
    html(&Page {
        top: Top::new(&site, "/alerts", alarm),
        report: report.as_deref(),
        may_change: needs_token || call.peer != Peer::Network,
        needs_token,
        zone: &site.zone,
    })
}
