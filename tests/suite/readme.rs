//! What README.md says to type is typed: each command of its blocks, in their order, in one shell in a copy of the tree.
//! A word behind the language of a block says what else it needs; the number of commands that are not typed is fixed.

use crate::harness::ctl::{Said, say};
use crate::harness::{DEADLINE, TempDir, plugins};
use healthd_core::text::word;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Those of the installation as root, which tests/systemd does.
const NOT_TYPED: usize = 2;

struct Block<'a> {
    language: &'a str,
    needs: Option<&'a str>,
    text: &'a str,
}

#[test]
fn each_command_of_the_readme_works() {
    let readme = fs::read_to_string(tree().join("README.md")).expect("shipped");
    let dir = copy();
    let (mut script, mut not_typed, mut typed) = (String::from(PRELUDE), 0, 0);
    for block in blocks(&readme) {
        let commands = block.commands();
        match (block.language, block.needs) {
            (_, Some("root")) => not_typed += commands.len(),
            // Held to the program by `its_mistake_is_shown_as_it_is`.
            ("text", Some("mistake")) => {}
            (_, Some("until-ctrl-c")) => {
                let [command] = &commands[..] else {
                    panic!("one command that ends by Ctrl-C: {}", block.text);
                };
                typed += 1;
                until_ctrl_c(dir.path(), command);
            }
            // Judged by `alerts::what_the_readme_shows_is_a_config`.
            ("toml", Some("receiver")) => {}
            ("toml", _) => {
                // From here on healthd is installed; here it is the one of this folder.
                let shop = format!("{}\n{REFUSED}", block.text);
                fs::write(dir.path().join("shop.toml"), shop).expect("our own folder");
                script += "cp shop.toml .healthd/checks.d/\n";
                script += "healthctl() { command healthctl --here \"$@\"; }\n";
            }
            ("console" | "sh", None) => {
                typed += commands.len();
                for command in commands {
                    script += &format!("type_it {}\n", word(&command));
                }
            }
            (_, Some(other)) => panic!("what is a block that needs `{other}`?"),
            _ => {}
        }
    }
    script += "command healthctl --here stop && wait\n";
    let said = type_in(dir.path(), &script);
    let results: Vec<(&str, &str, &str)> = (said.out.lines())
        .filter_map(|l| {
            let (code, rest) = l.strip_prefix("@@ ")?.split_once(' ')?;
            let (ms, command) = rest.split_once(' ')?;
            Some((code, ms, command))
        })
        .collect();
    for (code, ms, command) in &results {
        println!("{ms:>7} ms  {command}");
        // The exit code of these is a status, and nobody knows how the world is.
        let tells = ["add", "status", "why", "plugins"].map(|c| format!(" {c} "));
        let tells = tells.iter().any(|c| format!("{command} ").contains(c));
        let well = *code == "0" || tells && ["1", "2", "3"].contains(code);
        assert!(well, "`{command}` ended with {code}: {said:?}");
    }
    assert_eq!(results.len() + 1, typed, "{said:?}");
    assert!(typed >= 8, "only {typed} commands were found");
    assert_eq!(not_typed, NOT_TYPED);
    // 3 is also what could not be asked.
    assert!(!said.err.contains("healthctl: error"), "{said:?}");
    assert!(said.out.contains("added web in"), "{said:?}");
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// What its example of a mistake shows is what `validate` says of its check, with the plugin's name mistyped.
#[test]
fn its_mistake_is_shown_as_it_is() {
    let readme = fs::read_to_string(tree().join("README.md")).expect("shipped");
    let of = |language: &str, needs: Option<&str>| {
        let block = blocks(&readme).find(|b| b.language == language && b.needs == needs);
        block.expect("the README has it").text.to_owned()
    };
    let (dir, shop) = (TempDir::new(), of("toml", None));
    let http = plugins::shipped("http");
    fs::create_dir(dir.path().join("plugins")).expect("our own folder");
    symlink(&http, dir.path().join("plugins/http.so")).expect("our own folder");
    symlink(plugins::shipped("tcp"), dir.path().join("plugins/tcp.so")).expect("our own folder");
    fs::create_dir(dir.path().join("checks.d")).expect("our own folder");
    let config = dir.path().join("healthd.toml");
    fs::write(&config, "daemon.plugin_dir = \"plugins\"\n").expect("our own folder");
    let mistyped = shop.trim_start().replacen("\"http\"", "\"htp\"", 1);
    fs::write(dir.path().join("checks.d/shop.toml"), mistyped).expect("our own folder");
    let mut validate = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    // Relative, as files are then shown.
    let said = say((validate.args(["validate", "healthd.toml"])).current_dir(dir.path()));
    assert_eq!(said.code, Some(2), "{said:?}");
    let shown = of("text", Some("mistake"));
    assert!(said.err.contains(shown.trim()), "{}", said.err);
}

/// A newcomer reads it in one sitting.
#[test]
fn it_is_short_and_its_links_lead_somewhere() {
    let readme = fs::read_to_string(tree().join("README.md")).expect("shipped");
    assert!(readme.lines().count() <= 150);
    let pages = pages();
    assert!(pages.len() > 40, "{pages:?}");
    for path in pages {
        let page = path.display();
        let text = fs::read_to_string(&path).expect("shipped");
        for link in text.split("](").skip(1).filter_map(|l| l.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || link.contains("://") {
                continue;
            }
            let to = path.parent().expect("a folder").join(file);
            assert!(to.exists(), "{page}: {link}");
        }
    }
}

/// Each page that a user may be led to.
fn pages() -> Vec<PathBuf> {
    let mut folders = ["", "daemon", "daemon/docs", "plugins"]
        .map(|f| tree().join(f))
        .to_vec();
    folders.extend(below(&tree().join("plugins")));
    let files = folders.iter().flat_map(|folder| below(folder));
    files
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
        .collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Each figure of speed.md stands beside a command that the bench knows, and beside the commit that was measured.
#[test]
fn each_figure_has_its_command() {
    let page = fs::read_to_string(tree().join("daemon/docs/speed.md")).expect("shipped");
    let bench = fs::read_to_string(tree().join("tests/bench/src/main.rs")).expect("our own tree");
    // What `healthctl bench` prints is of the reader's own machine.
    let measured = page.split("\n## ").next().unwrap_or_default();
    let rows = measured.lines().filter(|line| line.starts_with("| "));
    let mut commands = Vec::new();
    for row in rows.skip(1) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        commands.extend(cell.split('`').skip(1).step_by(2));
        assert!(!commands.is_empty(), "whose is {row}");
        let commit = row.trim_end_matches([' ', '|']).rsplit('|').next();
        let commit = commit.unwrap_or_default().trim().trim_matches('`');
        let is_hex = commit.len() == 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_hex, "of which commit is {row}");
    }
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let told = format!("\n  {command} ");
        assert!(bench.contains(&told), "`cargo bench-load {command}`");
    }
}

/// Runs a command as typed, and says how it ended and how long it took.
const PRELUDE: &str = r#"
type_it() {
    local begin=${EPOCHREALTIME/./} code
    eval "$1"
    code=$?
    printf '@@ %s %s %s\n' "$code" "$(((${EPOCHREALTIME/./} - begin) / 1000))" "$1"
}
"#;

/// What `why` in the README asks for is a check of the demo.
const REFUSED: &str = r#"
[[check]]
name = "shop/nobody-listens"
plugin = "tcp"
config = { host = "127.0.0.1", port = 1 }
"#;

impl Block<'_> {
    /// Of a console what stands behind a prompt; of sh each line. One that ends in a backslash goes on.
    fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        let lines = joined.lines().filter_map(|line| match self.language {
            "console" => line.strip_prefix("$ "),
            "sh" => Some(line).filter(|l| !l.trim().is_empty()),
            _ => None,
        });
        lines.map(str::to_owned).collect()
    }
}

fn blocks(readme: &str) -> impl Iterator<Item = Block<'_>> {
    let fenced = readme.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| {
        let (info, text) = block.split_once('\n')?;
        let mut info = info.split(' ');
        Some(Block {
            language: info.next()?,
            needs: info.next(),
            text,
        })
    })
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tree as a clone has it, but built already: `cargo build --release` finds nothing to do.
fn copy() -> TempDir {
    for name in ["http", "tcp"] {
        plugins::shipped(name);
    }
    let dir = TempDir::new();
    for entry in fs::read_dir(tree()).expect("our own tree").flatten() {
        if entry.file_name() != "target" {
            symlink(entry.path(), dir.path().join(entry.file_name())).expect("our own folder");
        }
    }
    let built = Path::new(env!("CARGO_BIN_EXE_healthd"))
        .parent()
        .expect("a folder");
    fs::create_dir(dir.path().join("target")).expect("our own folder");
    symlink(built, dir.path().join("target/release")).expect("our own folder");
    // Everything is built, and to build it anew beside tests that run it would hurt them.
    let cargo = dir.path().join("cargo");
    let script = format!(
        "#!/bin/sh\ncase $1 in\n\
         demo) cd {tree:?} && {{ [ -x {built:?}/healthd-demo ] || {real} build --quiet -p healthd-demo; }} && \
         exec {built:?}/healthd-demo --programs {built:?} ;;\n\
         build) [ -x target/release/healthd ] && exit 0 ;;\nesac\n\
         echo \"$*: what is that?\" >&2; exit 1\n",
        tree = tree(),
        real = env!("CARGO"),
    );
    fs::write(&cargo, script).expect("our own folder");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("our own file");
    dir
}

fn shell(dir: &Path, script: &str) -> Command {
    let mut bash = Command::new("bash");
    let path = std::env::var("PATH").unwrap_or_default();
    bash.args(["-c", script])
        .current_dir(dir)
        .env("PATH", format!("{}:{path}", dir.display()))
        .env("TMPDIR", dir)
        .env_remove("HEALTHD_SOCKET");
    bash
}

fn type_in(dir: &Path, script: &str) -> Said {
    say(&mut shell(dir, script))
}

fn until_ctrl_c(dir: &Path, command: &str) {
    let mut child = shell(dir, &format!("exec {command}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let out = child.stdout.take().expect("piped");
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let mut said = Vec::new();
    let mut until = |what: &str| loop {
        match lines.recv_timeout(3 * DEADLINE) {
            Ok(line) if line.contains(what) => return,
            Ok(line) => said.push(line),
            Err(_) => panic!("{command}: no `{what}` in {said:#?}"),
        }
    };
    until("CRITICAL");
    crate::harness::kill(child.id(), nix::sys::signal::Signal::SIGINT);
    until("nothing is left behind");
    assert!(child.wait().expect("our own child").success());
}
