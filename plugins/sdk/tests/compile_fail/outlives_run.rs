//! A `Cx` dies with its run.
use healthd_plugin::{BlockingCheck, Cx, Status};
use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Option<Cx<'static>>> = const { Cell::new(None) };
}

struct Example;

impl BlockingCheck for Example {
    type Options = ();
    fn create(_: (), _: Cx<'_>) -> Result<Self, String> {
        Ok(Example)
    }
    fn run(&self, cx: Cx<'_>) -> Status {
        KEPT.set(Some(cx));
        Status::Ok
    }
}

fn main() {}
