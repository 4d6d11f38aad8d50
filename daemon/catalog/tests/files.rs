//! The real files: what they give, and what they refuse without hanging.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use healthd_catalog::RealFiles;
use healthd_core::config::{Catalog, Class, Files, PluginInfo, load};

#[test]
fn plain_files_are_read() {
    let dir = Dir::new("plain");
    fs::write(dir.path("a"), "text").expect("our own folder");
    assert_eq!(
        RealFiles.read(&dir.path("a")).expect("it is there"),
        b"text"
    );
    std::os::unix::fs::symlink("a", dir.path("link")).expect("our own folder");
    assert_eq!(
        RealFiles.read(&dir.path("link")).expect("it is there"),
        b"text"
    );
    let kind = |path: &Path| RealFiles.read(path).expect_err("not there").kind();
    assert_eq!(kind(&dir.path("gone")), io::ErrorKind::NotFound);
    assert_eq!(kind(&dir.0), io::ErrorKind::IsADirectory);
    // No length is known of these beforehand.
    assert!(
        !RealFiles
            .read(Path::new("/proc/self/status"))
            .expect("on Linux")
            .is_empty()
    );
}

#[test]
fn what_could_hang_or_has_no_end_is_refused() {
    let dir = Dir::new("odd");
    let fifo = dir.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("coreutils")
            .success()
    );
    for path in [
        fifo.as_path(),
        Path::new("/dev/zero"),
        Path::new("/dev/null"),
    ] {
        let e = RealFiles.read(path).expect_err("no plain file");
        assert_eq!(e.to_string(), "it is no plain file", "{}", path.display());
    }
}

#[test]
fn large_files_are_refused() {
    let dir = Dir::new("large");
    let file = fs::File::create(dir.path("a")).expect("our own folder");
    file.set_len(4 << 20).expect("sparse");
    assert!(RealFiles.read(&dir.path("a")).is_ok());
    let e = RealFiles
        .read_secret(&dir.path("a"))
        .expect_err("too large for a secret");
    assert_eq!(e.to_string(), "it has 4.0 MiB, and 1 MiB is the most");
    file.set_len(5 << 20).expect("sparse");
    let e = RealFiles.read(&dir.path("a")).expect_err("too large");
    assert_eq!(e.to_string(), "it has 5.0 MiB, and 4 MiB is the most");
}

#[test]
fn toml_files_are_listed_in_order_and_hidden_ones_are_not() {
    let dir = Dir::new("list");
    for name in [
        "b.toml", "a.toml", "c.toml~", ".#a.toml", "d.conf", "e.TOML",
    ] {
        fs::write(dir.path(name), "").expect("our own folder");
    }
    let list = RealFiles.list_toml(&dir.0).expect("it is there");
    assert_eq!(list, [dir.path("a.toml"), dir.path("b.toml")]);
    assert!(
        RealFiles
            .list_toml(&dir.path("gone"))
            .expect("none is fine")
            .is_empty()
    );
    assert!(RealFiles.list_toml(&dir.path("a.toml")).is_err());
}

#[test]
fn the_environment_takes_any_name() {
    assert!(RealFiles.env("PATH").is_some());
    for name in ["", "A=B", "A\0B", "HEALTHD_TEST_NOT_SET"] {
        assert_eq!(RealFiles.env(name), None, "{name:?}");
    }
    assert!(RealFiles.cores() >= 1);
}

#[test]
fn the_shipped_config_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = match load(
        &root.join("etc/healthd.toml"),
        &RealFiles,
        Some(&catalog(&root)),
    ) {
        Ok(model) => model,
        Err(all) => panic!("{}", all.render(false)),
    };
    // Nothing runs on a new machine before somebody wants it, and that is said.
    assert!(model.checks.is_empty());
    let warnings = model.warnings.render(false);
    assert_eq!(warnings.matches("warning: ").count(), 1, "{warnings}");
    assert!(warnings.contains("no check is configured"), "{warnings}");

    // Each default that is shown as a comment is the one that holds.
    let text = fs::read_to_string(root.join("etc/healthd.toml")).expect("shipped");
    let shown: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => format!("{rest}\n"),
            Some(rest) if rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let dir = Dir::new("shown");
    fs::write(dir.path("healthd.toml"), shown).expect("our own folder");
    let with = match load(&dir.path("healthd.toml"), &RealFiles, Some(&catalog(&root))) {
        Ok(model) => model,
        Err(all) => panic!("{}", all.render(false)),
    };
    let mut daemon = with.daemon.clone();
    assert_eq!(daemon.user.take().as_deref(), Some("healthd"));
    assert_eq!(daemon.control_group.take().as_deref(), Some("adm"));
    let users = std::mem::take(&mut daemon.users);
    assert_eq!(users.worker.as_deref(), Some("healthd-worker"));
    assert_eq!(users.exec.as_deref(), Some("healthd-exec"));
    assert_eq!(daemon, model.daemon);
    assert_eq!(
        (with.pool.io, with.pool.exec),
        (model.pool.io, model.pool.exec)
    );
}

#[test]
fn the_examples_of_the_man_page_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("etc/man/healthd.toml.5")).expect("shipped");
    let mut blocks: Vec<&str> = page
        .split(".Bd -literal -offset indent\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n.Ed").next())
        // The address from systemd has no systemd here.
        .filter(|block| !block.contains("credential"))
        .collect();
    assert!(blocks.len() >= 4);
    // A list of hosts stands above the first header.
    blocks.sort_by_key(|block| block.starts_with('['));
    let dir = Dir::new("man");
    fs::write(dir.path("ports.txt"), "localhost 22\n").expect("our own folder");
    fs::write(dir.path("healthd.toml"), blocks.join("\n\n")).expect("our own folder");
    match load(&dir.path("healthd.toml"), &RealFiles, Some(&catalog(&root))) {
        Ok(model) => assert_eq!(model.checks.len(), 10_008),
        Err(all) => panic!("{all}"),
    }
}

/// The plugins of the test configs know the options that the examples use.
fn catalog(root: &Path) -> Catalog {
    let plugins = [
        "http", "tcp", "postgres", "sqlite", "cpu", "exec", "digest", "stats",
    ]
    .map(|name| PluginInfo {
        name: name.into(),
        version: "1.0.0".into(),
        summary: String::new(),
        file: format!("{name}.so").into(),
        class: Class::Io,
        default_timeout: Duration::from_secs(10),
        schema: std::sync::Arc::new({
            let text =
                fs::read(root.join(format!("tests/configs/plugins/{name}.json"))).expect("shipped");
            serde_json::from_slice(&text).expect("shipped")
        }),
    });
    Catalog {
        plugins: plugins.into(),
        refused: Vec::new(),
    }
}

/// A folder of one test, gone with it.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Dir {
        let path =
            std::env::temp_dir().join(format!("healthd-files-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Dir(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
