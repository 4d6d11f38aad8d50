//! The plugins of Debian's monitoring-plugins and nagios-plugins-contrib, 500 command lines and more, beside a direct run:
//! the same status, the same first line, and every entry of the performance data is a metric or is named.
//!
//! `tests/run` shows the count among its totals; so does `cargo test --test suite -- nagios:: --show-output`.

use crate::harness::{Check, Config, check, skipped};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;

const FOLDER: &str = "/usr/lib/nagios/plugins";
/// Few enough that no plugin's own time-out comes from the machine's load.
const AT_ONCE: usize = 4;

/// A line that differs each time differs.
const AGAIN: usize = 5;

/// They wait for what is not there, ask the network, or are libraries.
const LEFT_OUT: [&str; 4] = ["check_dhcp", "check_rbl", "utils.pm", "utils.sh"];
#[test]
fn plugins_of_debian_beside_a_direct_run() {
    let Ok(folder) = fs::read_dir(FOLDER) else {
        return skipped("monitoring-plugins is not installed");
    };
    let mut names: Vec<String> = folder
        .flatten()
        .filter_map(|f| f.file_name().into_string().ok())
        .filter(|name| !LEFT_OUT.contains(&&**name))
        .collect();
    names.sort();
    if names.len() < 60 {
        return skipped(
            "monitoring-plugins-standard and monitoring-plugins-contrib are not installed",
        );
    }
    let web = healthd_testing::Peer::answering(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    );
    let refused = healthd_testing::free_port("127.0.0.1").to_string();
    let lines = command_lines(&names, &web.addr.port().to_string(), &refused);
    assert!(lines.len() >= 500, "{} command lines", lines.len());

    let mut config = Config::new().pool("exec", &format!("max_parallel = {AT_ONCE}\n"));
    for (n, line) in lines.iter().enumerate() {
        config = config.check(as_check(n, line));
    }
    let direct = run_directly(&lines);
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let rows: BTreeMap<String, Value> = daemon
        .ask("run", serde_json::json!({}))
        .into_iter()
        .filter_map(|row| Some((row["name"].as_str()?.to_owned(), row)))
        .collect();

    let mut count = Count::default();
    let mut wrong = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let name = format!("line-{n}");
        let mut told = count.compare(&rows[&name], &daemon.detail(&name), &direct[n]);
        // What is measured may have moved in between: then they are run again, one right after the other.
        for _ in 0..AGAIN {
            if told.is_ok() {
                break;
            }
            let direct = directly(line);
            let row = daemon.run(&name);
            told = count.compare(&row, &daemon.detail(&name), &direct);
        }
        if let Err(why) = told {
            wrong.push(format!("{}: {why}", line.join(" ")));
        }
    }
    eprintln!(
        "counted: {} command lines of Debian's monitoring plugins beside a direct run: {count:?}; {} differ",
        lines.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count.entries >= 100, "{count:?}");
}

fn as_check(n: usize, line: &[String]) -> Check {
    check(&format!("line-{n}"))
        .plugin("exec")
        .interval("1h")
        .timeout("55s")
        .set("config", &format!("{{ argv = {line:?} }}"))
}

/// Each plugin with the arguments that all have, and many that do something. What they measure does not decide.
fn command_lines(names: &[String], web: &str, refused: &str) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, arguments: &str| {
        if names.iter().any(|n| n == name) {
            let mut line = vec![format!("{FOLDER}/{name}")];
            line.extend(words(arguments));
            lines.push(line);
        }
    };
    for name in names {
        for argument in ["--help", "--version", "--no-such-option"] {
            add(name, argument);
        }
    }
    for status in 0..5 {
        for text in ["", "fine", "'two words'", "'a | b=1'", "'käse'"] {
            add("check_dummy", &format!("{status} {text}"));
        }
    }
    for limits in ["-w 100,100,100 -c 200,200,200", "-w 0,0,0 -c 900,900,900"] {
        add("check_load", limits);
    }
    for unit in ["-m", "-k", "-u GB", "-u bytes", ""] {
        for limits in [
            "-w 0% -c 0%",
            "-w 100% -c 0%",
            "-w 100% -c 100%",
            "-w 1 -c 0",
        ] {
            add("check_disk", &format!("{limits} {unit} -p /"));
        }
    }
    add("check_disk", "-w 0% -c 0% -W 0% -K 0% -p / -p /etc");
    add("check_disk", "-w 0% -c 0% -p /nowhere");
    for what in [
        "-w 0:99999",
        "-c 1:1",
        "-C nobody-runs-this -c 0:0",
        "-s Z -w 99999",
        "-a init -w 1:",
    ] {
        add("check_procs", what);
    }
    for metric in ["RSS", "VSZ", "CPU", "ELAPSED"] {
        add(
            "check_procs",
            &format!("-m {metric} -w 0:999999999 -c 0:999999999"),
        );
    }
    for limits in ["-w 0% -c 0%", "-w 100% -c 100%", "-w 0 -c 0 -n ok"] {
        add("check_swap", limits);
    }
    for limits in ["-w 99 -c 100", "-w 0 -c 0"] {
        add("check_users", limits);
    }
    for file in ["/etc/passwd", "/nowhere"] {
        for limits in [
            "-w 1 -c 999999999",
            "-w 999999998 -c 999999999",
            "-W 1 -C 1",
        ] {
            add("check_file_age", &format!("{limits} -f {file}"));
        }
    }
    for port in [web, refused] {
        for more in [
            "",
            "-w 5 -c 10",
            "-e HTTP -s GET",
            "-t 5 -M ok",
            "-r warn",
            "-E -s x\\n",
        ] {
            add("check_tcp", &format!("-H 127.0.0.1 -p {port} {more}"));
        }
        for more in [
            "",
            "-w 5 -c 10",
            "-s hello",
            "-s nothing",
            "-e 200",
            "-e 404",
            "-u /x",
            "-j HEAD",
            "-N",
        ] {
            add("check_http", &format!("-I 127.0.0.1 -p {port} {more}"));
        }
    }
    // Where nobody answers: a web server would let some of them wait.
    for name in [
        "check_ssh",
        "check_smtp",
        "check_ftp",
        "check_imap",
        "check_pop",
        "check_nntp",
        "check_jabber",
    ] {
        add(name, &format!("-H 127.0.0.1 -p {refused} -t 5"));
    }
    add("check_time", &format!("-H 127.0.0.1 -p {refused}"));
    add("check_ldap", &format!("-H 127.0.0.1 -p {refused} -b dc=x"));
    add("check_pgsql", &format!("-H 127.0.0.1 -P {refused}"));
    add("check_mysql", &format!("-H 127.0.0.1 -P {refused}"));
    for limits in ["100,20% 200,40%", "0.0001,20% 0.0002,40%"] {
        let (warn, crit) = limits.split_once(' ').expect("two");
        add(
            "check_ping",
            &format!("-H 127.0.0.1 -w {warn} -c {crit} -p 1"),
        );
        add(
            "check_icmp",
            &format!("-H 127.0.0.1 -w {warn} -c {crit} -n 1"),
        );
        add(
            "check_fping",
            &format!("-H 127.0.0.1 -w {warn} -c {crit} -n 1"),
        );
    }
    for data in ["0,0,0", "0,1,2", "2,2,2", "3,3,0", "1,1"] {
        for limits in ["-w 1 -c 2", "-w 0 -c 0", "-w @1:2 -c 3:"] {
            for kind in ["-h", "-s"] {
                add(
                    "check_cluster",
                    &format!("{kind} -d {data} {limits} -l web"),
                );
            }
        }
    }
    for (state, status) in [
        ("-o CRITICAL", 0),
        ("-c OK", 2),
        ("-w UNKNOWN", 1),
        ("-s -u OK", 3),
        ("", 2),
    ] {
        add(
            "negate",
            &format!("{state} {FOLDER}/check_dummy {status} 'said | a=1;2;3'"),
        );
        add(
            "urlize",
            &format!("http://x/ {FOLDER}/check_dummy {status} said"),
        );
    }
    for status in ["0", "1"] {
        add(
            "check_real",
            &format!("-H 127.0.0.1 -p {refused} -t {status}"),
        );
        add(
            "check_snmp",
            &format!("-H 127.0.0.1 -p {refused} -o sysUpTime.0 -t 1 -e {status}"),
        );
    }
    for name in [
        "check_memory",
        "check_nbprocs",
        "check_uptime",
        "check_madrisan_swap",
        "check_madrisan_uptime",
        "check_madrisan_users",
        "check_readonlyfs",
    ] {
        for arguments in [
            "-w 1 -c 2",
            "-w 99999999 -c 99999999",
            "-w 1%",
            "-s",
            "-w 100: -c 50:",
        ] {
            add(name, arguments);
        }
    }
    lines
}

/// Split at blanks, but not within single quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, piece) in text.split('\'').enumerate() {
        match n % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}

struct Direct {
    code: Option<i32>,
    out: String,
}

/// With what the plugin exec gives to a program, and nothing in between.
fn run_directly(lines: &[Vec<String>]) -> Vec<Direct> {
    let next = Mutex::new(0..lines.len());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|s| {
        for _ in 0..AT_ONCE {
            s.spawn(|| {
                while let Some(n) = next.lock().expect("no panic").next() {
                    let direct = directly(&lines[n]);
                    done.lock().expect("no panic").insert(n, direct);
                }
            });
        }
    });
    done.into_inner().expect("no panic").into_values().collect()
}

fn directly(line: &[String]) -> Direct {
    let inherited = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"];
    let environment = inherited
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name).filter(|v| !v.is_empty())?)));
    let output = Command::new("timeout")
        .arg("55")
        .args(line)
        .env_clear()
        .envs(environment)
        .env("LC_NUMERIC", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .unwrap_or_else(|e| panic!("{line:?}: {e}"));
    Direct {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

#[derive(Debug, Default)]
struct Count {
    same_line: usize,
    /// But for numbers, which no two runs have in common.
    same_but_numbers: usize,
    no_output: usize,
    entries: usize,
    metrics: usize,
    named: usize,
}

impl Count {
    fn compare(&mut self, row: &Value, detail: &Value, direct: &Direct) -> Result<(), String> {
        let status = row["status"].as_str().unwrap_or_default();
        let wanted = match direct.code {
            Some(0) => "ok",
            Some(1) => "warning",
            Some(2) => "critical",
            _ => "unknown",
        };
        if status != wanted {
            return Err(format!(
                "{status}, directly {wanted}: {row} {:?}",
                direct.out
            ));
        }
        let message = row["message"].as_str().unwrap_or_default();
        let first = direct.out.trim_start().lines().next().unwrap_or_default();
        let (text, _) = first.split_once('|').unwrap_or((first, ""));
        let text = text
            .replace(|c: char| c.is_control(), " ")
            .trim()
            .to_owned();
        if text.is_empty() {
            self.no_output += 1;
        } else if message.contains(&text) {
            self.same_line += 1;
        } else if without_numbers(message).contains(&without_numbers(&text)) {
            self.same_but_numbers += 1;
        } else {
            return Err(format!("says {message:?}, directly {text:?}"));
        }
        // Of the run itself, as the one beside it may have other entries.
        let detail = detail["detail"].as_str().unwrap_or_default();
        let raw = detail
            .split_once("performance data: ")
            .map_or("", |(_, raw)| raw);
        let refused = detail
            .split_once("performance data not understood: ")
            .map_or("", |(_, rest)| rest.split('\n').next().unwrap_or_default());
        let metrics: Vec<&str> = row["metrics"].as_array().map_or(Vec::new(), |all| {
            all.iter().filter_map(|m| m["name"].as_str()).collect()
        });
        if first.contains('|') && raw.is_empty() && !first.trim_end().ends_with('|') {
            return Err(format!(
                "no performance data in {detail:?}, directly {first:?}"
            ));
        }
        for label in labels(raw) {
            self.entries += 1;
            if metrics.contains(&&*label) {
                self.metrics += 1;
            } else if refused.contains(&label) {
                self.named += 1;
            } else {
                return Err(format!(
                    "{label:?} of {raw:?} is neither in {metrics:?} nor named in {refused:?}"
                ));
            }
        }
        Ok(())
    }
}

fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' | ',' | '-' => {
                if !kept.ends_with('#') {
                    kept.push('#');
                }
            }
            c => kept.push(c),
        }
    }
    kept
}

/// What stands before each `=`, as the guidelines have it; not by the parser that is tested.
fn labels(raw: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for line in raw.lines() {
        let mut word = String::new();
        let mut quoted = false;
        for (at, c) in line.char_indices() {
            // A usage text has bars and `=` too: an entry has a number, or U for none.
            let value = line[at + c.len_utf8()..]
                .starts_with(|v: char| v.is_ascii_digit() || "-.U".contains(v));
            match c {
                '\'' => quoted = !quoted,
                '=' if !quoted && value => {
                    labels.push(word.trim_matches([' ', ',', ';', '|']).to_owned());
                    word.clear();
                }
                ' ' | '|' if !quoted => word.clear(),
                c => word.push(c),
            }
        }
    }
    labels
}
