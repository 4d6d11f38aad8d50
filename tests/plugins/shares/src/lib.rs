//! `shares` and `shares_step`: what the SDK offers of maps and locks, in both lanes, for runs in several workers.
//!
//! `add`: under a lock reads a number from a map and puts back the next one: without the lock some would be lost. Then
//! it appends its check's name to a list. `list`: says how many names are in the list, and of how many checks. `clear`.

#![forbid(unsafe_code)]

use healthd_plugin::{BlockingCheck, Check, Cx, Status, options, plugins};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

options! {
    /// What to do.
    pub struct Options {
        /// add, list or clear
        what: String,
    }
}

const LONG: Duration = Duration::from_secs(60);

/// Both lanes say and do the same; they differ in how they wait.
macro_rules! share {
    ($cx:ident, $what:expr, $lock:expr, $ask:ident $(, $await:tt)*) => {{
        // The lock is the plugin's own, and so is the number; both plugins share the list.
        let (numbers, names) = ($cx.shared_map("numbers"), $cx.shared_map_of_all("names"));
        match $what {
            "add" => {
                let lock = $lock?;
                let before = numbers.get("n").$ask()$(.$await)*?;
                let before = before.and_then(|e| String::from_utf8(e.value).ok()?.parse().ok());
                let next = before.unwrap_or(0_u64) + 1;
                numbers.set("n", next.to_string().as_bytes()).$ask()$(.$await)*?;
                drop(lock);
                names.append($cx.check_name().as_bytes()).ttl(LONG * 60).$ask()$(.$await)*?;
                Ok(next.to_string())
            }
            "list" => {
                let all = names.snapshot().$ask()$(.$await)*?;
                let checks: BTreeSet<&Vec<u8>> = all.iter().map(|(_, name)| name).collect();
                Ok(format!("{} of {}", all.len(), checks.len()))
            }
            _ => {
                numbers.clear().$ask()$(.$await)*?;
                names.clear().$ask()$(.$await)*?;
                Ok(String::new())
            }
        }
    }};
}

fn told(cx: Cx<'_>, done: io::Result<String>) -> Status {
    match done {
        Ok(text) => cx.ok(text),
        Err(e) => cx.fail("share", &e),
    }
}

struct Run(Options);

impl BlockingCheck for Run {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Run(options))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let share = || {
            share!(
                cx,
                self.0.what.as_str(),
                cx.lock_blocking(&["n"], LONG),
                block
            )
        };
        told(cx, share())
    }
}

struct Step(Options);

impl Check for Step {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Step(options))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let share = async {
            share!(
                cx,
                self.0.what.as_str(),
                cx.lock(&["n"], LONG).await,
                wait,
                await
            )
        };
        told(cx, share.await)
    }
}

plugins! {
    run Run { name: "shares", summary: "shares in the run lane" }
    step Step { name: "shares_step", summary: "shares in the step lane" }
}
