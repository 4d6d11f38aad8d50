//! The host takes results only on the thread that runs the check.
use healthd_plugin::{BlockingCheck, Cx, Status};

struct Example;

impl BlockingCheck for Example {
    type Options = ();
    fn create(_: (), _: Cx<'_>) -> Result<Self, String> {
        Ok(Example)
    }
    fn run(&self, cx: Cx<'_>) -> Status {
        std::thread::scope(|s| {
            s.spawn(|| cx.message("from elsewhere"));
        });
        Status::Ok
    }
}

fn main() {}
