//! schemathesis asks the running API whatever its description allows, and much that it forbids: no answer is an error of
//! ours, and each is as described.

use super::{bad, good, stop, token};
use crate::harness::http::address;
use crate::harness::{Config, check, skipped};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn whatever_the_description_allows_or_forbids_finds_no_fault() {
    // `tests/run` brings it.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis");
    if !folder.join("bin/schemathesis").exists() {
        return skipped("schemathesis is missing: `tests/run` brings it");
    }
    let route = "plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:9/\" }";
    let daemon = token(Config::new())
        .section("history", "")
        .notify(route)
        .check(good("web/a").set("labels", "{ team = \"x\" }"))
        .check(bad("db/b"))
        .check(check("rare").script("echo fine").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let at = address(&daemon);
    daemon.watch(&["db/b"]).until_verdict("db/b", "critical");
    // A manager that has no time for 5 s, on a machine that does other things, is told as such.
    let config =
        "[checks]\nnot_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"503\"]\n";
    std::fs::write(daemon.dir().join("schemathesis.toml"), config).expect("our own directory");
    let mut tool = Command::new("python3");
    tool.arg(folder.join("bin/schemathesis"))
        .args(["run", &format!("http://{at}/v1/openapi.json")])
        .args(["--header", "Authorization: Bearer s3cret"])
        // The same each time, and enough for each of its kinds of requests.
        .args(["--seed", "1", "--max-examples", "15", "--workers", "1"])
        .args(["--request-timeout", "60", "--no-color"])
        .args(["--suppress-health-check", "all"])
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(daemon.dir())
        .stdin(Stdio::null());
    let done = tool.output().expect("python3 is there");
    let said = String::from_utf8_lossy(&done.stdout);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{error}");
    stop(daemon);
}
