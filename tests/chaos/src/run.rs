//! One run: a step, the invariants, the next step, until the time is over; then a summary.

use crate::invariants::{Counts, Worst};
use crate::plan::{Plan, Step};
use crate::world::World;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Steps in which a good plugin's own process may die by what is done to it: then UNKNOWN is the truth.
fn excuses(step: &Step) -> bool {
    matches!(step, Step::LittleMemory { .. } | Step::FewFds { .. })
}

#[derive(Default)]
struct Tally {
    done: u64,
    skipped: u64,
    worst_ms: u64,
}

/// Ok: every invariant held.
pub fn run(seed: u64, time: Duration) -> Result<(), String> {
    let mut world = World::new()?;
    let mut told = Vec::new();
    let mut counts = Counts::default();
    match go(&mut world, seed, time, &mut told, &mut counts) {
        Ok(summary) => {
            println!("{summary}");
            Ok(())
        }
        Err(wrong) => {
            println!("\nVIOLATED, seed {seed}, after {} steps:", told.len());
            for w in &wrong {
                println!("  - {w}");
            }
            println!("\nthe steps:");
            for (n, step) in told.iter().enumerate() {
                println!("  {:4}  {step}", n + 1);
            }
            println!("\nthe log's tail:");
            let log = world
                .service
                .log_since(world.service.log_mark().saturating_sub(40_000));
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(150)..] {
                println!("  {line}");
            }
            Err(format!("seed {seed}: {} invariants violated", wrong.len()))
        }
    }
}

fn go(
    world: &mut World,
    seed: u64,
    time: Duration,
    told: &mut Vec<String>,
    counts: &mut Counts,
) -> Result<String, Vec<String>> {
    let one = |e: String| vec![e];
    let ready = world.service.start().map_err(one)?;
    println!(
        "chaos: seed {seed}, for {time:?}; ready after {} ms",
        ready.as_millis()
    );
    for missing in world.targets.missing() {
        println!("chaos: {missing} is not installed: its checks are left out");
    }
    world.settle(None, 0, counts)?;
    // Every instance made, every buffer grown.
    crate::pause(3000);
    world.settle(None, 0, counts)?;
    let baseline = world.at_rest();
    let begun = Instant::now();
    let mut tallies: BTreeMap<&'static str, Tally> = BTreeMap::new();
    for step in Plan::new(seed) {
        if begun.elapsed() >= time {
            break;
        }
        told.push(format!("{step:?}"));
        let mark = world.service.log_mark();
        world.eyes.seen().excused |= excuses(&step);
        let at = Instant::now();
        let done = world.perform(&step);
        let fault_ms = at.elapsed().as_millis();
        let done = done.map_err(|e| {
            let mut wrong = vec![format!("{}: {e}", step.kind())];
            wrong.extend(world.lies(counts));
            wrong
        })?;
        let Worst { after, name } = world.settle(Some(&step), mark, counts)?;
        counts.add("a row of a stopped daemon is stale", done.stale_rows);
        if excuses(&step) {
            // What it left behind has been judged anew by now, or is judged by the next look.
            recovered(world).map_err(one)?;
            world.eyes.seen().excused = false;
        }
        let tally = tallies.entry(step.kind()).or_default();
        tally.done += 1;
        tally.skipped += u64::from(done.skipped.is_some());
        tally.worst_ms = tally.worst_ms.max(after.as_millis() as u64);
        println!(
            "{:7.1} s {:4}  {:<34} {:6} ms, all ran {:5} ms later ({name})  {}",
            begun.elapsed().as_secs_f64(),
            told.len(),
            step.kind(),
            fault_ms,
            after.as_millis(),
            done.skipped.as_deref().unwrap_or(&done.note)
        );
    }
    // The end: as it was in the beginning.
    world.extras = 0;
    world.io_workers = crate::world::IO_WORKERS;
    world.write_config().map_err(one)?;
    world.reload().map_err(one)?;
    crate::pause(2000);
    world.settle(None, world.service.log_mark(), counts)?;
    let growth = world.no_growth(&baseline, counts)?;
    let results = world.eyes.seen().results;
    crate::service::kill(world.service.pid(), nix::sys::signal::Signal::SIGTERM);
    let status = world
        .service
        .wait_end(crate::world::PATIENCE)
        .map_err(one)?;
    if status.code() != Some(0) {
        return Err(one(format!(
            "asked to stop, the service ended with {status}"
        )));
    }
    world.nobody_is_left().map_err(one)?;
    Ok(summary(
        seed,
        begun.elapsed(),
        &tallies,
        counts,
        &growth,
        results,
    ))
}

/// Every good check is ok again.
fn recovered(world: &World) -> Result<(), String> {
    let well = |w: &World| {
        let seen = w.eyes.seen();
        let mut good = seen
            .rows
            .iter()
            .filter(|(name, _)| name.starts_with("good/"));
        good.all(|(_, row)| row.last.status == 0)
    };
    world.until(
        "every good check is ok again",
        Duration::from_secs(60),
        well,
    )
}

fn summary(
    seed: u64,
    took: Duration,
    tallies: &BTreeMap<&'static str, Tally>,
    counts: &Counts,
    growth: &str,
    results: u64,
) -> String {
    use std::fmt::Write;
    let steps: u64 = tallies.values().map(|t| t.done).sum();
    let mut out = format!(
        "\nseed {seed}: {steps} steps in {:.0} s, {results} results; every invariant held\n\n\
         | step | done | skipped | all checks ran again at the latest after |\n|---|---|---|---|\n",
        took.as_secs_f64()
    );
    for (kind, t) in tallies {
        let _ = writeln!(
            out,
            "| {kind} | {} | {} | {} ms |",
            t.done, t.skipped, t.worst_ms
        );
    }
    out += "\n| invariant | looked at |\n|---|---|\n";
    for (what, n) in &counts.0 {
        let _ = writeln!(out, "| {what} | {n} |");
    }
    let _ = write!(out, "\nat rest, beginning -> end: {growth}");
    out
}
