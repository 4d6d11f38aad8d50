//! A plugin that kills its worker: its own check is named, and nobody else's suffers.

use crate::harness::plugins;
use crate::harness::site::{Site, check};

#[test]
fn hello() {
    let mut d = Site::with(&["echo"]).start(&check("a", "echo", "interval = \"1s\""));
    println!("{}", d.run("a"));
    d.stop();
    println!("{}", d.log());
    let _ = plugins::panics;
}
