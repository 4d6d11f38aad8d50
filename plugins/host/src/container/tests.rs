//! Against Debian's podman and docker, and against daemons that say what it would not.

use crate::tests::{LONG, check, create};
use healthd_plugin::Status;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Folder, Process, end_all_of, program, run, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Containers of an image of one program, by podman or docker: with storage of its own, and its API on a socket.
struct Engine {
    name: &'static str,
    /// What speaks to it, or is it, for a folder.
    client: fn(&Folder) -> Command,
    /// Ends and removes all containers.
    clear: &'static [&'static str],
    socket: PathBuf,
    folder: Folder,
    service: Process,
}

impl Engine {
    fn podman() -> Option<Engine> {
        program("podman", "podman")?;
        program("runc", "runc")?;
        let clear = &["rm", "--all", "--force", "--time", "0"];
        Engine::start("podman", podman, clear, |folder, socket| {
            let mut command = podman(folder);
            command.args(["system", "service", "--time", "0"]);
            command.arg(format!("unix://{}", socket.display()));
            command
        })
    }

    fn docker() -> Option<Engine> {
        program("dockerd", "docker.io")?;
        if !geteuid().is_root() {
            eprintln!("skipped: dockerd needs root");
            return None;
        }
        let clear = &["rm", "--force", "probe", "web", "job", "broken", "sick"];
        Engine::start("docker", docker, clear, |folder, socket| {
            let mut command = Command::new("dockerd");
            for (option, name) in [
                ("--data-root", "root"),
                ("--exec-root", "run"),
                ("--pidfile", "pid"),
            ] {
                command.arg(option).arg(folder.file(name));
            }
            command
                .arg("--config-file")
                .arg(folder.write("daemon.json", "{}"));
            command.arg(format!("--host=unix://{}", socket.display()));
            // It leaves the machine's network as it is.
            command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
            command.arg("--storage-driver=vfs");
            command
        })
    }

    /// None, and a word about it, if containers cannot run here.
    fn start(
        name: &'static str,
        client: fn(&Folder) -> Command,
        clear: &'static [&'static str],
        service: impl FnOnce(&Folder, &Path) -> Command,
    ) -> Option<Engine> {
        let busybox = program("busybox", "busybox-static")?;
        let folder = Folder::new();
        let (socket, log) = (folder.file("sock"), folder.file("log"));
        let out = File::create(&log).unwrap();
        let service = service(&folder, &socket)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let mut engine = Engine {
            name,
            client,
            clear,
            service: Process(service),
            socket,
            folder,
        };
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let mut ended = false;
        until(
            || {
                ended = engine.service.0.try_wait().unwrap().is_some();
                ended || UnixStream::connect(&engine.socket).is_ok()
            },
            said,
        );
        if ended {
            let said = said();
            let last = said.lines().last().unwrap_or_default();
            eprintln!("skipped: {name} cannot work here: {last}");
            return None;
        }
        let root = engine.folder.file("image");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy(busybox, root.join("bin/sh")).unwrap();
        let tar = engine.folder.file("image.tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg("."));
        let imported = engine.said(&["import", tar.to_str().unwrap(), "box"]);
        if let Err(why) = imported.and_then(|()| engine.run("probe", &[], "exit 0")) {
            eprintln!("skipped: {name} cannot run containers here: {why}");
            return None;
        }
        engine.said(&["rm", "probe"]).unwrap();
        Some(engine)
    }

    fn run(&self, name: &str, more: &[&str], script: &str) -> Result<(), String> {
        let head = [
            "run",
            "--detach",
            "--interactive",
            "--network=none",
            "--ulimit=nofile=100:100",
            "--ulimit=nproc=100:100",
            "--name",
            name,
        ];
        self.said(&[&head, more, &["box", "/bin/sh", "-c", script]].concat())
    }

    fn said(&self, arguments: &[&str]) -> Result<(), String> {
        let done = (self.client)(&self.folder)
            .args(arguments)
            .output()
            .unwrap();
        match done.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    fn check(&self, more: Value) -> (Status, String) {
        let o = check("container", self.options(more));
        (o.status, o.message)
    }

    fn options(&self, mut options: Value) -> Value {
        options["socket"] = self.socket.to_str().unwrap().into();
        options
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.said(self.clear);
        // dockerd has started another program, and mounted: it takes both along.
        let pid = i32::try_from(self.service.0.id()).unwrap();
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let end = Instant::now() + LONG;
        while matches!(self.service.0.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // podman starts others of itself, which look after what has ended.
        end_all_of(&self.folder);
    }
}

fn podman(folder: &Folder) -> Command {
    let mut command = Command::new("podman");
    for (option, name) in [
        ("--root", "root"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ] {
        command.arg(option).arg(folder.file(name));
    }
    command.args([
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
        "--runtime=runc",
    ]);
    command
}

fn docker(folder: &Folder) -> Command {
    let mut command = Command::new("docker");
    let socket = folder.file("sock");
    command.env("DOCKER_CONFIG", folder.file("config"));
    command.arg(format!("--host=unix://{}", socket.display()));
    command
}

/// Runs until somebody ends it.
const FOREVER: &str = "while read x; do :; done";

#[test]
fn podman_and_its_containers() {
    let Some(podman) = Engine::podman() else {
        return;
    };
    judges_containers_of(&podman);
    // By hand: podman leaves that to systemd.
    podman.run_sick(&["--health-interval=disable"]);
    podman.said(&["healthcheck", "run", "sick"]).unwrap_err();
    judges_health_by(&podman);
}

#[test]
fn docker_and_its_containers() {
    let Some(docker) = Engine::docker() else {
        return;
    };
    judges_containers_of(&docker);
    docker.run_sick(&["--health-interval=100ms"]);
    let sick = json!({"names": ["sick"]});
    until(
        || {
            docker
                .check(sick.clone())
                .1
                .starts_with("sick is unhealthy; ")
        },
        String::new,
    );
    judges_health_by(&docker);
}

fn judges_containers_of(engine: &Engine) {
    assert_eq!(
        engine.check(json!({})),
        (Status::Ok, "0 of 0 containers run".into())
    );
    engine.run("web", &["--label=team=shop"], FOREVER).unwrap();
    engine.run("job", &[], "exit 0").unwrap();
    let done = json!({"names": ["job"], "states": ["exited"]});
    until(|| engine.check(done.clone()).0 == Status::Ok, String::new);
    for (more, status, begin) in [
        (json!({}), Status::Ok, "web is running, for "),
        (
            json!({"names": ["web"]}),
            Status::Ok,
            "web is running, for ",
        ),
        (
            json!({"labels": ["team=shop"]}),
            Status::Ok,
            "web is running, for ",
        ),
        (
            json!({"labels": ["team"]}),
            Status::Ok,
            "web is running, for ",
        ),
        (
            json!({"labels": ["team=other"]}),
            Status::Ok,
            "0 of 0 containers run",
        ),
        (
            json!({"names": ["web", "gone", "x*"]}),
            Status::Critical,
            "no container is called gone; no container matches x*; web is running",
        ),
        // Who is named must run, whatever its exit code was.
        (
            json!({"names": ["job"]}),
            Status::Critical,
            "job is exited, its exit code was 0, for ",
        ),
        (
            json!({"names": ["web"], "memory_warn": "1GiB", "image_age_warn": "1h"}),
            Status::Ok,
            "web is running, for ",
        ),
        (
            json!({"names": ["web"], "memory_crit": "1B"}),
            Status::Critical,
            "web uses ",
        ),
        (
            json!({"names": ["web"], "image_age_warn": "0s"}),
            Status::Warn,
            "the image of web is ",
        ),
    ] {
        let (s, text) = engine.check(more.clone());
        assert_eq!(s, status, "{}: {more}: {text}", engine.name);
        assert!(text.starts_with(begin), "{}: {more}: {text}", engine.name);
    }
    let (_, text) = engine.check(json!({}));
    assert!(
        text.ends_with("; 1 of 2 containers run, 1 finished"),
        "{text}"
    );
    engine.run("broken", &[], "exit 3").unwrap();
    let broken = "broken is exited, its exit code was 3, for ";
    until(
        || engine.check(json!({})).1.starts_with(broken),
        String::new,
    );
    assert_eq!(engine.check(json!({})).0, Status::Critical);
}

impl Engine {
    fn run_sick(&self, more: &[&str]) {
        let health = [&["--health-cmd=exit 1", "--health-retries=1"], more].concat();
        self.run("sick", &health, FOREVER).unwrap();
    }
}

fn judges_health_by(engine: &Engine) {
    let (status, text) = engine.check(json!({"names": ["sick"]}));
    assert_eq!(status, Status::Critical, "{text}");
    assert!(
        text.starts_with("sick is unhealthy; sick is running"),
        "{text}"
    );
    assert_eq!(
        engine.check(json!({"names": ["sick"], "health": false})).0,
        Status::Ok
    );
}

/// A daemon that answers each question with the next text, and then hangs up; a text that is empty stands for silence.
fn daemon(texts: Vec<String>) -> (Folder, Value) {
    let folder = Folder::new();
    let socket = folder.file("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        for text in texts {
            if stream.read(&mut [0; 4096]).unwrap_or(0) == 0 {
                return;
            }
            if text.is_empty() {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
            let _ = stream.write_all(text.as_bytes());
        }
    });
    let options = json!({"socket": socket});
    (folder, options)
}

fn answer(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn what_a_daemon_may_say() {
    let long = " ".repeat(17 << 20);
    for (text, wanted) in [
        (
            "SSH-2.0-x\r\n".to_owned(),
            "container: answer: the answer is not HTTP",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            "container: its answer is no JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n{long}"),
            "container: an answer of more than 16 MiB",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1100000\r\n{long}"),
            "container: an answer of more than 16 MiB",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned(),
            "container: answer: bad chunk in the response body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]x\r\n".to_owned(),
            "container: answer: bad chunk in the response body",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[]".to_owned(),
            "container: transfer: connection closed after 2 of 5 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]".to_owned(),
            "container: its answer is no JSON: key must be a string at line 1 column 2",
        ),
        (
            "HTTP/1.1 500 X\r\nContent-Length: 17\r\n\r\n{\"message\":\"bad\"}".to_owned(),
            "container: it says 500: bad",
        ),
        (
            "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "container: it has no list of containers",
        ),
    ] {
        let (_folder, options) = daemon(vec![text]);
        let o = check("container", options);
        assert_eq!((o.status, o.message.as_str()), (Status::Unknown, wanted));
    }
    let (_folder, options) = daemon(vec![String::new()]);
    let o = create("container", &options)
        .unwrap()
        .run(Duration::from_secs(4));
    assert_eq!(o.status, Status::Unknown);
    let text = "container: no answer within 3.";
    assert!(o.message.starts_with(text), "{}", o.message);
    let o = check("container", json!({"socket": "/nowhere"}));
    assert_eq!(
        (o.status, o.message.as_str()),
        (
            Status::Unknown,
            "container: /nowhere: no such file or directory"
        )
    );
}

#[test]
fn restarts_and_the_oom_killer() {
    let list = answer(
        &json!([{"Id": "ab12", "Names": ["/web"], "Labels": null}, {"Id": "../x", "Names": ["/odd"]}]),
    );
    let web = |restarts: u64, oom: bool| {
        answer(
            &json!({"RestartCount": restarts, "State": {"Status": "running", "OOMKilled": oom, "StartedAt": "?"}}),
        )
    };
    let check = |texts: Vec<String>| {
        let (folder, options) = daemon(texts);
        (folder, create("container", &options).unwrap())
    };
    let (_folder, oom) = check(vec![list.clone(), web(0, true)]);
    let o = oom.run(LONG);
    let text = "web ran out of memory (OOM killer); web is running";
    assert_eq!((o.status, o.message.as_str()), (Status::Warn, text));
    // Gone between the list and the look.
    let (_folder, gone) = check(vec![
        list,
        "HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n{}".into(),
    ]);
    assert_eq!(gone.run(LONG).status, Status::Ok);
}
