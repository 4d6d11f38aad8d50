//! Against real trees and manifests that the real `sha256sum` made.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, MockPlugin, Outcome};
use healthd_plugin::serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn plugin() -> MockPlugin {
    MockHost::new(hd_plugin_v1).plugin("digest")
}

/// A tree of this test alone, gone with it.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Tree {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "healthd-digest-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("deep/er")).expect("our own folder");
        let tree = Tree(root);
        for (name, text) in [
            ("plain", "one"),
            ("with space", "two"),
            ("back\\slash", "three"),
            ("new\nline", "four"),
            ("empty", ""),
            ("deep/er/file", "five"),
        ] {
            tree.write(name, text);
        }
        for i in 0..200 {
            tree.write(&format!("deep/{i}"), &"x".repeat(i * 97));
        }
        tree
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("our own folder");
    }

    /// What the real program says, of every file, with these arguments.
    fn sum(&self, args: &str) -> PathBuf {
        let script =
            format!("find . -type f ! -name SUMS -print0 | xargs -0 sha256sum {args} > SUMS");
        let done = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&self.0)
            .status();
        assert!(done.expect("sh and sha256sum run").success());
        self.0.join("SUMS")
    }

    fn run(&self, more: Value) -> Outcome {
        let mut options = json!({ "manifest": self.0.join("SUMS") });
        for (key, value) in more.as_object().into_iter().flatten() {
            options[key] = value.clone();
        }
        let check = plugin().create(options.to_string());
        check
            .unwrap_or_else(|e| panic!("{options}: {e}"))
            .run(Duration::from_secs(60))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_page_names_every_option() {
    plugin().assert_documented(include_str!("../README.md"));
}

#[test]
fn what_sha256sum_wrote_matches_in_all_its_forms() {
    let tree = Tree::new();
    for args in ["", "--binary", "--tag"] {
        tree.sum(args);
        let outcome = tree.run(json!({ "extra": "crit" }));
        assert_eq!(outcome.status, Status::Ok, "{args}: {outcome:?}");
        assert!(
            outcome.message.starts_with("206 of 206 files match"),
            "{}",
            outcome.message
        );
        assert_eq!(outcome.metric("matched").value, 206.0);
    }
}

#[test]
fn changed_missing_and_extra_are_told() {
    let tree = Tree::new();
    tree.sum("");
    tree.write("plain", "One");
    tree.write("new\nline", "changed");
    fs::remove_file(tree.0.join("deep/er/file")).expect("it is there");
    tree.write("deep/more", "");
    let outcome = tree.run(json!({}));
    assert_eq!(outcome.status, Status::Critical);
    for part in [
        "2 changed (",
        "plain",
        "new\\nline",
        "1 missing (deep/er/file)",
        "203 of 206 files match",
    ] {
        assert!(
            outcome.message.contains(part),
            "{part}: {}",
            outcome.message
        );
    }
    assert!(!outcome.message.contains("extra"), "{}", outcome.message);
    for (extra, status) in [("warn", Status::Warn), ("crit", Status::Critical)] {
        let fresh = Tree::new();
        fresh.sum("");
        fresh.write("deep/more", "");
        let outcome = fresh.run(json!({ "extra": extra }));
        assert_eq!(outcome.status, status, "{outcome:?}");
        assert!(
            outcome.message.starts_with("1 extra (deep/more), 206 of"),
            "{}",
            outcome.message
        );
        let outcome = fresh.run(json!({ "extra": extra, "exclude": ["deep/mor?"] }));
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }
    for i in 0..200 {
        tree.write(&format!("deep/{i}"), "!");
    }
    let outcome = tree.run(json!({ "exclude": ["plain", "deep/er"] }));
    assert!(
        outcome.message.contains("201 changed ("),
        "{}",
        outcome.message
    );
    assert!(
        outcome.detail.contains("  and 101 more"),
        "{}",
        outcome.detail
    );
}

#[test]
fn links_and_other_things_in_the_place_of_a_file() {
    let tree = Tree::new();
    tree.sum("");
    let plain = tree.0.join("plain");
    fs::rename(&plain, tree.0.join("moved")).expect("our own");
    symlink("moved", &plain).expect("our own");
    let outcome = tree.run(json!({}));
    assert_eq!(outcome.status, Status::Critical);
    assert!(
        outcome.message.contains("plain: a symbolic link"),
        "{}",
        outcome.message
    );
    assert_eq!(tree.run(json!({ "follow": true })).status, Status::Ok);
    // Links in a circle come to an end.
    symlink("..", tree.0.join("deep/up")).expect("our own");
    let outcome = tree.run(json!({ "follow": true, "extra": "warn" }));
    assert_ne!(outcome.status, Status::Critical, "{outcome:?}");
    fs::remove_file(&plain).expect("our own");
    fs::create_dir(&plain).expect("our own");
    let outcome = tree.run(json!({}));
    assert!(
        outcome.message.contains("plain: no regular file"),
        "{}",
        outcome.message
    );
}

#[test]
fn manifests_that_say_little() {
    let tree = Tree::new();
    let outcome = tree.run(json!({}));
    assert_eq!(outcome.status, Status::Unknown);
    assert!(
        outcome.message.contains("SUMS: no such file"),
        "{}",
        outcome.message
    );
    tree.write("SUMS", "# nothing\n");
    assert_eq!(tree.run(json!({})).status, Status::Unknown);
    tree.sum("");
    let mut text = fs::read_to_string(tree.0.join("SUMS")).expect("it was written");
    text += "what is this\n";
    tree.write("SUMS", &text);
    let outcome = tree.run(json!({}));
    assert_eq!(outcome.status, Status::Unknown);
    assert!(
        outcome
            .message
            .contains("1 lines of the manifest are not sha256sum's (the first is 207)"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_root_of_its_own() {
    let tree = Tree::new();
    let sums = tree.sum("");
    let elsewhere =
        std::env::temp_dir().join(format!("healthd-digest-sums-{}", std::process::id()));
    fs::rename(&sums, &elsewhere).expect("the same file system");
    let options = json!({ "manifest": elsewhere, "root": tree.0, "extra": "crit" });
    let check = plugin().create(options.to_string()).expect("good options");
    let outcome = check.run(Duration::from_secs(60));
    fs::remove_file(&elsewhere).expect("our own");
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    assert!(Path::new(&tree.0).exists());
}
