use crate::tests::{LONG, check, create};
use healthd_plugin::Status;
use healthd_plugin::mock::{MockCheck, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Folder;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A log file and a check that follows it from its end. `MockHost` names all checks alike, and a check knows its place by its
/// path, so each test has a file of its own.
struct Followed {
    folder: Folder,
    path: PathBuf,
    check: MockCheck,
}

fn follow(more: Value) -> Followed {
    let folder = Folder::new();
    let path = folder.write("app.log", "an old error, from before the first run\n");
    let check = create("log", &options(&path, more)).unwrap();
    let followed = Followed {
        folder,
        path,
        check,
    };
    let first = followed.run();
    assert!(
        first
            .message
            .contains("first run: begins at the end of the file"),
        "{first:?}"
    );
    assert_eq!(
        (first.status, first.metric("lines").value),
        (Status::Ok, 0.0)
    );
    followed
}

fn options(path: &Path, more: Value) -> Value {
    let mut options = json!({"path": path, "pattern": ["error"]});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

fn append(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// The lock keeps the tests of this file apart: they share one store of places, and one name.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

impl Followed {
    fn run(&self) -> Outcome {
        self.check.run(LONG)
    }

    fn append(&self, text: impl AsRef<[u8]>) {
        append(&self.path, text);
    }

    /// How many lines one run sees, and how many matched within the window.
    fn counts(&self) -> (f64, f64) {
        let o = self.run();
        (o.metric("lines").value, o.metric("matches").value)
    }
}

#[test]
fn each_line_once_and_matches_for_a_while() {
    let _alone = alone();
    let f = follow(json!({"ignore": ["error 404"], "count_crit": 1, "count_warn": 0}));
    f.append("fine\nerror 404\n");
    assert_eq!(f.counts(), (2.0, 0.0));
    f.append("error 500\nhalf an er");
    let o = f.run();
    assert_eq!(o.status, Status::Warn, "{o:?}");
    assert!(
        o.message
            .contains("1 match within 5 min, the last: error 500, above 0"),
        "{o:?}"
    );
    assert_eq!(o.detail, "error 500");
    // It goes on being told within the window, and the half line is not counted before it ends.
    let o = f.run();
    assert_eq!(
        (o.status, o.metric("lines").value),
        (Status::Warn, 0.0),
        "{o:?}"
    );
    f.append("ror\n");
    let o = f.run();
    assert_eq!(
        (o.status, o.metric("lines").value, o.metric("matches").value),
        (Status::Critical, 1.0, 2.0),
        "{o:?}"
    );
}

#[test]
fn over_rotation_no_line_is_lost_or_counted_twice() {
    let _alone = alone();
    let f = follow(json!({}));
    f.append("error 1\n");
    assert_eq!(f.counts(), (1.0, 1.0));
    f.append("error 2\nerror without an end");
    std::fs::rename(&f.path, f.folder.file("app.log.1")).unwrap();
    f.append("error 3\n");
    assert_eq!(f.counts(), (3.0, 4.0));
    assert_eq!(f.counts(), (0.0, 4.0));
    // Twice between two runs: the file in between was never seen.
    std::fs::rename(f.folder.file("app.log.1"), f.folder.file("app.log.2")).unwrap();
    f.append("error 4\n");
    std::fs::rename(&f.path, f.folder.file("app.log.1")).unwrap();
    f.append("error 5\n");
    assert_eq!(f.counts(), (2.0, 6.0));
    // No new file yet.
    std::fs::rename(&f.path, f.folder.file("app.log.3")).unwrap();
    let o = f.run();
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(o.message.ends_with("app.log: there is none"), "{o:?}");
    f.append("error 6\n");
    assert_eq!(f.counts(), (1.0, 7.0));
}

#[test]
fn over_copytruncate_and_truncation() {
    let _alone = alone();
    let f = follow(json!({}));
    let line = |n: u32| format!("error number {n}, long enough to be known by what is in it\n");
    f.append(line(1) + &line(2));
    assert_eq!(f.counts(), (2.0, 2.0));
    f.append(line(3));
    std::fs::copy(&f.path, f.folder.file("app.log.1")).unwrap();
    std::fs::write(&f.path, line(4)).unwrap();
    assert_eq!(f.counts(), (2.0, 4.0));
    // Grown beyond the old position before anybody looked.
    std::fs::copy(&f.path, f.folder.file("app.log.1")).unwrap();
    std::fs::write(&f.path, line(5) + &line(6) + &line(7) + &line(8)).unwrap();
    assert_eq!(f.counts(), (4.0, 8.0));
    // Without a copy: that some may be missing is said, once.
    f.append(line(9));
    std::fs::write(&f.path, line(10)).unwrap();
    let o = f.run();
    assert!(
        o.message
            .contains("the old one is gone: lines that came last"),
        "{o:?}"
    );
    assert_eq!(o.metric("lines").value, 1.0);
    assert!(!f.run().message.contains("is gone"));
}

#[test]
fn with_logrotate() {
    let _alone = alone();
    for how in ["create", "copytruncate", "nocreate"] {
        let f = follow(json!({}));
        let config = f.folder.write(
            "rotate.conf",
            format!("{} {{\n rotate 3\n size 1\n {how}\n}}\n", f.path.display()),
        );
        let mut total = 0.0;
        for n in 0..4 {
            f.append(format!(
                "error {n} a\nerror {n} b, which is long enough to be known again\n"
            ));
            let done = Command::new("/usr/sbin/logrotate")
                .arg("--force")
                .arg("--state")
                .arg(f.folder.file("state"))
                .arg(&config)
                .output();
            match done {
                Ok(done) => assert!(done.status.success(), "{done:?}"),
                Err(_) => {
                    eprintln!("skipped: logrotate is missing");
                    return;
                }
            }
            f.append(format!("error {n} c, in the new file\n"));
            let o = f.run();
            total += 3.0;
            assert_eq!(o.metric("lines").value, 3.0, "{how} {n}: {o:?}");
            assert_eq!(o.metric("matches").value, total, "{how} {n}: {o:?}");
        }
    }
}

#[test]
fn another_instance_goes_on_where_the_last_one_stopped() {
    let _alone = alone();
    let f = follow(json!({}));
    f.append("error 1\n");
    let other = create("log", &options(&f.path, json!({}))).unwrap();
    let o = other.run(LONG);
    assert_eq!(
        (o.metric("lines").value, o.metric("matches").value),
        (1.0, 1.0),
        "{o:?}"
    );
    assert_eq!(f.counts(), (0.0, 1.0));
}

#[test]
fn odd_lines_and_much_of_them() {
    let _alone = alone();
    let f = follow(json!({"max_read": "2MiB"}));
    f.append(b"\xff\xfe error \x00\r\n");
    assert_eq!(f.counts(), (1.0, 1.0));
    // A line of 5 MiB in runs of 2: one line, whose beginning is looked at.
    f.append("error ");
    f.append(vec![b'x'; 5 << 20]);
    f.append("\nend\n");
    let mut lines = 0.0;
    loop {
        let o = f.run();
        lines += o.metric("lines").value;
        if o.metric("lag").value == 0.0 {
            assert_eq!((lines, o.metric("matches").value), (2.0, 2.0), "{o:?}");
            break;
        }
        assert!(o.message.contains("are left for the next run"), "{o:?}");
    }
}

#[test]
fn from_the_first_line_and_what_is_no_log() {
    let _alone = alone();
    let folder = Folder::new();
    let path = folder.write("a.log", "error 1\nfine\nerror 2\n");
    let o = check(
        "log",
        options(&path, json!({"from": "begin", "count_crit": 1})),
    );
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(
        o.message.contains("first run: begins with the first line"),
        "{o:?}"
    );
    let o = check(
        "log",
        options(&folder.file("none"), json!({"missing": "ok"})),
    );
    assert_eq!(o.status, Status::Ok);
    let fifo = folder.file("fifo");
    healthd_testing::run(Command::new("mkfifo").arg(&fifo));
    let o = check("log", options(&fifo, json!({})));
    assert_eq!(
        (o.status, o.message.ends_with("it is no regular file")),
        (Status::Unknown, true),
        "{o:?}"
    );
    assert!(
        create("log", &json!({"path": path, "pattern": ["("]}))
            .err()
            .unwrap()
            .starts_with("pattern[0]: ")
    );
}
