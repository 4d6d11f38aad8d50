//! Objectives: which part of a time a check, or some checks together, should be up.
//!
//! `slo = "99.9% 30d"` of a check is one; `slo = { "team=web" = "99.9% 30d" }` of `[history]` is one for all that fit.

use std::fmt;
use std::time::Duration;

use healthd_units::duration;
use serde::{Deserialize, Serialize};

use super::model::CheckSpec;
use super::raw::{Node, Table, Value};
use super::reading::Reading;
use super::report::error;
use crate::matching::Match;

/// In `runtime_dir`: the objectives in force, as JSON, for whoever reads history.
pub const OBJECTIVES_FILE: &str = "history.slo";

const SHORTEST: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Above 0, below 1.
    pub objective: f64,
    pub window: Duration,
}

/// One that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// That of the check, or the `match`.
    pub name: String,
    pub slo: Slo,
    pub checks: Vec<String>,
}

impl Slo {
    /// Err: what is wrong with it.
    pub fn parse(text: &str) -> Result<Slo, &'static str> {
        let form = "is written as `99.9% 30d`: what is to be reached, and in which time";
        let (part, window) = text.trim().split_once(' ').ok_or(form)?;
        let percent = part
            .strip_suffix('%')
            .and_then(|p| p.trim().parse::<f64>().ok());
        let percent = percent.ok_or(form)?;
        let window = duration::parse(window.trim()).map_err(|_| form)?;
        if !(percent > 0.0 && percent < 100.0) {
            return Err(
                "has to be above 0% and below 100%: without a budget nothing may ever fail",
            );
        }
        if !(SHORTEST..=LONGEST).contains(&window) {
            return Err("has a time from 1h to 366d");
        }
        Ok(Slo {
            objective: percent / 100.0,
            window,
        })
    }
}

/// The key `slo` of a check.
pub(super) fn of_check(node: &Node, owner: &dyn fmt::Display, cx: &mut Reading<'_>) -> Option<Slo> {
    let Value::Str(text) = &node.value else {
        return cx.wrong_type("slo", node, owner, "a text", "\"99.9% 30d\"");
    };
    match Slo::parse(text) {
        Ok(slo) => Some(slo),
        Err(what) => {
            let e = error(format!("`slo` of {owner} {what}"));
            cx.push(
                e.at(node.span)
                    .code("bad-value")
                    .help("write `slo = \"99.9% 30d\"`"),
            );
            None
        }
    }
}

/// The key `slo` of `[history]`: by `match`.
pub(super) fn of_history(table: &Table, cx: &mut Reading<'_>) -> Vec<(Match, Slo)> {
    const OWNER: &str = "[history]";
    let Some(entry) = table.get("slo") else {
        return Vec::new();
    };
    let Value::Table(all) = &entry.node.value else {
        let example = "{ \"team=web\" = \"99.9% 30d\" }";
        return cx
            .wrong_type("slo", &entry.node, OWNER, "a table", example)
            .unwrap_or_default();
    };
    let read = |e: &super::raw::Entry, cx: &mut Reading<'_>| {
        let matches = match Match::parse(&e.key) {
            Ok(matches) => matches,
            Err(wrong) => {
                let text = format!("`{}` in `slo` of {OWNER} {wrong}", e.key);
                cx.push(error(text).at(e.key_span).help(wrong.help));
                return None;
            }
        };
        Some((matches, of_check(&e.node, &OWNER, cx)?))
    };
    all.entries.iter().filter_map(|e| read(e, cx)).collect()
}

/// Those of checks, and those of `[history]`.
pub fn objectives<'c>(
    of_history: &[(Match, Slo)],
    checks: impl Iterator<Item = &'c CheckSpec> + Clone,
) -> Vec<Objective> {
    let own = checks.clone().filter_map(|c| {
        Some(Objective {
            name: c.name.clone(),
            slo: c.slo?,
            checks: vec![c.name.clone()],
        })
    });
    let shared = of_history.iter().map(|(matches, slo)| Objective {
        name: matches.as_str().to_owned(),
        slo: *slo,
        checks: checks
            .clone()
            .filter(|c| matches.fits(&c.name, &c.labels))
            .map(|c| c.name.clone())
            .collect(),
    });
    own.chain(shared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_as_people_write_them() {
        let days = |d: u64| Duration::from_secs(d * 86_400);
        let good = |text| Slo::parse(text).expect(text);
        assert_eq!(good("99.9% 30d").window, days(30));
        assert!((good("99.9% 30d").objective - 0.999).abs() < 1e-12);
        assert_eq!(good(" 95% 1h ").window, Duration::from_secs(3_600));
        for bad in [
            "", "99.9%", "99.9 30d", "100% 30d", "0% 30d", "99% 5m", "99% 400d", "99% soon",
            "NaN% 30d",
        ] {
            assert!(Slo::parse(bad).is_err(), "{bad}");
        }
    }
}
