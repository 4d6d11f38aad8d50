//! The processes that run checks, and what each plugin costs.

use super::{Top, html, picture};
use crate::control::{self, Failure, SHORT};
use crate::facts::history_status;
use crate::picture::Picture;
use crate::routes::{Answered, Site};
use crate::times;
use askama::Template;
use healthd_core::wire::control::{Op, PluginCost, PluginRow, Reply, WorkerRow};
use healthd_core::wire::maps::{CLASSES, SLOT_STATES};
use healthd_sys::clock;
use healthd_units::size;
use std::rc::Rc;

#[derive(Template)]
#[template(path = "workers.html")]
struct Page {
    top: Top,
    workers: Vec<WorkerRow>,
    /// By what they cost, most first.
    plugins: Vec<PluginRow>,
    /// No check is of these.
    unused: Vec<PluginRow>,
    /// None: history is off.
    history: Option<String>,
    answered: bool,
}

pub async fn page(site: Rc<Site>) -> Answered {
    let (picture, alarm) = picture(&site);
    let asked = match alarm.is_empty() {
        true => asked(&site).await.ok(),
        false => None,
    };
    let answered = asked.is_some();
    let (workers, mut plugins) = asked.unwrap_or_else(|| (left(&picture), Vec::new()));
    let cpu = |p: &PluginRow| p.cost.as_ref().map_or(-1.0, |c| c.cost.cpu_ms);
    plugins.sort_by(|a, b| cpu(b).total_cmp(&cpu(a)).then_with(|| a.name.cmp(&b.name)));
    let (unused, plugins) = plugins.into_iter().partition(|p| p.state == "unused");
    html(&Page {
        top: Top::new(&site, "/workers", alarm),
        workers,
        plugins,
        unused,
        history: history(&site),
        answered,
    })
}

async fn asked(site: &Site) -> Result<(Vec<WorkerRow>, Vec<PluginRow>), Failure> {
    let (mut workers, mut plugins) = (Vec::new(), Vec::new());
    for op in [Op::Workers, Op::Plugins] {
        let mut replies = control::ask(site, op, SHORT).await?;
        while let Some(reply) = replies.next(Some(SHORT)).await? {
            match reply {
                Reply::Worker(row) => workers.push(row),
                Reply::Plugin(row) => plugins.push(row),
                _ => {}
            }
        }
    }
    Ok((workers, plugins))
}

/// As the manager has left them.
fn left(picture: &Picture) -> Vec<WorkerRow> {
    let word = |words: &[&str], code: u8| {
        let word = words.get(usize::from(code));
        word.map_or_else(String::new, |word| (*word).to_owned())
    };
    let slots = picture.slots.iter();
    slots
        .map(|(slot, record)| WorkerRow {
            slot: *slot,
            class: word(&CLASSES, record.class),
            state: word(&SLOT_STATES, record.state),
            pid: (record.pid != 0).then_some(record.pid),
            in_flight: Some(record.in_flight),
            finished: Some(record.finished),
            lost: Some(record.lost()),
            restarts: Some(record.restarts),
            stale: true,
            ..WorkerRow::default()
        })
        .collect()
}

fn history(site: &Site) -> Option<String> {
    if !site.settings.history {
        return None;
    }
    let Some(status) = history_status(&site.args.runtime_dir) else {
        return Some("the recorder has not begun yet".to_owned());
    };
    let about = |bytes: u64| size::about(bytes as f64);
    let mut words = format!(
        "{} of at most {}",
        about(status.file_bytes + status.log_bytes),
        about(status.most_bytes)
    );
    let age = clock::monotonic_ns().saturating_sub(status.beat);
    if age > 30_000_000_000 {
        words += &format!("; the recorder has been silent for {}", times::span(age));
    }
    if status.events_lost > 0 {
        words += &format!("; {} events were lost", status.events_lost);
    }
    if status.waits_since > 0 {
        words += "; it cannot write, see the log";
    }
    Some(words)
}

impl Page {
    fn number(&self, n: &Option<u64>) -> String {
        n.map_or_else(|| "-".to_owned(), healthd_core::config::thousands)
    }

    fn memory(&self, kb: &Option<u64>) -> String {
        kb.map_or_else(|| "-".to_owned(), |kb| size::about(kb as f64 * 1024.0))
    }

    /// CPU, its part of all, a run's time; each with its word.
    fn cost(&self, cost: &PluginCost) -> [(&'static str, String); 3] {
        let share = cost
            .cpu_share
            .map_or_else(String::new, |s| format!("{:.0} %", s * 100.0));
        let run = match cost.cost.runs {
            0 => String::new(),
            runs => times::latency(cost.cost.wall_ms / runs as f64),
        };
        let cpu = times::latency(cost.cost.cpu_ms);
        [("CPU", cpu), ("part", share), ("a run", run)]
    }
}
