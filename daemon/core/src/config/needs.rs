//! `needs`: the checks that must be ok for another's problems to be believed, as an uplink for what lies behind it:
//! one by its name, or those that fit a `match`. They exist, they may need others in turn, and nobody needs itself that
//! way.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use super::model::CheckSpec;
use super::raw::{Node, Value, shortened};
use super::reading::Reading;
use super::report::{Finding, error, warning};
use super::source::Span;
use super::words::did_you_mean;
use crate::matching::Match;

/// So many checks one behind the other, the last that is needed not counted.
pub const DEEPEST: usize = 8;
/// A check needs so many at most: each is asked before a problem of it is believed.
const MOST: usize = 16;

/// Where a check's `needs` is written.
#[derive(Clone, Copy, Debug)]
pub enum Written {
    Check(Span),
    /// In the defaults, a template or a host: for many.
    Defaults(Span),
}

/// As it is written: no list, as other tools have one.
pub fn text(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<String> {
    let Value::Array(items) = &node.value else {
        return cx.text("needs", node, owner);
    };
    let e = error(format!("`needs` of {owner} is one text, and no list"));
    let help = match items.as_slice() {
        [
            Node {
                value: Value::Str(only),
                ..
            },
        ] => format!("write `needs = {:?}`", shortened(only)),
        _ => {
            "give those that are needed a label, and name it: `needs = \"role=uplink\"`".to_owned()
        }
    };
    cx.push(e.at(node.span).code("wrong-type").help(help).once("needs"));
    None
}

/// Puts the names of checks in place of what is written. `list`: places in `checks` of those that need others, and where
/// that is written. `lost`: names of checks with a mistake, which are there all the same.
pub fn resolve<'l>(
    checks: &mut [CheckSpec],
    list: &[(usize, Written)],
    lost: impl Iterator<Item = &'l str>,
    cx: &mut Reading<'_>,
) {
    if list.is_empty() {
        return;
    }
    let mut needs: HashMap<usize, Vec<usize>> = HashMap::with_capacity(list.len());
    let known = Known {
        by_name: checks
            .iter()
            .enumerate()
            .map(|(i, c)| (c.name.as_str(), i))
            .collect(),
        lost: lost.collect(),
        checks,
    };
    let mut texts = Texts::default();
    let own = |(_, written): &&(usize, Written)| matches!(written, Written::Check(_));
    for (i, written) in list.iter().filter(own) {
        let meant = known.meant(*i, *written, &mut texts, cx);
        needs.insert(*i, meant);
    }
    refuse_circles(&needs, list, known.checks, cx);
    // What is written for many is also written for those that the others need: it holds where it makes no circle.
    for (i, written) in list.iter().filter(|entry| !own(entry)) {
        let mut meant = known.meant(*i, *written, &mut texts, cx);
        meant.retain(|needed| !leads_to(*needed, *i, &needs));
        needs.insert(*i, meant);
    }
    refuse_depth(&needs, list, known.checks, cx);
    let names: Vec<(usize, Vec<String>)> = needs
        .into_iter()
        .map(|(i, needs)| (i, needs.iter().map(|n| checks[*n].name.clone()).collect()))
        .collect();
    for (i, names) in names {
        checks[i].needs = names;
    }
}

struct Known<'c> {
    checks: &'c [CheckSpec],
    by_name: HashMap<&'c str, usize>,
    lost: HashSet<&'c str>,
}

/// What a text means is asked once, and what is disabled said once.
#[derive(Default)]
struct Texts {
    fits: HashMap<String, Vec<usize>>,
    disabled: HashSet<usize>,
}

impl Known<'_> {
    /// The checks that this one needs; what is wrong is reported.
    fn meant(
        &self,
        i: usize,
        written: Written,
        texts: &mut Texts,
        cx: &mut Reading<'_>,
    ) -> Vec<usize> {
        let check = &self.checks[i];
        let Some(text) = check.needs.first() else {
            return Vec::new();
        };
        let (span, is_own) = match written {
            Written::Check(span) => (span, true),
            Written::Defaults(span) => (span, false),
        };
        let finding = match self.by_name.get(text.as_str()) {
            Some(needed) if *needed == i && is_own => {
                error(format!("check `{}` needs itself", check.name))
                    .help("name the check that watches the way to its target")
            }
            // Meant for the others.
            Some(needed) if *needed == i => return Vec::new(),
            Some(needed) => {
                if is_own && !self.checks[*needed].enabled && texts.disabled.insert(*needed) {
                    let w = warning(format!(
                        "check `{}` needs `{text}`, which is disabled",
                        check.name
                    ));
                    let help = "a check that does not run says nothing about others";
                    cx.push(w.at(span).code("needs").help(help));
                }
                return vec![*needed];
            }
            None if self.lost.contains(text.as_str()) => return Vec::new(),
            None if Match::is_meant(text) => match self.fitting(i, text, texts) {
                Ok(fitting) => return fitting,
                Err(finding) => *finding,
            },
            None => self.no_such(text, check, is_own),
        };
        let once = if is_own { "needed" } else { "default needs" };
        cx.push(finding.at(span).code("needs").once(once));
        Vec::new()
    }

    /// Those that fit a `match`, without the check itself.
    fn fitting(&self, i: usize, text: &str, texts: &mut Texts) -> Result<Vec<usize>, Box<Finding>> {
        let check = &self.checks[i];
        if !texts.fits.contains_key(text) {
            let matches = Match::parse(text).map_err(|wrong| {
                let e = error(format!("`needs` of check `{}` {wrong}", check.name));
                Box::new(e.help(wrong.help))
            })?;
            let is_run = |c: &CheckSpec| c.enabled && c.probe.is_none();
            let enabled = self.checks.iter().enumerate().filter(|(_, c)| is_run(c));
            let fitting = enabled.filter(|(_, c)| matches.fits(&c.name, &c.labels));
            let fitting = fitting.map(|(n, _)| n).take(MOST + 2).collect();
            texts.fits.insert(text.to_owned(), fitting);
        }
        let all = &texts.fits[text];
        let others: Vec<usize> = all.iter().copied().filter(|n| *n != i).collect();
        let text = shortened(text);
        if all.is_empty() {
            let e = error(format!(
                "check `{}` needs `{text}`, which fits no check",
                check.name
            ));
            return Err(e
                .help("names and labels are shown by `healthctl list`")
                .into());
        }
        if others.len() > MOST {
            let e = error(format!(
                "check `{}` needs `{text}`, which fits more than {MOST} checks",
                check.name
            ));
            let help = "each of them must be ok: name those that watch the way to its target";
            return Err(e.help(help).into());
        }
        Ok(others)
    }

    fn no_such(&self, text: &str, check: &CheckSpec, is_own: bool) -> Finding {
        let e = match is_own {
            true => error(format!(
                "check `{}` needs a check `{}` that is not there",
                check.name,
                shortened(text)
            )),
            false => error(format!(
                "`needs` names a check `{}` that is not there",
                shortened(text)
            )),
        };
        // Itself is the one that it cannot need.
        let others = self.by_name.keys().copied();
        match did_you_mean(text, others.filter(|other| !is_own || *other != check.name)) {
            Some(near) => e.help(format!("a check with a similar name exists: `{near}`")),
            None => e.help(
                "write the name of another check, as in `healthctl list`, or a label of some, as in `role=uplink`",
            ),
        }
    }
}

/// Whether `from` is `to`, or needs it, at however many steps.
fn leads_to(from: usize, to: usize, needs: &HashMap<usize, Vec<usize>>) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            open.extend(needs.get(&at).into_iter().flatten());
        }
    }
    false
}

/// Takes the last step of each circle away, and names the circle.
fn refuse_circles(
    needs: &HashMap<usize, Vec<usize>>,
    list: &[(usize, Written)],
    checks: &[CheckSpec],
    cx: &mut Reading<'_>,
) {
    let spans: HashMap<usize, Span> = list.iter().map(|(i, w)| (*i, w.span())).collect();
    let mut done: HashSet<usize> = HashSet::new();
    for (start, _) in list {
        // The way that we are on, each with the number of its next step.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if needs.contains_key(start) && !done.contains(start) {
            way.push((*start, 0));
        }
        while let Some((at, step)) = way.last_mut() {
            let next = needs.get(at).and_then(|n| n.get(*step)).copied();
            *step += 1;
            let Some(next) = next else {
                done.insert(*at);
                way.pop();
                continue;
            };
            if let Some(first) = way.iter().position(|(at, _)| *at == next) {
                let circle = way[first..].iter().map(|(at, _)| *at).chain([next]);
                let e = error(format!(
                    "`needs` goes round in a circle: {}",
                    path(circle, checks)
                ));
                let help = "what is needed is what lies nearer: leave one of these out";
                let e = e.help(help).code("needs").once("circle");
                cx.push(match spans.get(&way[first].0) {
                    Some(span) => e.at(*span),
                    None => e,
                });
            } else if !done.contains(&next) {
                way.push((next, 0));
            }
        }
    }
}

/// A chain that is too long is named; there are no circles any more, or they are reported.
fn refuse_depth(
    needs: &HashMap<usize, Vec<usize>>,
    list: &[(usize, Written)],
    checks: &[CheckSpec],
    cx: &mut Reading<'_>,
) {
    let mut depths: HashMap<usize, usize> = HashMap::new();
    for (start, written) in list {
        let Some(way) = too_deep(*start, needs, &mut depths) else {
            continue;
        };
        let e = error(format!(
            "check `{}` has more than {DEEPEST} others before it: {}",
            checks[*start].name,
            path(way.into_iter(), checks)
        ));
        let help = "name what lies nearer to this machine";
        cx.push(
            e.at(written.span())
                .help(help)
                .code("needs")
                .once("needs depth"),
        );
        return;
    }
}

/// The longest way from here, if it is too long. `depths`: how many there are before each that was looked at.
fn too_deep(
    start: usize,
    needs: &HashMap<usize, Vec<usize>>,
    depths: &mut HashMap<usize, usize>,
) -> Option<Vec<usize>> {
    let next = |at: usize| needs.get(&at).map_or(&[][..], Vec::as_slice);
    let mut way = vec![(start, 0)];
    while let Some((at, step)) = way.last_mut() {
        let at = *at;
        if depths.contains_key(&at) {
            way.pop();
        } else if let Some(further) = next(at).get(*step).copied() {
            *step += 1;
            if way.iter().all(|(on, _)| *on != further) {
                way.push((further, 0));
            }
        } else {
            let before = next(at).iter().filter_map(|n| depths.get(n));
            let depth = before.max().map_or(0, |d| d + 1);
            depths.insert(at, depth);
            way.pop();
        }
    }
    if depths.get(&start).is_none_or(|depth| *depth <= DEEPEST) {
        return None;
    }
    let mut longest = vec![start];
    while let Some(at) = longest.last()
        && let Some(deepest) = next(*at)
            .iter()
            .filter(|n| !longest.contains(n))
            .max_by_key(|n| depths.get(n))
    {
        longest.push(*deepest);
    }
    Some(longest)
}

fn path(way: impl Iterator<Item = usize>, checks: &[CheckSpec]) -> String {
    let mut names: Vec<String> = way.map(|i| format!("`{}`", checks[i].name)).collect();
    if names.len() > 2 * SHOWN {
        let end = names.len() - SHOWN;
        names.splice(SHOWN..end, ["...".to_owned()]);
    }
    names.join(" needs ")
}

const SHOWN: usize = 6;

impl Written {
    fn span(self) -> Span {
        match self {
            Written::Check(span) | Written::Defaults(span) => span,
        }
    }
}
