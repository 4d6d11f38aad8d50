//! What changes while it runs: plugins replaced under load, and reloads.

use crate::Options;
use crate::daemon::{Daemon, arrivals, target_dir};
use crate::figures::now;
use crate::peers;
use crate::runs::{balanced, http_checks, runs_of, totals, verdicts, wait, warm_up};
use healthd_core::wire::maps::StateSnapshot;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Seconds between two runs of a check.
const INTERVAL: f64 = 2.0;
/// Nothing here takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The http plugin replaced again and again under load, every good build followed by a broken one.
pub fn upgrade(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let checks = options.checks.min(4_000);
    let head = "plugin_trial = \"1s\"\n\n";
    let daemon = Daemon::start_with("upgrade", head, &http_checks(checks, nginx.port), &[])?;
    let builds = Builds::new(&daemon)?;
    println!(
        "upgrade: {} good and {} broken builds of the http plugin under {:.0} checks/s (trial 1 s)",
        options.upgrades,
        options.upgrades,
        checks as f64 / INTERVAL
    );
    warm_up(&daemon, 5.0, "")?;
    let mut watched = Watched::begin(&daemon)?;
    let (mut good, mut kept_out) = (Vec::new(), Vec::new());
    for n in 0..options.upgrades {
        let begun = Instant::now();
        builds.drop_in(&builds.good, n)?;
        watched.until("plugins changed", "a good build takes over")?;
        good.push(begun.elapsed().as_secs_f64() * 1e3);
        watched.until(
            "plugin has stood its trial",
            "a good build stands its trial",
        )?;
        let begun = Instant::now();
        builds.drop_in(&builds.broken[n % builds.broken.len()], n)?;
        watched.until("plugins not changed", "a broken build is kept out")?;
        kept_out.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    wait(2.0 * INTERVAL);
    let canaries = watched.canaries();
    println!("  taken over after      {}", spread(&mut good));
    println!(
        "  broken ones refused   {:8}  after {}",
        kept_out.len(),
        spread(&mut kept_out)
    );
    watched.books()?;
    let rhythm = Rhythm::of(&nginx, watched.begun_at, now(), &canaries)?;
    rhythm.print();
    println!(
        "  canary runs           {:8}  (beside the plan, for nobody's verdict)",
        canaries.values().sum::<usize>()
    );
    watched.false_verdicts();
    turn_bad(&builds, &mut watched)
}

/// Builds that turn bad once they serve: their trial ends, and the bytes from before come back.
fn turn_bad(builds: &Builds, watched: &mut Watched<'_>) -> Result<(), String> {
    let mut back = Vec::new();
    for (n, late) in builds.late.iter().cycle().take(6).enumerate() {
        builds.drop_in(late, n)?;
        watched.until(
            "plugins changed",
            "a build that is good at first takes over",
        )?;
        watched.until("failed its trial", "it turns bad")?;
        let begun = Instant::now();
        watched.until("plugins changed", "the bytes from before come back")?;
        back.push(begun.elapsed().as_secs_f64() * 1e3);
        wait(INTERVAL);
    }
    println!(
        "  turned bad on trial   {:8}  the bytes from before serve after {}",
        back.len(),
        spread(&mut back)
    );
    watched.books()?;
    watched.false_verdicts();
    Ok(())
}

/// A reload of many checks of which ten change; then one each second, beside the same time without.
pub fn reload(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let checks = options.checks.next_multiple_of(250).max(500);
    // The others of a block of 250 do not change.
    let config = |round: usize| {
        let more = |name: &str, n: u32, label: String| {
            format!(
                "[[check]]\nname = \"{name}-{{a}}\"\nplugin = \"http\"\nfor_each = {{ a = \"0..{n}\" }}\ninterval = \"2s\"\n\
                 timeout = \"1s\"\n{label}config = {{ url = \"http://127.3.0.1:{}/{name}-{{a}}\" }}\n\n",
                nginx.port
            )
        };
        http_checks(checks - 250, nginx.port)
            + &more("web-last", 240, String::new())
            + &more(
                "changing",
                10,
                format!("labels = {{ round = \"{round}\" }}\n"),
            )
    };
    let daemon = Daemon::start("reload", &config(0))?;
    println!("reload: {} http checks at 2 s, of which 10 change", checks);
    warm_up(&daemon, 6.0, "")?;
    let mut took = Vec::new();
    for round in 1..=5 {
        daemon.write_config("", &config(round))?;
        let report = daemon.ctl(&["--json", "reload"])?;
        took.push(report["took_ms"].as_f64().unwrap_or(f64::NAN));
        if round == 1 {
            println!(
                "  one reload            {} changed, {} untouched, {} added, {} removed, {} ms",
                report["changed"],
                report["unchanged"],
                report["added"],
                report["removed"],
                report["took_ms"]
            );
        }
    }
    println!("  five reloads          {}", spread(&mut took));
    for reloads in [false, true] {
        let before = daemon.state()?;
        let (begun, begun_at) = (Instant::now(), now());
        let mut round = 100;
        while begun.elapsed().as_secs_f64() < options.seconds as f64 {
            if reloads {
                round += 1;
                daemon.write_config("", &config(round))?;
                let report = daemon.ctl(&["--json", "reload"])?;
                if report["changed"] != 10 {
                    return Err(format!("a reload changed others than ten checks: {report}"));
                }
            }
            let next = (begun.elapsed().as_secs_f64() + 1.0).floor();
            wait((next - begun.elapsed().as_secs_f64()).max(0.0));
        }
        let after = daemon.state()?;
        let seconds = begun.elapsed().as_secs_f64();
        let runs = runs_of(&after, "") - runs_of(&before, "");
        let what = match reloads {
            true => format!("{} reloads", round - 100),
            false => "no reload".into(),
        };
        println!(
            "  {what:<21} {:8.1} checks/s of {:.0}  ({:.2} %), skipped {}, accounts balance {}",
            runs as f64 / seconds,
            checks as f64 / INTERVAL,
            100.0 * runs as f64 / seconds / (checks as f64 / INTERVAL),
            skipped(&after) - skipped(&before),
            balanced(&after)
        );
        // The server writes its log once a second.
        wait(1.5);
        Rhythm::of(&nginx, begun_at, begun_at + seconds, &HashMap::new())?.print();
    }
    verdicts(&daemon.state()?);
    Ok(())
}

fn skipped(state: &StateSnapshot) -> u64 {
    state.checks.iter().map(|(_, c)| c.skipped).sum()
}

fn spread(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    match (times.get(times.len() / 2), times.last()) {
        (Some(middle), Some(last)) => format!("p50 {middle:.0} ms, max {last:.0} ms"),
        _ => "nothing".into(),
    }
}

/// Builds of the http plugin: the real one, and some with something wrong in them.
struct Builds {
    installed: PathBuf,
    good: Vec<u8>,
    broken: Vec<Vec<u8>>,
    late: Vec<Vec<u8>>,
}

impl Builds {
    fn new(daemon: &Daemon) -> Result<Builds, String> {
        let real = target_dir().join("libhealthd_http.so");
        let read = |p: &Path| fs::read(p).map_err(|e| format!("{}: {e}", p.display()));
        let build = |how: char, after: u32| {
            let out = daemon.dir.join(format!("impostor_{how}_{after}.so"));
            let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let built = Command::new("cc")
                .args([
                    "-std=gnu11",
                    "-O1",
                    "-fPIC",
                    "-shared",
                    "-fvisibility=hidden",
                ])
                .arg("-I")
                .arg(tree.join("plugins/abi/include"))
                .arg(format!("-DREAL=\"{}\"", real.display()))
                .arg(format!("-DHOW='{how}'"))
                .arg(format!("-DAFTER={after}u"))
                .arg("-o")
                .arg(&out)
                .arg(tree.join("tests/plugins/impostor.c"))
                .output()
                .map_err(|e| format!("cc: {e}"))?;
            if !built.status.success() {
                return Err(String::from_utf8_lossy(&built.stderr).into_owned());
            }
            read(&out)
        };
        Ok(Builds {
            installed: daemon.dir.join("plugins/libhealthd_http.so"),
            good: read(&real)?,
            broken: vec![build('c', 0)?, build('u', 0)?, build('i', 0)?],
            late: vec![build('c', 300)?, build('u', 300)?],
        })
    }

    /// Some bytes behind an ELF file make it another one, and change nothing else.
    fn drop_in(&self, bytes: &[u8], n: usize) -> Result<(), String> {
        let temp = self.installed.with_extension("new");
        let bytes = [bytes, format!("build {n}").as_bytes()].concat();
        let mode = fs::Permissions::from_mode(0o644);
        fs::write(&temp, bytes)
            .and_then(|()| fs::set_permissions(&temp, mode))
            .and_then(|()| fs::rename(&temp, &self.installed))
            .map_err(|e| format!("{}: {e}", temp.display()))
    }
}

/// What the daemon says and keeps in its books meanwhile.
struct Watched<'a> {
    daemon: &'a Daemon,
    begun: Instant,
    begun_at: f64,
    before: StateSnapshot,
    /// Bytes of the log that were read.
    seen: usize,
    unbalanced: u64,
    lost: u64,
}

impl<'a> Watched<'a> {
    fn begin(daemon: &'a Daemon) -> Result<Watched<'a>, String> {
        Ok(Watched {
            daemon,
            begun: Instant::now(),
            begun_at: now(),
            before: daemon.state()?,
            seen: daemon.log().len(),
            unbalanced: 0,
            lost: 0,
        })
    }

    /// Until the log says so, after what was seen before; the books are looked at all the while.
    fn until(&mut self, words: &str, what: &str) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let log = self.daemon.log();
            if let Some(at) = log.get(self.seen..).and_then(|new| new.find(words)) {
                self.seen += at + words.len();
                return Ok(());
            }
            let state = self.daemon.state()?;
            self.unbalanced += u64::from(!balanced(&state));
            self.lost = self.lost.max(totals(&state).3);
            if begun.elapsed() > PATIENCE {
                return Err(format!("never seen: {what}\n{log}"));
            }
            wait(0.005);
        }
    }

    /// How often each check was run for a canary.
    fn canaries(&self) -> HashMap<String, usize> {
        let mut canaries = HashMap::new();
        for line in self
            .daemon
            .log()
            .lines()
            .filter(|l| l.contains("canary runs"))
        {
            let name = line
                .split_whitespace()
                .find_map(|w| w.strip_prefix("check=web-"));
            if let Some(name) = name {
                *canaries.entry(format!("/{name}")).or_default() += 1;
            }
        }
        canaries
    }

    fn books(&self) -> Result<(), String> {
        let after = self.daemon.state()?;
        let seconds = self.begun.elapsed().as_secs_f64();
        let runs = runs_of(&after, "") - runs_of(&self.before, "");
        let expected = seconds * after.checks.len() as f64 / INTERVAL;
        println!(
            "  runs                  {runs} of {expected:.0} ({:.2} %) in {seconds:.0} s; skipped {}; runs lost {}; {} looks out of balance",
            100.0 * runs as f64 / expected,
            skipped(&after) - skipped(&self.before),
            self.lost,
            self.unbalanced
        );
        verdicts(&after);
        Ok(())
    }

    fn false_verdicts(&self) {
        let log = self.daemon.log();
        let changed = log
            .lines()
            .filter(|l| l.contains("check changed") && !l.contains("to=ok"));
        println!("  false verdicts        {:8}", changed.count());
    }
}

/// How regularly each check's requests came, by the server's clock.
struct Rhythm {
    requests: usize,
    late: Vec<f64>,
    missed: usize,
    doubled: usize,
}

impl Rhythm {
    /// `apart`: requests of a check that were made beside its plan.
    fn of(
        nginx: &peers::Server,
        from: f64,
        until: f64,
        apart: &HashMap<String, usize>,
    ) -> Result<Rhythm, String> {
        let mut by_check: HashMap<String, Vec<f64>> = HashMap::new();
        for (uri, at) in arrivals(&nginx.dir.join("access.log"))? {
            if at >= from && at < until {
                by_check.entry(uri).or_default().push(at);
            }
        }
        let mut rhythm = Rhythm {
            requests: 0,
            late: Vec::new(),
            missed: 0,
            doubled: 0,
        };
        for (uri, mut times) in by_check {
            times.sort_by(f64::total_cmp);
            rhythm.requests += times.len();
            rhythm.add(&times, apart.get(&uri).copied().unwrap_or(0));
        }
        rhythm.late.sort_by(f64::total_cmp);
        Ok(rhythm)
    }

    fn add(&mut self, times: &[f64], apart: usize) {
        // Its grid: the middle of what its requests say.
        let Some(first) = times.first() else { return };
        let offset = |t: f64, phase: f64| {
            let off = (t - phase).rem_euclid(INTERVAL);
            if off > INTERVAL * 0.75 {
                off - INTERVAL
            } else {
                off
            }
        };
        let mut offsets: Vec<f64> = times.iter().map(|t| offset(*t, *first)).collect();
        offsets.sort_by(f64::total_cmp);
        let phase = first + offsets[offsets.len() / 2];
        // Each belongs to one place of the grid; two at one place are one too many.
        let mut places: HashMap<i64, Vec<f64>> = HashMap::new();
        for t in times {
            let late = offset(*t, phase);
            let place = ((t - late - phase) / INTERVAL).round() as i64;
            places.entry(place).or_default().push(late);
        }
        let twice: usize = places.values().map(|p| p.len() - 1).sum();
        self.doubled += twice.saturating_sub(apart);
        if let (Some(from), Some(to)) = (places.keys().min(), places.keys().max()) {
            self.missed += (to - from + 1) as usize - places.len();
        }
        // Of two at one place the one nearer to it is the planned one. At the ends of the time only one of the two
        // may have been seen.
        let ends = [places.keys().min().copied(), places.keys().max().copied()];
        let inside = places.iter().filter(|(n, _)| !ends.contains(&Some(**n)));
        let nearest = inside
            .filter_map(|(_, p)| p.iter().copied().min_by(|a, b| a.abs().total_cmp(&b.abs())));
        self.late.extend(nearest);
    }

    fn print(&self) {
        let at = |q: f64| {
            let n = (self.late.len().saturating_sub(1) as f64 * q) as usize;
            self.late.get(n).unwrap_or(&f64::NAN) * 1e3
        };
        println!(
            "  by nginx's log        {} requests: missed {}, doubled {}; late p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
            self.requests,
            self.missed,
            self.doubled,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
