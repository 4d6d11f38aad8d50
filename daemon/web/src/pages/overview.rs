//! The overview: problems first, one filter language, a hundred rows at a time. What is shown and in what order is decided
//! here, without a clock of its own or any I/O.

use super::words::{Shown, shown};
use crate::picture::{Picture, Row};
use crate::query::{encoded, values};
use healthd_core::check::fault::Fault;
use healthd_core::config::{ChosenLabels, thousands};
use healthd_core::matching::Match;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Rows of a page.
pub const PAGE: usize = 100;
/// Groups that are shown; the rest is counted.
const GROUPS: usize = 60;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// A `match`, with `verdict` and `plugin` beside the labels. Empty: all.
    pub filter: String,
    /// None: problems, unless all fit on a page.
    pub problems: Option<bool>,
    /// A label to group by. Empty: what stands before the first slash of a name.
    pub by: String,
    /// From 1 on.
    pub page: usize,
}

impl Asked {
    pub fn read(query: &str) -> Asked {
        let last = |key: &str| values(query, key).pop().unwrap_or_default();
        Asked {
            filter: last("q").trim().to_owned(),
            problems: match last("show").as_str() {
                "problems" => Some(true),
                "all" => Some(false),
                _ => None,
            },
            by: last("by"),
            page: last("page").parse().unwrap_or(1).clamp(1, 1_000_000),
        }
    }

    /// Of a page with this changed.
    pub fn link(&self, page: usize) -> String {
        let mut parts = Vec::new();
        let mut part = |key: &str, value: &str| {
            if !value.is_empty() {
                parts.push(format!("{key}={}", encoded(value)));
            }
        };
        part("q", &self.filter);
        part(
            "show",
            match self.problems {
                Some(true) => "problems",
                Some(false) => "all",
                None => "",
            },
        );
        part("by", &self.by);
        if page > 1 {
            part("page", &page.to_string());
        }
        match parts.is_empty() {
            true => "/".to_owned(),
            false => format!("/?{}", parts.join("&")),
        }
    }
}

/// Checks by what is shown of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub critical: usize,
    pub warning: usize,
    pub unknown: usize,
    pub pending: usize,
    pub ok: usize,
    pub paused: usize,
}

impl Counts {
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Counts {
        let mut counts = Counts::default();
        rows.for_each(|row| counts.add(row));
        counts
    }

    fn add(&mut self, row: &Row) {
        match shown(row) {
            Shown::Critical => self.critical += 1,
            Shown::Warning => self.warning += 1,
            Shown::Unknown => self.unknown += 1,
            Shown::Pending => self.pending += 1,
            Shown::Ok => self.ok += 1,
            Shown::Paused => self.paused += 1,
        }
    }

    pub fn all(&self) -> usize {
        self.critical + self.warning + self.unknown + self.pending + self.ok + self.paused
    }

    pub fn problems(&self) -> usize {
        self.critical + self.warning + self.unknown
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub link: String,
    pub counts: Counts,
}

/// What is shown.
#[derive(Debug, Default)]
pub struct View {
    /// Of all checks.
    pub counts: Counts,
    /// Rows of this page, by their place in the picture.
    pub rows: Vec<usize>,
    /// Rows that would be shown on all pages.
    pub found: usize,
    pub page: usize,
    pub pages: usize,
    pub problems_only: bool,
    pub groups: Vec<Group>,
    pub more_groups: usize,
    /// What is not ok, and how many are not evaluated for it: most first.
    pub behind: Vec<(String, usize)>,
    /// Why the filter cannot be read: what, and what to write.
    pub wrong: Option<(String, String)>,
}

pub fn view(picture: &Picture, labels: &ChosenLabels, asked: &Asked, now: u64) -> View {
    let there = || {
        picture
            .rows
            .iter()
            .enumerate()
            .filter(|(_, r)| !r.name.is_empty())
    };
    let counts = Counts::of(there().map(|(_, row)| row));
    let (filter, wrong) = match asked.filter.as_str() {
        "" => (None, None),
        text => match Match::parse(text) {
            Ok(filter) => (Some(filter), None),
            Err(e) => (None, Some((format!("the filter {}", e.what), e.help))),
        },
    };
    let fits = |row: &Row| {
        filter.as_ref().is_none_or(|filter| {
            let own = labels.get(&*row.name);
            filter.fits_by(&row.name, |key| match key {
                "verdict" => Some(shown(row).word()),
                "plugin" => Some(&row.plugin),
                key => own?.get(key).map(String::as_str),
            })
        })
    };
    let found: Vec<(usize, &Row)> = there().filter(|(_, row)| fits(row)).collect();
    let problems_only = asked
        .problems
        .unwrap_or(filter.is_none() && found.len() > PAGE);
    let mut by_urgency: [Vec<usize>; 7] = Default::default();
    for (at, row) in &found {
        let urgency = row.urgency(now);
        if !problems_only || urgency <= 3 {
            by_urgency[usize::from(urgency)].push(*at);
        }
    }
    let all: Vec<usize> = by_urgency.concat();
    let pages = all.len().div_ceil(PAGE).max(1);
    let page = asked.page.clamp(1, pages);
    let (groups, more_groups) = groups(&found, labels, asked);
    View {
        counts,
        found: all.len(),
        rows: all.into_iter().skip((page - 1) * PAGE).take(PAGE).collect(),
        page,
        pages,
        problems_only,
        groups,
        more_groups,
        behind: behind(there().map(|(_, row)| row)),
        wrong,
    }
}

/// More than these are no summary.
const BEHIND: usize = 3;

fn behind<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<(String, usize)> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for name in rows.filter_map(in_the_way) {
        *by_name.entry(name).or_default() += 1;
    }
    let mut all: Vec<(String, usize)> = by_name
        .into_iter()
        .map(|(name, n)| (name.to_owned(), n))
        .collect();
    all.sort_by_key(|(_, n)| Reverse(*n));
    all.truncate(BEHIND);
    all
}

/// The check for which this one is not evaluated, as the manager says it in the message.
fn in_the_way(row: &Row) -> Option<&str> {
    row.fault.filter(|f| *f == Fault::Dependency)?;
    let said = row.message.strip_prefix("self:uplink: ")?;
    let named = match said.split_once("lies behind `") {
        Some((_, root)) => root,
        None => said.strip_prefix('`')?,
    };
    named.split_once('`').map(|(name, _)| name)
}

/// Those with problems first.
fn groups(rows: &[(usize, &Row)], labels: &ChosenLabels, asked: &Asked) -> (Vec<Group>, usize) {
    let mut by_name: BTreeMap<&str, Counts> = BTreeMap::new();
    for (_, row) in rows {
        let name = match asked.by.as_str() {
            "" => row.name.split_once('/').map(|(before, _)| before),
            label => labels
                .get(&*row.name)
                .and_then(|own| own.get(label))
                .map(String::as_str),
        };
        by_name.entry(name.unwrap_or("")).or_default().add(row);
    }
    // One group says nothing that the rows do not say.
    if by_name.len() < 2 {
        return (Vec::new(), 0);
    }
    let mut groups: Vec<Group> = by_name
        .into_iter()
        .map(|(name, counts)| Group {
            link: link(name, asked),
            name: match name {
                "" => "others".to_owned(),
                name => name.to_owned(),
            },
            counts,
        })
        .collect();
    groups.sort_by_key(|g| (g.counts.problems() == 0, g.name == "others"));
    let more = groups.len().saturating_sub(GROUPS);
    groups.truncate(GROUPS);
    (groups, more)
}

fn link(group: &str, asked: &Asked) -> String {
    // Names have no quotes of both kinds; a blank has to stand in one.
    let quoted = |text: String| match text.contains([' ', ',', '=', '!', '\'']) {
        true => format!("\"{text}\""),
        false => text,
    };
    let filter = match (asked.by.as_str(), group) {
        ("", "") => "!*/*".to_owned(),
        ("", group) => quoted(format!("{group}/*")),
        (label, "") => format!("!{label}=*"),
        (label, group) => format!("{label}={}", quoted(group.to_owned())),
    };
    let asked = Asked {
        filter,
        problems: Some(false),
        page: 1,
        ..asked.clone()
    };
    asked.link(1)
}

impl View {
    /// "100 of 9,994 checks".
    pub fn caption(&self) -> String {
        let what = match self.problems_only {
            true => "problem",
            false => "check",
        };
        let s = if self.found == 1 { "" } else { "s" };
        let all = thousands(self.found as u64);
        match self.pages {
            1 => format!("{all} {what}{s}"),
            pages => format!("{all} {what}{s}, page {} of {pages}", self.page),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use healthd_core::check::outcome::Verdict;

    pub fn row(name: &str, verdict: Verdict) -> Row {
        Row {
            name: name.into(),
            title: "".into(),
            plugin: "http".into(),
            verdict: Some(verdict),
            status: None,
            paused: false,
            disabled: false,
            quarantined: false,
            attempt: 1,
            attempts: 3,
            since: 1,
            last_run: 1,
            next_run: 0,
            valid_until: 0,
            hold_until: 0,
            latency_ns: 0,
            fault: None,
            message: "".into(),
        }
    }

    fn picture(rows: Vec<Row>) -> Picture {
        Picture {
            rows,
            ..Picture::default()
        }
    }

    fn names(picture: &Picture, query: &str) -> Vec<String> {
        let view = view(picture, &ChosenLabels::new(), &Asked::read(query), 0);
        let name = |at: &usize| picture.rows[*at].name.to_string();
        view.rows.iter().map(name).collect()
    }

    #[test]
    fn problems_come_first_and_the_filter_knows_verdicts() {
        let picture = picture(vec![
            row("web/a", Verdict::Ok),
            row("web/b", Verdict::Warning),
            row("db/c", Verdict::Critical),
            row("", Verdict::Ok),
        ]);
        assert_eq!(names(&picture, ""), ["db/c", "web/b", "web/a"]);
        assert_eq!(names(&picture, "show=problems"), ["db/c", "web/b"]);
        assert_eq!(names(&picture, "q=web/*"), ["web/b", "web/a"]);
        assert_eq!(names(&picture, "q=!verdict%3Dok+web/*"), ["web/b"]);
        assert_eq!(names(&picture, "q=plugin%3Dtcp"), [""; 0]);
        let labels = ChosenLabels::new();
        let wrong = view(&picture, &labels, &Asked::read("q=verdict!%3Dok"), 0).wrong;
        assert!(wrong.is_some_and(|(_, help)| help.contains("!verdict=ok")));
        let groups = view(&picture, &labels, &Asked::default(), 0).groups;
        let found: Vec<(&str, &str)> = groups.iter().map(|g| (&*g.name, &*g.link)).collect();
        assert_eq!(
            found,
            [
                ("db", "/?q=db/%2A&show=all"),
                ("web", "/?q=web/%2A&show=all")
            ]
        );
    }

    #[test]
    fn what_lies_behind_another_one_is_counted_by_it() {
        let mut rows: Vec<Row> = (0..4).map(|n| row(&format!("c{n}"), Verdict::Ok)).collect();
        let behind = Some(Fault::Dependency);
        rows[..3].iter_mut().for_each(|row| row.fault = behind);
        rows[0].message = "self:uplink: `line`, which it needs, is critical: cut".into();
        rows[1].message =
            "self:uplink: `c0`, which it needs, lies behind `line`, which is critical: cut".into();
        rows[2].message = "self:uplink: `other`, which it needs, is unknown: x".into();
        rows[3].message = "self:uplink: `line`, as a script says it".into();
        let view = view(&picture(rows), &ChosenLabels::new(), &Asked::default(), 0);
        let wanted = [("line".to_owned(), 2), ("other".to_owned(), 1)];
        assert_eq!(view.behind, wanted);
    }

    #[test]
    fn many_checks_are_paged_and_only_problems_show_by_themselves() {
        let name = |n: usize| format!("c{n:04}");
        let rows = (0..250).map(|n| row(&name(n), Verdict::Ok)).collect();
        let mut picture = picture(rows);
        picture.rows[200].verdict = Some(Verdict::Critical);
        assert_eq!(names(&picture, ""), ["c0200"]);
        let last = names(&picture, "show=all&page=3");
        assert_eq!((last.len(), last[49].as_str()), (50, "c0249"));
        // What is beyond the end is the last page.
        assert_eq!(names(&picture, "show=all&page=99").len(), 50);
    }
}
