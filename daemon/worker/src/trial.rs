//! `healthd --try FILE.so key=value…`: one run of a plugin, in a worker without a daemon. A thread plays the
//! manager over the same link, so the plugin sees exactly what it will see later.

use crate::probe::answer_apart;
use crate::role::{Files, serve};
use crate::trial_watch;
use healthd_core::check::outcome::Status;
use healthd_core::config::{pairs, sensitive};
use healthd_core::wire::asks::MapReply;
use healthd_core::wire::control::{CheckDetail, CheckRow};
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::roles::WorkerArgs;
use healthd_core::wire::supervisor::WorkerClass;
use healthd_core::wire::worker::{Define, Finished, Run, ToManager, ToWorker};
use healthd_loader::{Descriptor, Library, Workload};
use healthd_scoreboard::objects_map::ObjectsMap;
use healthd_scoreboard::worker_map::Blank;
use healthd_sys::unix_socket::{self, Received};
use healthd_sys::{clock, memfd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

const USAGE: &str =
    "usage: healthd --try FILE.so [--plugin NAME] [--timeout 5s] [--options FILE] [key=value ...]";

/// Prints one JSON object of the shape of `healthctl show`; the exit code is the status (0 to 3), or `NOT_RUN`.
pub fn try_main(args: &[String]) -> i32 {
    healthd_sys::signals::unblock_all();
    let Some(dir) = trial_watch::dir() else {
        let watched = parse(args).and_then(|wish| {
            let config = serde_json::to_string(&wish.config).map_err(|e| e.to_string())?;
            trial_watch::watch(&wish.args, &config, wish.file)
        });
        return watched.unwrap_or_else(|why| {
            eprintln!("error: {why}");
            NOT_RUN
        });
    };
    let tried = answer_apart()
        .map_err(|e| format!("standard output: {e}"))
        .and_then(|out| Ok((out, attempt(args, dir)?)));
    match tried {
        Ok((mut out, (status, text))) => {
            // Who has left does not want to know.
            let _ = writeln!(out, "{text}");
            i32::from(status as u8)
        }
        Err(why) => {
            eprintln!("error: {why}");
            NOT_RUN
        }
    }
}

/// EX_DATAERR: there was nothing to run, and standard error says why.
const NOT_RUN: i32 = 65;

struct Wish<'a> {
    file: &'a str,
    plugin: Option<&'a str>,
    timeout_ns: Option<u64>,
    /// Read once: standard input has no second time.
    config: toml::Table,
    /// All but the options.
    args: Vec<&'a str>,
}

fn parse(args: &[String]) -> Result<Wish<'_>, String> {
    let mut wish = Wish {
        file: "",
        plugin: None,
        timeout_ns: None,
        config: toml::Table::new(),
        args: Vec::new(),
    };
    let mut rest = args.iter().map(String::as_str);
    let mut pairs = Vec::new();
    while let Some(arg) = rest.next() {
        match arg {
            "--plugin" => {
                let name = rest.next().ok_or(USAGE)?;
                wish.plugin = Some(name);
                wish.args.extend([arg, name]);
            }
            "--timeout" => {
                let text = rest.next().ok_or(USAGE)?;
                wish.args.extend([arg, text]);
                let timeout = healthd_units::duration::parse(text)
                    .map_err(|e| format!("--timeout {e}: {}", e.help()))?;
                wish.timeout_ns = Some(timeout.as_nanos() as u64);
            }
            "--options" => wish.config = read_options(rest.next().ok_or(USAGE)?)?,
            text if wish.file.is_empty() => {
                wish.file = text;
                wish.args.push(text);
            }
            pair => pairs.push(pair),
        }
    }
    let given = pairs::table(&pairs)?;
    // What is said on the command line goes before what stands in the file.
    wish.config.extend(given);
    if wish.file.is_empty() {
        Err(USAGE.into())
    } else {
        Ok(wish)
    }
}

/// The options of a check as in its `config`, from a file or (`-`) standard input: what stands on a command line can be
/// seen by everybody.
fn read_options(from: &str) -> Result<toml::Table, String> {
    let read = match from {
        "-" => std::io::read_to_string(std::io::stdin()),
        file => std::fs::read_to_string(file),
    };
    let named = |e: &dyn std::fmt::Display| format!("--options {from}: {e}");
    let text = read.map_err(|e| named(&e))?;
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map_err(|e| named(&e)),
        false => text.parse().map_err(|e: toml::de::Error| named(&e)),
    }
}

fn attempt(args: &[String], dir: PathBuf) -> Result<(Status, String), String> {
    let wish = parse(args)?;
    let named = |e: std::io::Error| format!("{}: {e}", wish.file);
    let mut source = File::open(wish.file).map_err(named)?;
    let copy = memfd::sealed_copy("try", &mut source, 256 << 20).map_err(named)?;
    // Nothing of it has run yet, and nothing of it is to run as root.
    healthd_sys::privileges::become_nobody().map_err(named)?;
    // Without the one that watches nobody would read the answer.
    healthd_sys::process::die_with_parent(std::os::unix::process::parent_id()).map_err(named)?;
    let library = Library::open(&copy, Path::new(wish.file)).map_err(|e| e.to_string())?;
    let names: Vec<&str> = library
        .plugins
        .iter()
        .map(|p| p.descriptor.name.as_str())
        .collect();
    let descriptor = match wish.plugin {
        Some(name) => library.plugins.iter().find(|p| p.descriptor.name == name),
        None if names.len() == 1 => library.plugins.first(),
        None => {
            return Err(format!(
                "{} holds several plugins: name one with --plugin: {}",
                wish.file,
                names.join(", ")
            ));
        }
    };
    let descriptor = &descriptor
        .ok_or_else(|| {
            format!(
                "{} has no such plugin; it has {}",
                wish.file,
                names.join(", ")
            )
        })?
        .descriptor;
    let config = serde_json::to_value(&wish.config).map_err(|e| e.to_string())?;
    check_config(&descriptor.schema, &config)?;
    let timeout_ns = wish
        .timeout_ns
        .unwrap_or(u64::from(descriptor.default_timeout_ms.max(1)) * 1_000_000);
    let run = OneRun {
        config: config.to_string(),
        timeout_ns,
    };
    let finished = one_run(wish.file, descriptor, copy, run, dir)?;
    let config = sensitive::masked(&config).map_or(config, |(shown, _)| shown);
    let detail = detail(descriptor, &finished, config, timeout_ns);
    Ok((
        finished.status,
        serde_json::to_string(&detail).map_err(|e| e.to_string())?,
    ))
}

fn check_config(schema: &serde_json::Value, config: &serde_json::Value) -> Result<(), String> {
    let schema =
        healthd_core::config::schema::Schema::compile(schema).map_err(|e| e.to_string())?;
    let wrong: Vec<String> = schema
        .validate(config, &healthd_core::config::schema::Masks::default())
        .iter()
        .map(|v| match &v.help {
            Some(help) => format!("{v}: {help}"),
            None => v.to_string(),
        })
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\nerror: "))
    }
}

struct OneRun {
    config: String,
    timeout_ns: u64,
}

fn one_run(
    file: &str,
    descriptor: &Descriptor,
    copy: OwnedFd,
    run: OneRun,
    dir: PathBuf,
) -> Result<Finished, String> {
    let (ours, theirs) = unix_socket::link_pair().map_err(|e| e.to_string())?;
    let args = WorkerArgs {
        link: -1,
        parent: 0,
        of: dir,
        slot: 0,
        class: match descriptor.workload {
            Workload::Io | Workload::Block => WorkerClass::Io,
            Workload::Cpu => WorkerClass::Cpu,
            Workload::Exec => WorkerClass::Exec,
        },
        generation: 0,
        threads: 4,
        map: -1,
        counters: -1,
        log_to: 2,
        secrets_to: -1,
        log: "warn".into(),
    };
    let files = files_in(&args.of).map_err(|e| e.to_string())?;
    let load = ToWorker::Load {
        plugin: 0,
        index: descriptor.index,
        name: descriptor.name.clone(),
        file: file.to_owned(),
    };
    let manager = std::thread::spawn(move || play_manager(&ours, &load, copy, run));
    // The worker's work is done on this thread, as in a real worker: it ends when the other side hangs up.
    let served = serve(&args, theirs, files);
    let finished = manager
        .join()
        .map_err(|_| "the run could not be followed".to_owned())?;
    served.map_err(|e| broken(file, &e))?;
    finished
}

/// Neither a result nor a crash: whoever does that has hurt what is not its own.
fn broken(file: &str, e: &dyn std::fmt::Display) -> String {
    format!(
        "{file}: the plugin broke the worker that ran it ({e}): it may have closed descriptors that are not its own"
    )
}

fn files_in(dir: &Path) -> std::io::Result<Files> {
    ObjectsMap::create(dir, 0o600)?;
    let blank = Blank::new(dir, 0, 0o600)?;
    blank.name(0, std::process::id())?;
    Ok(Files {
        map: blank.file.try_clone()?,
        counters: Some(ObjectsMap::open_file(dir)?),
    })
}

fn play_manager(
    link: &OwnedFd,
    load: &ToWorker,
    copy: OwnedFd,
    run: OneRun,
) -> Result<Finished, String> {
    let ToWorker::Load { file, .. } = load else {
        return Err("nothing to load".into());
    };
    let text = |e: std::io::Error| broken(file, &e);
    let mut message = Vec::new();
    load.encode(&mut message);
    unix_socket::send(link, &message, &[copy.as_fd()]).map_err(text)?;
    message.clear();
    ToWorker::Start.encode(&mut message);
    unix_socket::send(link, &message, &[]).map_err(text)?;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).map_err(|e| broken(file, &e))?;
        match unix_socket::receive(link, &mut buffer, false).map_err(text)? {
            Received::Empty => {}
            Received::Closed => return Err(broken(file, &"it ended without a result")),
            Received::Message(n, _) => {
                let mut rest = &buffer[..n];
                while let Some(said) = ToManager::decode(&mut rest).map_err(|e| e.to_string())? {
                    match said {
                        // As for every worker: nothing is to run before the plugin is loaded.
                        ToManager::Ready { .. } => one_check(link, &run.config, run.timeout_ns)?,
                        ToManager::Finished(finished) => return Ok(*finished),
                        ToManager::LoadFailed { reason, .. } => return Err(reason),
                        // Nobody is there to keep a map, and nobody else to lock out.
                        ToManager::Map(ask) => {
                            let reply = MapReply {
                                ask: ask.ask,
                                error: -libc::ENOSYS,
                                ..MapReply::default()
                            };
                            answer(link, &ToWorker::Map(Box::new(reply)))?;
                        }
                        ToManager::Lock(ask) => {
                            let ask = ask.ask;
                            answer(link, &ToWorker::Lock { ask, error: 0 })?;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// The check, and its only run.
fn one_check(link: &OwnedFd, config: &str, timeout_ns: u64) -> Result<(), String> {
    let mut message = Vec::new();
    let define = Define {
        check: 0,
        epoch: 1,
        plugin: 0,
        timeout_ns,
        timeout_status: Status::Critical,
        batch_ns: 0,
        name: "try".into(),
        config: config.to_owned(),
        secrets: Vec::new(),
    };
    ToWorker::Define(define).encode(&mut message);
    let run = Run {
        run_id: 1,
        check: 0,
        epoch: 1,
        attempt: 1,
        start_ns: clock::monotonic_ns(),
        last_status: 255,
        urgent: true,
    };
    ToWorker::Run(run).encode(&mut message);
    unix_socket::send(link, &message, &[])
        .map(drop)
        .map_err(|e| e.to_string())
}

fn answer(link: &OwnedFd, message: &ToWorker) -> Result<(), String> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    unix_socket::send(link, &bytes, &[])
        .map(drop)
        .map_err(|e| e.to_string())
}

fn detail(
    descriptor: &Descriptor,
    f: &Finished,
    config: serde_json::Value,
    timeout_ns: u64,
) -> CheckDetail {
    CheckDetail {
        row: CheckRow {
            name: "try".into(),
            plugin: descriptor.name.clone(),
            verdict: Some(f.status.into()),
            status: Some(f.status),
            fault: f.ending.fault(),
            message: Some(f.message.clone()),
            latency_ms: Some((f.finished_ns - f.started_ns) as f64 / 1e6),
            attempt: Some(1),
            attempts: Some(1),
            metrics: Some(f.metrics.clone()),
            ..CheckRow::default()
        },
        timeout_ms: timeout_ns / 1_000_000,
        config,
        detail: f.detail.clone(),
        phases: f.phases.clone(),
        run_labels: f.labels.iter().cloned().collect(),
        cpu_ms: Some(f.cpu_ns as f64 / 1e6),
        queue_ms: Some(f.queue_ns as f64 / 1e6),
        runs: 1,
        ..CheckDetail::default()
    }
}
