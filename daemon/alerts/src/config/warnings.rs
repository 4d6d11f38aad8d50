//! What is allowed, and would be found out in the night when nobody was told.

use super::Around;
use super::notify::Places;
use crate::route::Config;
use healthd_core::config::reading::Reading;
use healthd_core::config::report::warning;
use healthd_core::config::thousands;

pub fn warn(config: &Config, places: &[Places], around: &Around<'_>, cx: &mut Reading<'_>) {
    if config.routes.is_empty() {
        return;
    }
    let told = |name: &str, labels| {
        let mut routes = config.routes.iter().filter(|route| route.enabled);
        routes.any(|route| route.matches.fits(name, labels))
    };
    let alone = (around.checks.iter()).filter(|(name, labels)| !told(name, labels));
    let names: Vec<&str> = alone.map(|(name, _)| *name).collect();
    if !names.is_empty() {
        let shown: Vec<String> = names
            .iter()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect();
        let more = match names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(" and {} more", thousands(n as u128)),
        };
        let what = match names.len() {
            1 => "1 check alerts nobody".to_owned(),
            n => format!("{} checks alert nobody", thousands(n as u128)),
        };
        let w = warning(format!("{what}: {}{more}", shown.join(", ")));
        cx.push(
            w.help("no `match` of an enabled route fits; a route without `match` takes everything"),
        );
    }
    for (route, places) in config.routes.iter().zip(places) {
        if let Some(span) = places
            .after
            .filter(|_| !route.after.is_zero() && route.backup.is_none())
        {
            let w = warning(format!("nobody backs up {}", places.label));
            let help = "what comes late is what matters: name a route that is told if this one fails, as in `backup = \"mail\"`";
            cx.push(w.at(span).help(help));
        }
        let stands_in = config
            .routes
            .iter()
            .any(|r| r.backup.as_ref() == Some(&route.name));
        if stands_in && !route.enabled {
            let w = warning(format!("{} is a backup, and not enabled", places.label));
            cx.push(
                w.at(places.block)
                    .help("a backup is told all the same; leave `enabled` out"),
            );
        }
    }
}

/// So many names are written out.
const SHOWN: usize = 5;
