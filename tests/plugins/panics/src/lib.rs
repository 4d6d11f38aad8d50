//! `panics` and `panics_step`: panic where their option `at` says (`create`, `run`, `step`), and behave otherwise.

#![forbid(unsafe_code)]

use healthd_plugin::{BlockingCheck, Check, Cx, Status, options, plugins};
use std::time::Duration;

options! {
    /// Where to panic.
    pub struct Options {
        /// create, run, step or never
        at: String = "never".into(),
        /// Only while this file is there.
        if_file: String = String::new(),
    }
}

fn panic_at(options: &Options, here: &str) {
    let wanted = options.if_file.is_empty() || std::path::Path::new(&options.if_file).exists();
    assert!(
        options.at != here || !wanted,
        "the plugin panics in {here} on purpose"
    );
}

struct Run(Options);

impl BlockingCheck for Run {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        panic_at(&options, "create");
        Ok(Run(options))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        panic_at(&self.0, "run");
        cx.ok("no panic")
    }
}

struct Step(Options);

impl Check for Step {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        panic_at(&options, "create");
        Ok(Step(options))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        panic_at(&self.0, "run");
        cx.sleep(Duration::from_millis(1)).await;
        panic_at(&self.0, "step");
        cx.ok("no panic")
    }
}

plugins! {
    run Run { name: "panics", summary: "panics on purpose" }
    step Step { name: "panics_step", summary: "panics on purpose" }
}
