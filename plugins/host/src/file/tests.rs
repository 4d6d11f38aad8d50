use crate::tests::{LONG, check, create};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Folder;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn with(path: &Path, more: Value) -> Value {
    let mut options = json!({"path": path});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

/// Status and message of one run.
fn judge(path: &Path, more: Value) -> (Status, String) {
    let o = check("file", with(path, more));
    (o.status, o.message)
}

fn modified(path: &Path, ago: u64) {
    let at = SystemTime::now() - Duration::from_secs(ago);
    std::fs::File::open(path).unwrap().set_modified(at).unwrap();
}

#[test]
fn there_or_not() {
    let folder = Folder::new();
    let file = folder.write("a", "hello\n");
    assert_eq!(judge(&file, json!({})).0, Status::Ok);
    let (status, text) = judge(&folder.file("b"), json!({}));
    assert_eq!(
        (status, text.ends_with("/b: there is none")),
        (Status::Critical, true)
    );
    assert_eq!(
        judge(&folder.file("b"), json!({"exists": false})).0,
        Status::Ok
    );
    assert_eq!(judge(&file, json!({"exists": false})).0, Status::Critical);
    // A path through a file is no folder.
    assert_eq!(judge(&file.join("x"), json!({})).0, Status::Unknown);
}

#[test]
fn age_size_and_growth() {
    let folder = Folder::new();
    let file = folder.write("a", "0123456789");
    modified(&file, 7200);
    let (status, text) = judge(&file, json!({"age_warn": "1h", "age_crit": "3h"}));
    assert_eq!(status, Status::Warn);
    assert!(text.contains("was modified 2 h ago, above 1 h"), "{text}");
    assert_eq!(
        judge(&file, json!({"age_min_crit": "3h"})).0,
        Status::Critical
    );
    let (status, text) = judge(&file, json!({"size_crit": "20:"}));
    assert_eq!(status, Status::Critical);
    assert!(text.contains("10 bytes, outside of 20:"), "{text}");
    assert_eq!(judge(&file, json!({"size_warn": "5:20"})).0, Status::Ok);

    let it = create("file", &with(&file, json!({"growth_crit": "1KiB"}))).unwrap();
    assert!(it.run(LONG).message.ends_with("no growth known yet"));
    assert_eq!(it.run(LONG).metric("growth").value, 0.0);
    std::fs::write(&file, "0").unwrap();
    assert!(
        it.run(LONG).message.ends_with("no growth known yet"),
        "it began anew"
    );
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let o = it.run(LONG);
    assert_eq!(o.status, Status::Critical, "{o:?}");
}

#[test]
fn patterns_and_folders() {
    let folder = Folder::new();
    for (name, ago) in [
        ("x/a.job", 100),
        ("x/b.job", 4000),
        ("y/c.job", 50),
        ("y/.hidden.job", 9000),
        ("y/d.txt", 1),
    ] {
        std::fs::create_dir_all(folder.file(name).parent().unwrap()).unwrap();
        modified(&folder.write(name, "12345"), ago);
    }
    std::os::unix::fs::symlink("/no/such/file", folder.file("y/dangling.job")).unwrap();
    let pattern = folder.file("?/*.job");
    let o = check(
        "file",
        with(
            &pattern,
            json!({"age_of": "oldest", "age_crit": "1h", "count_warn": 2}),
        ),
    );
    assert_eq!(
        (o.metric("count").value, o.metric("size").value),
        (3.0, 15.0),
        "{o:?}"
    );
    assert_eq!(o.status, Status::Critical);
    assert!(
        o.message.contains("the oldest, ") && o.message.contains("/x/b.job"),
        "{o:?}"
    );
    assert!(o.message.contains("3 files match, outside of 2"), "{o:?}");
    assert_eq!(
        judge(&pattern, json!({"age_crit": "1h"})).0,
        Status::Ok,
        "the newest"
    );
    assert_eq!(judge(&folder.file("*.none"), json!({})).0, Status::Critical);
    assert_eq!(
        judge(&folder.file("*.none"), json!({"count_crit": 5})).0,
        Status::Ok,
        "none is within 5"
    );
    assert_eq!(
        judge(&folder.file("*/*.txt"), json!({"exists": false})).0,
        Status::Critical
    );
    let o = check("file", with(&folder.file("y"), json!({"count_crit": 3})));
    assert_eq!(
        (o.status, o.metric("count").value),
        (Status::Critical, 4.0),
        "{o:?}"
    );
}

#[test]
fn owner_mode_type_and_link() {
    let folder = Folder::new();
    let file = folder.write("a", "x");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let me = nix::unistd::geteuid().as_raw().to_string();
    assert_eq!(
        judge(&file, json!({"mode": "640", "owner": me, "type": "file"})).0,
        Status::Ok
    );
    let (status, text) = judge(&file, json!({"mode": "0600"}));
    assert_eq!(
        (status, text.contains("has mode 640, not 600")),
        (Status::Critical, true),
        "{text}"
    );
    let (status, text) = judge(&file, json!({"owner": "4294967294"}));
    assert_eq!(
        (status, text.contains(", not 4294967294")),
        (Status::Critical, true),
        "{text}"
    );
    let (status, text) = judge(folder.path(), json!({"type": "file"}));
    assert_eq!(
        (status, text.contains("is a folder, not a regular file")),
        (Status::Critical, true),
        "{text}"
    );
    let link = folder.file("link");
    std::os::unix::fs::symlink("a", &link).unwrap();
    assert_eq!(
        judge(&link, json!({"link": "a", "type": "file"})).0,
        Status::Ok
    );
    assert_eq!(judge(&link, json!({"link": "b"})).0, Status::Critical);
    assert_eq!(
        judge(&link, json!({"type": "link", "follow": false})).0,
        Status::Ok
    );
    assert!(
        judge(&file, json!({"link": "b"}))
            .1
            .contains("is no symbolic link")
    );
    assert!(
        create("file", &with(&file, json!({"owner": "no-such-user"})))
            .err()
            .unwrap()
            .contains("there is no user")
    );
}

#[test]
fn content() {
    let folder = Folder::new();
    let file = folder.write("a", b"state = good\n\xff\xfe\n");
    assert_eq!(
        judge(
            &file,
            json!({"contains": "(?m)^state = good$", "contains_not": "bad"})
        )
        .0,
        Status::Ok
    );
    assert_eq!(judge(&file, json!({"contains": "bad"})).0, Status::Critical);
    assert_eq!(
        judge(&file, json!({"contains_not": "go+d"})).0,
        Status::Critical
    );
    let (status, text) = judge(&file, json!({"contains": "good", "max_read": 5}));
    assert_eq!(
        (status, text.contains("larger than max_read")),
        (Status::Unknown, true),
        "{text}"
    );
    let sum = "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    let hello = folder.write("hello", "hello");
    assert_eq!(judge(&hello, json!({"sha256": sum})).0, Status::Ok);
    assert_eq!(judge(&file, json!({"sha256": sum})).0, Status::Critical);
    // No size before it is read.
    assert_eq!(
        judge(Path::new("/proc/self/status"), json!({"contains": "Name:"})).0,
        Status::Ok
    );
}

#[test]
fn what_must_not_be_read() {
    let folder = Folder::new();
    let fifo = folder.file("fifo");
    healthd_testing::run(Command::new("mkfifo").arg(&fifo));
    assert_eq!(judge(&fifo, json!({"type": "fifo"})).0, Status::Ok);
    let (status, text) = judge(&fifo, json!({"contains": "x"}));
    assert_eq!(
        (status, text.contains("is a FIFO: it is not read")),
        (Status::Unknown, true),
        "{text}"
    );
    assert_eq!(
        judge(Path::new("/dev/zero"), json!({"sha256": "0".repeat(64)})).0,
        Status::Unknown
    );
    let sparse = folder.write("sparse", "");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&sparse)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let o = check(
        "file",
        with(&sparse, json!({"contains_not": "x", "size_crit": "1000"})),
    );
    assert_eq!(o.metric("size").value, (1u64 << 40) as f64);
    assert!(o.message.contains("larger than max_read"), "{o:?}");
    let looped = folder.file("loop");
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    let (status, text) = judge(&looped, json!({}));
    assert_eq!(status, Status::Unknown, "{text}");
    assert!(text.contains("symbolic links"), "{text}");
    assert_eq!(
        judge(&looped, json!({"follow": false, "type": "link"})).0,
        Status::Ok
    );
}

#[test]
fn missing_and_forbidden_are_two_things() {
    if nix::unistd::geteuid().is_root() {
        // As somebody who may not read it.
        let folder = Folder::new();
        let hidden = folder.file("hidden");
        std::fs::create_dir(&hidden).unwrap();
        std::fs::write(hidden.join("a"), "x").unwrap();
        std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let done = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "file::tests::missing_and_forbidden_are_two_things",
                "--nocapture",
            ])
            .env("HEALTHD_TEST_HIDDEN", hidden.join("a"))
            .output();
        let Ok(done) = done else {
            eprintln!("skipped: setpriv is missing (package util-linux)");
            return;
        };
        let said = String::from_utf8_lossy(&done.stdout);
        // The test program itself may lie where nobody may read.
        if !said.contains("running 1 test") {
            eprintln!("skipped: the test cannot run as another user");
            return;
        }
        assert!(
            done.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
    } else if let Some(path) = std::env::var_os("HEALTHD_TEST_HIDDEN") {
        let (status, text) = judge(Path::new(&path), json!({}));
        assert_eq!(status, Status::Unknown, "{text}");
        assert!(text.ends_with("permission denied"), "{text}");
        let pattern = Path::new(&path).parent().unwrap().join("*");
        assert_eq!(judge(&pattern, json!({})).0, Status::Unknown);
    }
}

#[test]
fn a_folder_of_many() {
    let folder = Folder::new();
    for n in 0..5_000 {
        folder.write(&format!("f{n}"), "");
    }
    let o = check("file", with(folder.path(), json!({"count_crit": 4_999})));
    assert_eq!(
        (o.status, o.metric("count").value),
        (Status::Critical, 5_000.0)
    );
    // Cancelled while it counts: it says so in time.
    let it = create("file", &with(&folder.file("f*"), json!({}))).unwrap();
    let (o, _) = it.run_cancelled(LONG, Duration::ZERO);
    assert!(
        o.status == Status::Ok || o.message.contains("no time to read them all"),
        "{o:?}"
    );
}
