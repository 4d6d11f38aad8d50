//! Who writes a plugin by the letter of plugins/README.md has one that runs: its files are pasted, its commands typed,
//! in each of the four languages, and one daemon runs what came out.

use crate::harness::ctl::say;
use crate::harness::{Config, TempDir, check, skipped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A section, the files that are pasted (the language of the block, where it goes), what it leaves, and what the
/// program that builds it is called.
struct Walk {
    section: &'static str,
    files: &'static [(&'static str, &'static str)],
    library: &'static str,
    plugin: &'static str,
    config: &'static str,
    needs: &'static str,
}

const WALKS: [Walk; 4] = [
    Walk {
        section: "In Rust",
        files: &[("toml", "memory/Cargo.toml"), ("rust", "memory/src/lib.rs")],
        library: "memory/target/release/libmemory_left.so",
        plugin: "memory_left",
        config: "{ crit = 0.1 }",
        needs: "cargo",
    },
    Walk {
        section: "In C",
        files: &[("c", "file_there.c")],
        library: "libfile_there.so",
        plugin: "file_there",
        config: "{ path = \"/etc/passwd\" }",
        needs: "cc",
    },
    Walk {
        section: "In C++",
        files: &[("cpp", "settings.cc")],
        library: "libsettings.so",
        plugin: "settings",
        config: "{}",
        needs: "c++",
    },
    Walk {
        section: "In Go",
        files: &[("c", "gocheck/plugin.c"), ("go", "gocheck/check.go")],
        library: "libgoroot.so",
        plugin: "goroot",
        config: "{}",
        needs: "go",
    },
];

#[test]
fn the_readme_makes_a_plugin_in_each_language() {
    let dir = beside_a_clone();
    let mut config = Config::new().pool("io", "workers = 1");
    let mut made = Vec::new();
    for walk in WALKS.iter().filter(|w| w.can_be_built()) {
        let file = follow(walk, &readme(), dir.path());
        config = config.plugin_file(file).check(
            check(walk.plugin)
                .plugin(walk.plugin)
                .interval("1h")
                .set("config", walk.config),
        );
        made.push(walk.plugin);
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for plugin in made {
        let row = daemon.run(plugin);
        assert_eq!(row["status"], "ok", "{row}");
        assert_ne!(row["message"], "", "{row}");
    }
}

/// Its collector stops a goroutine that never pauses by SIGURG, and `recover` from a nil pointer stands on SIGSEGV.
#[test]
fn go_keeps_the_signals_that_its_runtime_needs() {
    let walk = WALKS.last().expect("Go is the last");
    if !walk.can_be_built() {
        return;
    }
    let line = "entries, err := os.ReadDir(\"/\")";
    let odd = "go func() { for { } }()\n\truntime.GC()\n\tvar nothing *int\n\t*nothing = 1";
    let readme = readme()
        .replace(line, &format!("{odd}\n\t{line}"))
        .replace("import (\n", "import (\n\t\"runtime\"\n")
        // There the commands try what is made: this one is not well.
        .replace(
            "healthctl try ./libgoroot.so",
            "! healthctl try ./libgoroot.so",
        );
    let dir = beside_a_clone();
    let daemon = Config::new()
        .pool("io", "workers = 1")
        .plugin_file(follow(walk, &readme, dir.path()))
        .check(check("go").plugin(walk.plugin).interval("1h").timeout("1m"))
        .spawn();
    daemon.expect_notify("READY=1");
    let before = daemon.pids("io");
    let row = daemon.run("go");
    assert_eq!(row["status"], "unknown", "{row}");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("panic: ") && message.contains("nil pointer"),
        "{row}"
    );
    assert_eq!(daemon.pids("io"), before);
}

impl Walk {
    fn can_be_built(&self) -> bool {
        let look = format!("command -v {}", self.needs);
        let there = say(Command::new("sh").args(["-c", &look])).code == Some(0);
        if !there {
            skipped(&format!("`{}` is not installed", self.needs));
        }
        there
    }
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(tree().join("plugins/README.md")).expect("shipped")
}

fn beside_a_clone() -> TempDir {
    let dir = TempDir::new();
    std::os::unix::fs::symlink(tree(), dir.path().join("healthd")).expect("our own folder");
    dir
}

/// Pastes the section's blocks and types its commands; where its library lies then.
fn follow(walk: &Walk, readme: &str, dir: &Path) -> PathBuf {
    let section = readme
        .split_once(&format!("### {}\n", walk.section))
        .unwrap_or_else(|| panic!("no section `{}`", walk.section))
        .1;
    let section = section.split("\n### ").next().unwrap_or(section);
    let mut files = walk.files.iter();
    for (language, text) in blocks(section) {
        if language == "sh" {
            let typed = say(Command::new("sh")
                .args(["-euc", text])
                .current_dir(dir)
                .env("PATH", path_with_healthctl())
                // What the clone has fetched is enough, and what is only built once need not be fast.
                .env("CARGO_NET_OFFLINE", "true")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env_remove("CARGO_TARGET_DIR"));
            assert_eq!(typed.code, Some(0), "{}: {text}\n{typed:?}", walk.section);
            if let Ok(lock) = fs::read(dir.join("healthd/Cargo.lock")) {
                let crate_of_it = dir.join("memory");
                if crate_of_it.is_dir() {
                    fs::write(crate_of_it.join("Cargo.lock"), lock).expect("our own folder");
                }
            }
            continue;
        }
        let (expected, to) = files
            .next()
            .unwrap_or_else(|| panic!("{}: one more block: {text}", walk.section));
        assert_eq!(language, *expected, "{}", walk.section);
        let to = dir.join(to);
        fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("our own folder");
        fs::write(to, text).expect("our own folder");
    }
    assert!(
        files.next().is_none(),
        "{}: a block is missing",
        walk.section
    );
    dir.join(walk.library)
}

/// The fenced blocks: language and text.
fn blocks(section: &str) -> impl Iterator<Item = (&str, &str)> {
    section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|b| b.split_once('\n'))
}

fn path_with_healthctl() -> std::ffi::OsString {
    let bin = Path::new(env!("CARGO_BIN_EXE_healthctl"));
    let mut path = vec![bin.parent().expect("a program lies in a folder").to_owned()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    std::env::join_paths(path).expect("no colon in our folders")
}
