//! `--replay CONFIG`, for `healthctl alerts replay`: what the routes of a config would have sent, had it been in force while
//! verdicts flipped as standard input says. Nothing is sent.

use crate::refusal::{self, exit};
use healthd_alerts::{Config, Flip, Standing, replay};
use healthd_catalog::Shelf;
use healthd_core::check::outcome::Verdict;
use healthd_core::config::CheckSpec;
use nix::unistd::getuid;
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Times are CLOCK_REALTIME in ns.
#[derive(Deserialize)]
struct Asked {
    flips: Vec<AskedFlip>,
    until: u64,
}

#[derive(Deserialize)]
struct AskedFlip {
    at: u64,
    name: String,
    was: Verdict,
    /// None: the check was removed.
    verdict: Option<Verdict>,
    #[serde(default)]
    message: String,
}

pub fn run(config: &Path) -> i32 {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    let asked: Asked = match read
        .map_err(|e| e.to_string())
        .and_then(|_| serde_json::from_str(&text).map_err(|e| e.to_string()))
    {
        Ok(asked) => asked,
        Err(e) => {
            eprintln!("healthd: --replay: what it is to replay cannot be read: {e}");
            return exit::SYSTEM;
        }
    };
    let owners = healthd_catalog::owners(getuid().as_raw());
    let model = match healthd_catalog::load(config, &owners, &mut Shelf::default()) {
        Ok(loaded) => loaded.model,
        Err(mistakes) => {
            refusal::print(&mistakes);
            return exit::BAD_CONFIG;
        }
    };
    let rules = Config::of_model(&model.alerts).unwrap_or_default();
    let checks: HashMap<&str, &CheckSpec> =
        model.checks.iter().map(|c| (c.name.as_str(), c)).collect();
    let flips: Vec<Flip> = asked
        .flips
        .into_iter()
        .filter_map(|flip| Some(flip_of(checks.get(flip.name.as_str())?, flip)))
        .collect();
    let sent = replay(&flips, rules, asked.until);
    let sent: Vec<serde_json::Value> = sent
        .iter()
        .map(|s| {
            serde_json::json!({
                "at": s.at,
                "route": &*s.route,
                "kind": s.kind.as_str(),
                "notice": s.notice.to_string(),
                "checks": s.checks,
            })
        })
        .collect();
    println!(
        "{}",
        serde_json::json!({ "flips": flips.len(), "sent": sent })
    );
    exit::OK
}

fn flip_of(spec: &CheckSpec, flip: AskedFlip) -> Flip {
    let standing = flip.verdict.map(|verdict| Standing {
        verdict,
        was: flip.was,
        message: flip.message,
        since: flip.at,
        labels: Arc::new(spec.labels.clone()),
        behind: None,
        flap: spec.alerts.flap,
    });
    Flip {
        at: flip.at,
        name: flip.name,
        standing,
    }
}
