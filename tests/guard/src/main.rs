//! `cargo run --release -p healthd-guard`: how many instructions each hot path takes, held against `tests/guard/baseline`.
//! More than [`RISE_PERCENT`] above it fails, with the path's name. `-- --write` writes the baseline anew.
//!
//! Instructions are counted by valgrind, which runs the same ones however busy or fast a machine is. A path is done some
//! times, and twice as often: half of the difference is the path itself, without the start of the program and what the path
//! makes ready. The counts are those of one compiler: with another one nothing is held against anything, and that is said.
#![forbid(unsafe_code)]

mod paths;

use paths::HotPath;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const RISE_PERCENT: f64 = 5.0;
const WRITE: &str = "cargo run --release -p healthd-guard -- --write";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        _ if cfg!(debug_assertions) => Err("only what --release builds is counted".into()),
        [] => compare(),
        ["--write"] => write(),
        // What is counted: the same program.
        ["--do", name, times] => perform(name, times),
        _ => Err(format!("usage: {WRITE}\nwithout `--write` it compares")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("guard: {why}");
            ExitCode::FAILURE
        }
    }
}

fn perform(name: &str, times: &str) -> Result<(), String> {
    let path = paths::ALL.iter().find(|path| path.name == name);
    let path = path.ok_or_else(|| format!("there is no path `{name}`"))?;
    let times = times.parse().map_err(|e| format!("`{times}`: {e}"))?;
    (path.run)(times);
    Ok(())
}

fn compare() -> Result<(), String> {
    // Not there, or not for this machine: that is no fault of a path.
    if let Err(why) = collected(&paths::ALL[0], 1) {
        println!("skipped: instructions of hot paths are not counted: {why}");
        return Ok(());
    }
    let file = baseline_file();
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let baseline = Baseline::read(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let here = machine()?;
    if baseline.of != here {
        println!(
            "skipped: the baseline of instructions is of {}, and this is {here}: write it anew with `{WRITE}`",
            baseline.of
        );
        return Ok(());
    }
    let mut found = BTreeMap::new();
    for path in &paths::ALL {
        let count = count(path)?;
        let before = baseline.counts.get(path.name);
        let before = before.map_or_else(String::new, |n| format!("{n:9.1}"));
        println!(
            "{:34} {count:9.1} instructions, baseline {before}",
            path.name
        );
        found.insert(path.name.to_owned(), count);
    }
    let Held { risen, fallen } = baseline.hold(&found);
    for line in fallen {
        println!("{line}: write it down with `{WRITE}`");
    }
    match risen.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}\nmake it cheaper, or say in the commit why it costs more and write `{WRITE}`",
            risen.join("\n")
        )),
    }
}

fn write() -> Result<(), String> {
    let mut text = format!("{}\n", machine()?);
    for path in &paths::ALL {
        let line = format!("{:34} {:.1}", path.name, count(path)?);
        println!("{line}");
        let _ = writeln!(text, "{line}");
    }
    let file = baseline_file();
    std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline")
}

/// What decides on the instructions of a program: its processor's kind, and its compiler.
fn machine() -> Result<String, String> {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_err(|e| format!("rustc --version: {e}"))?;
    let version = String::from_utf8_lossy(&rustc.stdout);
    Ok(format!("{} {}", std::env::consts::ARCH, version.trim()))
}

/// Of one time.
fn count(path: &HotPath) -> Result<f64, String> {
    let once = collected(path, path.times)?;
    let twice = collected(path, 2 * path.times)?;
    Ok((twice - once) / path.times as f64)
}

fn collected(path: &HotPath, times: u64) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--do", path.name, &times.to_string()])
        // A copy in memory takes another way on each processor: the same one here.
        .env("GLIBC_TUNABLES", COMMON)
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = said.lines().find_map(|l| l.split_once("Collected : "));
    match number.and_then(|(_, n)| n.trim().parse().ok()) {
        Some(number) if output.status.success() => Ok(number),
        _ => Err(format!("valgrind of `{}` failed:\n{said}", path.name)),
    }
}

/// What a machine was found to take, as it is in the file: the machine, then a line for each path.
#[derive(Debug, PartialEq)]
struct Baseline {
    of: String,
    counts: BTreeMap<String, f64>,
}

/// Whole lines.
#[derive(Debug, Default, PartialEq)]
struct Held {
    risen: Vec<String>,
    fallen: Vec<String>,
}

impl Baseline {
    fn read(text: &str) -> Result<Baseline, String> {
        let (of, lines) = text.split_once('\n').ok_or("it is empty")?;
        let counts = lines.lines().map(|line| {
            let (name, count) = line.rsplit_once(' ').ok_or(line)?;
            Ok((name.trim().to_owned(), count.parse().map_err(|_| line)?))
        });
        let counts: Result<_, &str> = counts.collect();
        Ok(Baseline {
            of: of.to_owned(),
            counts: counts.map_err(|line| format!("`{line}` is no name with a number"))?,
        })
    }

    fn hold(&self, found: &BTreeMap<String, f64>) -> Held {
        let mut held = Held::default();
        for (name, now) in found {
            let Some(before) = self.counts.get(name) else {
                held.risen.push(format!("`{name}` has no baseline"));
                continue;
            };
            let percent = (now / before - 1.0) * 100.0;
            let line = format!("`{name}`: {percent:+.1} % instructions, {before:.1} -> {now:.1}");
            if percent > RISE_PERCENT {
                held.risen
                    .push(format!("{line}, more than {RISE_PERCENT} % allowed"));
            } else if percent < -RISE_PERCENT {
                held.fallen.push(line);
            }
        }
        held
    }
}

const COMMON: &str = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load,-Prefer_No_VZEROUPPER";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, n)| ((*name).into(), *n)).collect()
    }

    #[test]
    fn what_rises_is_named() {
        let text =
            "x86_64 rustc 1\nconfig::load of [[check]]   20000.5\njudge 100\nadd 100\nfits 100\n";
        let baseline = Baseline::read(text).expect("it is one");
        assert_eq!(baseline.of, "x86_64 rustc 1");
        let found = counts(&[
            ("config::load of [[check]]", 20_500.0),
            ("judge", 105.1),
            ("add", 104.9),
            ("fits", 94.0),
            ("new", 1.0),
        ]);
        let Held { risen, fallen } = baseline.hold(&found);
        assert_eq!(
            risen,
            [
                "`judge`: +5.1 % instructions, 100.0 -> 105.1, more than 5 % allowed",
                "`new` has no baseline"
            ]
        );
        assert_eq!(fallen, ["`fits`: -6.0 % instructions, 100.0 -> 94.0"]);
    }

    #[test]
    fn a_baseline_that_is_none_is_told() {
        for text in ["", "x86_64\njudge\n", "x86_64\njudge many\n"] {
            assert!(Baseline::read(text).is_err(), "{text:?}");
        }
    }

    /// Else the difference of two counts would be that of something else.
    #[test]
    fn each_path_runs_and_has_its_line() {
        let text = std::fs::read_to_string(baseline_file()).expect("the file in the repository");
        let baseline = Baseline::read(&text).expect("it is one");
        let mut names: Vec<&str> = paths::ALL.iter().map(|p| p.name).collect();
        names.sort_unstable();
        assert!(baseline.counts.keys().eq(names), "{baseline:?}");
        for path in &paths::ALL {
            (path.run)(10);
        }
    }
}
