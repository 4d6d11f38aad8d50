//! `/metrics` and `/metrics/self`: made in parts as the client takes them, so 10,000 checks cost little memory.

mod alerts;
mod asked;
mod checks;
mod daemon;
#[cfg_attr(
    not(feature = "push"),
    allow(dead_code, reason = "series one by one are for those that push them")
)]
pub mod format;
mod large;
mod spent;

use crate::body::Answer;
use crate::facts::{Facts, Row};
use crate::places::Seat;
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use format::{Kind, Labels, Writer, label_name};
use healthd_core::check::outcome::Verdict;
use healthd_core::config::ChosenLabels;
use healthd_core::matching::Match;
use healthd_core::wire::alerts::AlertsReport;
use hyper::StatusCode;
use large::Large;
use std::rc::Rc;

pub use alerts::Delivered;
pub use asked::{Asked, Stuck, alerts};
pub use format::Format;
pub use large::Larges;
pub use spent::Spent;

/// `with_checks`: the families of checks too.
pub async fn answer(site: &Rc<Site>, format: Format, call: &Call, with_checks: bool) -> Answered {
    let matches = call.values("match");
    let matches = matches.iter().map(|text| matching(text));
    let matches: Vec<Match> = matches.collect::<Result<_, _>>()?;
    let busy = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let out = Writer::new(format);
    let seat = Some(call.seat.clone());
    let parts = Parts::new(site, seat, out, matches, with_checks).await;
    Ok(typed(
        StatusCode::OK,
        format.content_type(),
        Answer::parts(parts.map_err(busy)?),
    ))
}

/// In the language of routes and silences, with `verdict` and `plugin` beside the labels that `[web]` has chosen.
fn matching(text: &str) -> Result<Match, Problem> {
    Match::parse(text).map_err(|e| Problem::bad(format!("`match` {}", e.what)).help(e.help))
}

enum Step {
    /// Which family, and which check comes next in it.
    Checks(usize, usize),
    /// Which of the values that checks measured comes next.
    Measured(usize),
    End,
    Done,
}

/// What is told of this moment, made part by part.
pub struct Parts {
    facts: Rc<Facts>,
    labels: Rc<ChosenLabels>,
    /// Empty: all checks.
    matches: Vec<Match>,
    alerts: Option<Rc<AlertsReport>>,
    stuck: Option<Rc<Stuck>>,
    out: Writer,
    step: Step,
    site: Rc<Site>,
    /// The last: what it frees is given back then.
    _large: Large,
}

impl Parts {
    /// `seat`: of whoever takes it. `with_checks`: the families of checks too. The error says why it cannot be told now.
    pub async fn new(
        site: &Rc<Site>,
        seat: Option<Rc<Seat>>,
        out: Writer,
        matches: Vec<Match>,
        with_checks: bool,
    ) -> Result<Parts, String> {
        // Before the manager is waited for: so few wait for it at once.
        let large = site.larges.take(seat).await;
        let large = large.ok_or("too many scrapes at once; ask again")?;
        let alerts = asked::alerts(site).await;
        let stuck = asked::stuck(site).await;
        let facts = site.keeper.borrow_mut().facts();
        let facts = facts.map_err(|e| format!("the manager's maps cannot be read: {e}"))?;
        let mut parts = Parts {
            facts,
            labels: site.keeper.borrow_mut().labels(),
            matches,
            alerts,
            stuck,
            out,
            step: if with_checks {
                Step::Checks(0, 0)
            } else {
                Step::End
            },
            site: site.clone(),
            _large: large,
        };
        checks::counts(&parts.facts, &mut parts.out);
        Ok(parts)
    }

    /// The next part for those that push; None: all is told.
    #[cfg(feature = "push")]
    pub fn families(&mut self) -> Option<Vec<format::Family>> {
        self.fill();
        Some(self.out.take()).filter(|families| !families.is_empty())
    }

    /// Writes until it is enough for a part, or all is told.
    fn fill(&mut self) {
        while !self.out.is_full() {
            self.step = match self.step {
                Step::Checks(family, from) => self.family(family, from),
                Step::Measured(from) => self.measured(from),
                Step::End => {
                    let stuck = self.stuck.as_deref();
                    daemon::write(&self.site, &self.facts, stuck, &mut self.out);
                    if let Some(report) = &self.alerts {
                        alerts::write(report, &self.site.delivered, &mut self.out);
                    }
                    self.out.end();
                    Step::Done
                }
                Step::Done => break,
            };
        }
    }

    fn wants(&self, row: &Row) -> bool {
        if self.matches.is_empty() {
            return true;
        }
        let name = self.facts.name(row);
        let own = self.labels.get(name);
        let value = |key: &str| match own.and_then(|own| own.get(key)) {
            Some(value) => Some(value.as_str()),
            None if key == "verdict" => Some(row.verdict.unwrap_or(Verdict::Pending).as_str()),
            None if key == "plugin" => Some(self.facts.plugins[row.plugin].0.as_str()),
            None => None,
        };
        self.matches.iter().any(|m| m.fits_by(name, value))
    }

    fn labels_of(&self, row: &Row) -> Labels {
        let name = self.facts.name(row);
        let plugin = &self.facts.plugins[row.plugin].0;
        let labels = Labels::none().with("check", name).with("plugin", plugin);
        let chosen = &self.site.settings.web.labels;
        let own = self.labels.get(name).into_iter().flatten();
        let own = own.filter(|(key, _)| chosen.contains(key));
        own.fold(labels, |labels, (key, value)| {
            labels.with(&label_name(key), value)
        })
    }

    fn family(&mut self, family: usize, from: usize) -> Step {
        let Some(table) = checks::FAMILIES.get(family) else {
            return Step::Measured(0);
        };
        if from == 0 {
            self.out.family(table.name, table.kind, table.help);
        }
        for at in from..self.facts.rows.len() {
            if self.out.is_full() {
                return Step::Checks(family, at);
            }
            let row = &self.facts.rows[at];
            let name = self.facts.name(row);
            if !name.is_empty() && self.wants(row) {
                (table.write)(table, row, &self.labels_of(row), &mut self.out);
            }
        }
        Step::Checks(family + 1, 0)
    }

    fn measured(&mut self, from: usize) -> Step {
        const NAME: &str = "healthd_check_metric";
        if from == 0 {
            let help = "What the last run of the check measured; times in seconds, sizes in bytes.";
            self.out.family(NAME, Kind::Gauge, help);
        }
        let most = self.site.settings.web.max_series as usize;
        let told = self.facts.measured.len().min(most);
        for at in from..told {
            if self.out.is_full() {
                return Step::Measured(at);
            }
            let (row, value) = &self.facts.measured[at];
            let Some(row) = self.facts.rows.get(*row) else {
                continue;
            };
            if self.wants(row) {
                let (unit, number) = format::base(&value.unit, value.value);
                let labels = self.labels_of(row).with("metric", &value.name);
                self.out.sample(NAME, &labels.with("unit", unit), number);
            }
        }
        let name = "healthd_metrics_dropped";
        let help = "Values that are not told: more than 16 of a check, names over 40 bytes, or beyond max_series.";
        self.out.family(name, Kind::Gauge, help);
        let beyond = (self.facts.measured.len() - told) as f64;
        let dropped = self.facts.dropped as f64 + beyond;
        self.out.sample(name, &Labels::none(), dropped);
        Step::End
    }
}

impl Iterator for Parts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.fill();
        Some(self.out.text()).filter(|text| !text.is_empty())
    }
}
