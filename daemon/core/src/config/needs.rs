//! `needs`: the check that must be ok for another's problems to be believed, as an uplink for what lies
//! behind it. It exists, it is another check, and it needs none itself.

use std::collections::{HashMap, HashSet};

use super::model::CheckSpec;
use super::raw::shortened;
use super::reading::Reading;
use super::report::{error, warning};
use super::source::Span;
use super::words::did_you_mean;

/// Where a check's `needs` is written.
#[derive(Clone, Copy, Debug)]
pub enum Written {
    Check(Span),
    /// In the defaults, a template or a host: for many.
    Defaults(Span),
}

/// `list`: places in `checks` of those that need another, and where that is written. `lost`: names of checks with a mistake, which are there all the same.
pub fn resolve<'l>(
    checks: &mut [CheckSpec],
    list: &[(usize, Written)],
    lost: impl Iterator<Item = &'l str>,
    cx: &mut Reading<'_>,
) {
    let lost: HashSet<&str> = lost.collect();
    let by_name: HashMap<&str, usize> = checks
        .iter()
        .enumerate()
        .map(|(i, c)| (c.name.as_str(), i))
        .collect();
    let needed: HashSet<String> = list
        .iter()
        .filter(|(i, _)| checks[*i].needs.as_ref() != Some(&checks[*i].name))
        .filter_map(|(i, _)| checks[*i].needs.clone())
        .collect();
    let mut free = Vec::new();
    let mut disabled: HashSet<&str> = HashSet::new();
    for (i, written) in list {
        let check = &checks[*i];
        let Some(needs) = &check.needs else { continue };
        // They speak of all checks, and so also of the one that the others need.
        let span = match written {
            Written::Check(span) => span,
            Written::Defaults(span) => {
                if needs == &check.name || needed.contains(&check.name) {
                    free.push(*i);
                } else if !by_name.contains_key(needs.as_str()) && !lost.contains(needs.as_str()) {
                    let e = error(format!(
                        "`needs` names a check `{}` that is not there",
                        shortened(needs)
                    ));
                    cx.push(
                        no_such(e, needs, &by_name, &check.name)
                            .at(*span)
                            .code("needs")
                            .once("default needs"),
                    );
                }
                continue;
            }
        };
        let finding = if needs == &check.name {
            error(format!("check `{}` needs itself", check.name))
                .help("name the check that watches the way to its target")
        } else if needed.contains(&check.name) {
            error(format!(
                "check `{}` needs `{}`, and others need it in turn",
                check.name,
                shortened(needs)
            ))
            .help("only one step is possible: let the others need that one")
        } else if let Some(at) = by_name.get(needs.as_str()) {
            if !checks[*at].enabled && disabled.insert(needs) {
                let w = warning(format!(
                    "check `{}` needs `{needs}`, which is disabled",
                    check.name
                ));
                cx.push(
                    w.at(*span)
                        .code("needs")
                        .help("a check that does not run says nothing about others"),
                );
            }
            continue;
        } else if lost.contains(needs.as_str()) {
            continue;
        } else {
            let e = error(format!(
                "check `{}` needs a check `{}` that is not there",
                check.name,
                shortened(needs)
            ));
            no_such(e, needs, &by_name, &check.name)
        };
        cx.push(finding.at(*span).code("needs").once("needed"));
    }
    for i in free {
        checks[i].needs = None;
    }
}

fn no_such(
    e: super::report::Finding,
    name: &str,
    by_name: &HashMap<&str, usize>,
    own: &str,
) -> super::report::Finding {
    // Itself is the one that it cannot need.
    let others = by_name.keys().copied().filter(|other| *other != own);
    match did_you_mean(name, others) {
        Some(near) => e.help(format!("a check with a similar name exists: `{near}`")),
        None => e.help("write the name of another check, as in `healthctl list`"),
    }
}
