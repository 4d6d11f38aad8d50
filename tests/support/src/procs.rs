//! What /proc says of the daemon's processes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// CPU time in clock ticks of 10 ms.
const TICK_MS: f64 = 10.0;

/// The children of a process, by pid.
pub fn children(parent: u32) -> Vec<u32> {
    everybody()
        .filter(|pid| stat(*pid).is_some_and(|s| s.1 == parent))
        .collect()
}

/// A process and all that live below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in everybody() {
        if let Some((_, parent)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut at = 0;
    while at < all.len() {
        all.extend(children.get(&all[at]).into_iter().flatten());
        at += 1;
    }
    all
}

/// R, S, T, Z ... None: there is no such process.
pub fn state(pid: u32) -> Option<char> {
    stat(pid).map(|s| s.0)
}

/// The role of a process of the daemon: "manager", "worker io" ...
pub fn role(pid: u32) -> Option<String> {
    let args = arguments(pid)?;
    let after = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        args.get(at + 1).cloned()
    };
    let role = after("--role")?;
    Some(match after("--class") {
        Some(class) => format!("{role} {class}"),
        None => role,
    })
}

/// Processes that are still there and have a path below `dir` in their arguments.
pub fn in_directory(dir: &Path) -> Vec<u32> {
    // With the slash, or the directory of test 11 would be one of test 1.
    let below = format!("{}/", dir.display());
    everybody()
        .filter(|pid| *pid != std::process::id() && state(*pid) != Some('Z'))
        .filter(|pid| arguments(*pid).is_some_and(|args| args.iter().any(|a| a.contains(&below))))
        .collect()
}

/// Processes that are still there and have this variable in their environment.
pub fn with_variable(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    everybody()
        .filter(|pid| *pid != std::process::id() && state(*pid) != Some('Z'))
        .filter(|pid| {
            let all = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            all.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
        })
        .collect()
}

/// Open descriptors.
pub fn fds(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Resident memory that is this process's own (no file, no shared map).
pub fn anonymous_kb(pid: u32) -> Option<u64> {
    number_of(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "RssAnon:",
    )
}

/// The soft limit.
pub fn open_files_limit(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find(|l| l.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

pub fn address_space_kb(pid: u32) -> Option<u64> {
    number_of(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "VmSize:",
    )
}

/// CPU time of the tree in ms: each live process with the children that it has reaped.
pub fn cpu_ms(root: u32) -> f64 {
    let of = |pid: u32| -> f64 {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let times = fields.split_ascii_whitespace().skip(11).take(4);
        times.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() * TICK_MS
    };
    tree(root).into_iter().map(of).sum()
}

/// CPU time of one process in ms, all its threads, to the microsecond.
pub fn own_cpu_ms(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = text.split_ascii_whitespace().next();
        ns.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    tasks.map(of).sum::<f64>() / 1e6
}

/// The same of a process and all that live below it: of what has ended nothing is left to count.
pub fn live_cpu_ms(root: u32) -> f64 {
    tree(root).into_iter().map(own_cpu_ms).sum()
}

/// Proportional set size of the tree in kB: shared pages are counted once.
pub fn pss_kb(root: u32) -> u64 {
    tree(root).into_iter().map(pss_of).sum()
}

pub fn pss_of(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    number_of(&text, "Pss:").unwrap_or(0)
}

/// Of that, what its mappings of files of this name take.
pub fn pss_of_file(pid: u32, file: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut is_it, mut kb) = (false, 0);
    for line in text.lines() {
        match line.split_whitespace().next() {
            Some("Pss:") if is_it => kb += number_of(line, "Pss:").unwrap_or(0),
            Some(word) if !word.ends_with(':') => is_it = line.ends_with(&format!("/{file}")),
            _ => {}
        }
    }
    kb
}

pub fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Number and name of each of its threads.
pub fn threads(pid: u32) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let tid = task.file_name().to_str()?.parse().ok()?;
        Some((tid, name.trim().to_owned()))
    };
    tasks.filter_map(of).collect()
}

/// Voluntary context switches of all threads of a process: how often it has gone to sleep.
pub fn sleeps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        number_of(&text, "voluntary_ctxt_switches").unwrap_or(0)
    };
    tasks.map(of).sum()
}

/// The number after this word at the begin of a line.
fn number_of(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(word))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn everybody() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// State and parent.
fn stat(pid: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn arguments(pid: u32) -> Option<Vec<String>> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(
        text.split(|b| *b == 0)
            .map(|a| String::from_utf8_lossy(a).into_owned())
            .collect(),
    )
}
