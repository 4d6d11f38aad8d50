//! `healthctl try NAME key=value`: a plugin by its name alone, of the running healthd or from the folder of the program,
//! and what is said where the name or an option is not as it should be.

use crate::harness::ctl::{Said, say};
use crate::harness::{Config, fixtures, plugins};
use healthd_testing::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs and libraries in one folder, as after an installation into it.
struct Installed(Folder);

impl Installed {
    fn new() -> Installed {
        let here = Installed(Folder::new());
        for program in [
            env!("CARGO_BIN_EXE_healthctl"),
            env!("CARGO_BIN_EXE_healthd"),
        ] {
            let program = Path::new(program);
            here.add(
                program,
                &program.file_name().expect("it has one").to_string_lossy(),
            );
        }
        here
    }

    fn add(&self, file: &Path, name: &str) -> PathBuf {
        let to = self.0.file(name);
        // Written by another process: one that a process of ours has open for writing cannot be run.
        let copied = Command::new("cp").arg(file).arg(&to).status();
        assert!(copied.is_ok_and(|s| s.success()), "{}", file.display());
        to
    }

    fn said(&self, socket: &Path, args: &[&str]) -> Said {
        let mut command = Command::new(self.0.file("healthctl"));
        command.arg("--socket").arg(socket).arg("try").args(args);
        say(command.env_remove("HEALTHD_SOCKET"))
    }
}

const NO_DAEMON: &str = "/no/such/socket";

#[test]
fn a_name_alone_is_enough_and_what_is_wrong_is_told_with_a_way_out() {
    let here = Installed::new();
    here.add(&plugins::shipped("host"), "libhealthd_host.so");
    let folders = format!("in {} or /usr/lib/healthd/plugins", here.0.path().display());
    for (args, code, words) in [
        (&["file", "path=/etc/passwd"][..], 0, &[][..]),
        (&["file", "path=/no/such/file"], 2, &["/no/such/file"]),
        (
            &["fiel", "path=/etc/passwd"],
            3,
            &[
                "no plugin `fiel`",
                &folders,
                "help: a plugin with a similar name exists: `file`",
            ],
        ),
        // Nagios' word for it.
        (&["check_disk"], 3, &["no plugin `check_disk`", "`disk`"]),
        (
            &["quux"],
            3,
            &["no plugin `quux`", &folders, "help: `healthctl plugins`"],
        ),
        // A library's name is none of its plugins'.
        (
            &["host"],
            3,
            &["holds several plugins", "--plugin", "systemd"],
        ),
        (
            &["file", "pth=/etc/passwd"],
            3,
            &["`pth`", "an option with a similar name exists: `path`"],
        ),
        (
            &["file", "path=/etc/passwd", "age_warn=soon"],
            3,
            &["age_warn", "soon"],
        ),
        (
            &["file", "path=/etc/passwd", "age_of=newset"],
            3,
            &["age_of", "did you mean `\"newest\"`?"],
        ),
    ] {
        let said = here.said(Path::new(NO_DAEMON), args);
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        for word in words {
            let all = format!("{}{}", said.out, said.err);
            assert!(all.contains(word), "{args:?}: {word}: {said:?}");
        }
    }
}

/// As a start refuses both: the order of a folder must not decide.
#[test]
fn of_two_files_with_one_name_none_is_taken() {
    let here = Installed::new();
    let one = here.add(&fixtures::fixture("echo"), "liba.so");
    let two = here.add(&fixtures::fixture("echo"), "libb.so");
    let said = here.said(Path::new(NO_DAEMON), &["echo"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let (one, two) = (one.display().to_string(), two.display().to_string());
    let told = format!("plugin `echo` is in several files: {one}, {two}");
    assert!(said.err.contains(&told), "{told}: {said:?}");
    let way = format!("`{one} --plugin echo`");
    assert!(said.err.contains(&way), "{way}: {said:?}");
    let said = here.said(Path::new(NO_DAEMON), &[&one, "--plugin", "echo"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let daemon = Config::new()
        .only_asked()
        .plugin_file(&one)
        .plugin_file(&two)
        .spawn();
    daemon.expect_notify("READY=1");
    fs::remove_file(&two).expect("our own file");
    let said = here.said(&daemon.socket(), &["--timeout", "60s", "echo"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let its = daemon.written.dir().join("plugins");
    let told = format!("in several files: {0}/liba.so, {0}/libb.so", its.display());
    assert!(said.err.contains(&told), "{told}: {said:?}");
}

#[test]
fn what_the_running_healthd_has_goes_before_what_lies_beside() {
    let here = Installed::new();
    here.add(&fixtures::build("2.0", 'o'), "libversion.so");
    let daemon = Config::new()
        .only_asked()
        .plugin_file(fixtures::build("1.0", 'o'))
        .spawn();
    daemon.expect_notify("READY=1");
    let args = ["version", "--timeout", "60s"];
    for (socket, version) in [(daemon.socket(), "1.0"), (PathBuf::from(NO_DAEMON), "2.0")] {
        let said = here.said(&socket, &args);
        assert!(said.out.contains(version), "{version}: {said:?}");
    }
    // A name that only the daemon knows.
    let said = here.said(&daemon.socket(), &["versoin"]);
    assert!(said.err.contains("exists: `version`"), "{said:?}");
}
