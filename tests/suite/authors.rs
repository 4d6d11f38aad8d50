//! Who writes a plugin by the letter of plugins/README.md has one that runs: its files are pasted, its commands typed,
//! in each of the four languages, and one daemon runs what came out.

use crate::harness::ctl::say;
use crate::harness::{Config, TempDir, check, skipped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A section, the files that are pasted (the language of the block, where it goes), what it leaves, and what the
/// program that builds it is called.
pub struct Walk {
    pub section: &'static str,
    pub files: &'static [(&'static str, &'static str)],
    pub library: &'static str,
    pub plugin: &'static str,
    pub config: &'static str,
    pub needs: &'static str,
}

const WALKS: [Walk; 4] = [
    Walk {
        section: "In Rust",
        files: &[
            ("toml", "memory_left/Cargo.toml"),
            ("rust", "memory_left/src/lib.rs"),
        ],
        library: "memory_left/target/release/libmemory_left.so",
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
    let all = readme();
    let commands = |text: &str| blocks(text).filter(|(l, _)| *l == "sh").count();
    let in_walks = WALKS.iter().map(|w| {
        let section = all.split(&format!("### {}\n", w.section)).nth(1);
        commands(
            section
                .unwrap_or_default()
                .split("\n### ")
                .next()
                .unwrap_or_default(),
        )
    });
    assert_eq!(
        in_walks.sum::<usize>() + 1,
        commands(&all),
        "a block that nobody types"
    );
    let mut config = Config::new().pool("io", "workers = 1");
    let mut made = Vec::new();
    for walk in WALKS.iter().filter(|w| w.can_be_built()) {
        let begin = std::time::Instant::now();
        let file = follow(walk, &readme(), dir.path());
        let took = begin.elapsed().as_secs_f64();
        println!("{}: pasted, built and tried in {took:.1} s", walk.section);
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

/// Nobody in Rust can catch a C++ exception, but its own runtime says what it was before it ends the worker.
#[test]
fn an_exception_that_leaves_a_function_tells_its_what() {
    let walk = WALKS.iter().find(|w| w.needs == "c++").expect("C++");
    if !walk.can_be_built() {
        return;
    }
    let dir = beside_a_clone();
    let source = readme();
    let section = source.split_once("### In C++\n").expect("C++").1;
    let (_, text) = blocks(section).next().expect("its source");
    // As a newcomer would have it: no `try`, and something that throws.
    let (before, body) = text.split_once("const hd_ctx *c) try {").expect("its run");
    let (body, after) = body.split_once("} catch").expect("its catch");
    let after = after.split_once("\n}\n").expect("the end of run").1;
    let built = |name: &str, thrown: &str, flags: &[&str]| -> PathBuf {
        let text = format!(
            "#include <stdexcept>\n{before}const hd_ctx *c) {{\n  {thrown}\n{body}}}\n{after}"
        )
        .replace("S(\"settings\")", &format!("S(\"{name}\")"));
        let source = dir.path().join(format!("{name}.cc"));
        fs::write(&source, text).expect("our own folder");
        let out = dir.path().join(format!("lib{name}.so"));
        let mut cxx = Command::new("c++");
        cxx.args("-std=c++17 -O2 -fPIC -shared -fvisibility=hidden -fno-gnu-unique".split(' '));
        cxx.args(flags)
            .arg("-I")
            .arg(tree().join("plugins/abi/include"));
        let made = say(cxx.arg("-o").args([&out, &source]));
        assert_eq!(made.code, Some(0), "{made:?}");
        out
    };
    let error = "throw std::runtime_error(\"disk on\\nfire\");";
    let plugins = [
        (
            built("throws", error, &[]),
            "uncaught std::runtime_error: disk on fire",
        ),
        (
            built("throws_static", error, &["-static-libstdc++"]),
            "uncaught std::runtime_error: disk on fire",
        ),
        (built("throws_int", "throw 5;", &[]), "uncaught int"),
        (
            built(
                "throws_in_noexcept",
                "[]() noexcept { throw std::logic_error(\"not me\"); }();",
                &[],
            ),
            "uncaught std::logic_error: not me",
        ),
    ];
    let mut config = Config::new().pool("io", "workers = 1");
    for (file, _) in &plugins {
        let name = name_of(file);
        config = config.plugin_file(file).check(
            check(&name)
                .plugin(&name)
                .interval("1h")
                .set("attempts", "1"),
        );
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    for (file, what) in &plugins {
        let name = name_of(file);
        let row = daemon.run(&name);
        assert_eq!(
            (&row["status"], &row["fault"]),
            (&"unknown".into(), &"crash".into()),
            "{row}"
        );
        let message = row["message"].as_str().unwrap_or_default();
        let expected = format!("SIGABRT ({what}) in plugin `{name}` (run)");
        assert!(message.starts_with(&expected), "{expected}: {row}");
        assert!(message.contains("run("), "the place: {row}");
        // And without a daemon.
        let mut tried = Command::new(env!("CARGO_BIN_EXE_healthctl"));
        let said = say(tried.arg("try").arg(file));
        assert_eq!(said.code, Some(3), "{said:?}");
        let expected =
            format!("the plugin crashed: SIGABRT ({what}) in `run` called from lib{name}.so+0x");
        assert!(said.err.contains(&expected), "{expected}: {said:?}");
    }
}

fn name_of(file: &Path) -> String {
    let stem = file.file_stem().expect("it has one").to_string_lossy();
    stem.trim_start_matches("lib").to_owned()
}

/// `try` tells where, as the daemon does.
#[test]
fn try_tells_the_place_of_a_crash_and_leaves_nothing_behind() {
    let walk = &WALKS[1];
    if !walk.can_be_built() {
        return;
    }
    let dir = beside_a_clone();
    let readme = readme()
        .replace(
            "  int there = access",
            "  static char *volatile nowhere;\n  *nowhere = *path;\n  int there = access",
        )
        .replace(
            "healthctl try ./libfile_there.so",
            "! healthctl try ./libfile_there.so",
        );
    let file = follow(walk, &readme, dir.path());
    let tmp = dir.path().join("tmp");
    fs::create_dir(&tmp).expect("our own folder");
    fs::set_permissions(&tmp, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).expect("ours");
    let mut tried = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    let said = say(tried
        .arg("try")
        .arg(&file)
        .arg("path=/etc/passwd")
        .env("TMPDIR", &tmp));
    assert_eq!(said.code, Some(3), "{said:?}");
    let expected = "libfile_there.so: the plugin crashed: SIGSEGV in `run` at libfile_there.so+0x";
    assert!(said.err.contains(expected), "{said:?}");
    assert!(said.err.trim_end().ends_with(" run"), "{said:?}");
    assert_eq!(fs::read_dir(&tmp).expect("ours").count(), 0);
}

impl Walk {
    pub fn can_be_built(&self) -> bool {
        let look = format!("command -v {}", self.needs);
        let there = say(Command::new("sh").args(["-c", &look])).code == Some(0);
        if !there {
            skipped(&format!("`{}` is not installed", self.needs));
        }
        there
    }
}

pub fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(tree().join("plugins/README.md")).expect("shipped")
}

pub fn beside_a_clone() -> TempDir {
    let dir = TempDir::new();
    std::os::unix::fs::symlink(tree(), dir.path().join("healthd")).expect("our own folder");
    dir
}

/// Pastes the section's blocks and types its commands; where its library lies then.
pub fn follow(walk: &Walk, readme: &str, dir: &Path) -> PathBuf {
    let section = readme
        .split_once(&format!("### {}\n", walk.section))
        .unwrap_or_else(|| panic!("no section `{}`", walk.section))
        .1;
    let section = section.split("\n### ").next().unwrap_or(section);
    // Typed once in the shell of whoever reads on.
    let (_, path) = blocks(readme).next().expect("where healthctl is");
    let mut files = walk.files.iter();
    for (language, text) in blocks(section) {
        if language == "sh" {
            let typed = say(Command::new("sh")
                .args(["-euc", &format!("{path}\n{text}")])
                .current_dir(dir)
                .env("PATH", path_with_healthctl())
                // What the clone has fetched is enough, and what is only built once need not be fast.
                .env("CARGO_NET_OFFLINE", "true")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env_remove("CARGO_TARGET_DIR"));
            assert_eq!(typed.code, Some(0), "{}: {text}\n{typed:?}", walk.section);
            if let Ok(lock) = fs::read(dir.join("healthd/Cargo.lock")) {
                let (_, first) = walk.files[0];
                let folder = first.split_once('/').map(|(folder, _)| folder);
                let crate_of_it = dir.join(folder.unwrap_or("none"));
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
