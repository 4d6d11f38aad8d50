//! The families of the daemon itself: its plugins, workers and processes.

use super::asked::Stuck;
use super::format::{Kind, Labels, Writer};
use crate::facts::{Facts, Sum, history_status};
use crate::routes::Site;
use healthd_core::wire::history::HistoryStatus;
use healthd_core::wire::maps::{CLASSES, SLOT_STATES};
use healthd_core::wire::samples::{BUCKETS, LATE_UPPER_MS, bucket_upper_ns};
use healthd_sys::usage::Gauge;
use healthd_sys::{clock, process};

/// Buckets of the map, at whose bounds run times are told: each is a bound of the map, so no count is a guess.
const TOLD: [usize; 12] = [4, 8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 36];

pub fn write(site: &Site, facts: &Facts, stuck: Option<&Stuck>, out: &mut Writer) {
    about(facts, out);
    plugins(facts, stuck, out);
    workers(facts, out);
    let history = history(site);
    processes(site, facts, history.as_ref(), out);
    if let Some(history) = &history {
        recorder(history, out);
    }
    web(site, out);
    #[cfg(feature = "push")]
    if site.settings.push.is_some() {
        site.pushed.write(out);
    }
    if !site.settings.web.targets.is_empty() {
        blackbox(site, facts, out);
    }
}

fn about(facts: &Facts, out: &mut Writer) {
    let one = |out: &mut Writer, name: &str, help: &str, value: f64| {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &Labels::none(), value);
    };
    out.family(
        "healthd_build_info",
        Kind::Gauge,
        "1, with what this healthd is.",
    );
    let labels = Labels::none()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("abi", "1")
        .with("protocol", "1");
    out.sample("healthd_build_info", &labels, 1.0);
    let seconds = |ns: u64| ns as f64 / 1e9;
    let started = seconds(facts.head.started);
    one(
        out,
        "healthd_start_timestamp_seconds",
        "When the daemon was started.",
        started,
    );
    let age = seconds(facts.now.saturating_sub(facts.head.beat));
    one(
        out,
        "healthd_manager_beat_age_seconds",
        "How long ago the manager turned last; above 10 it hangs or is dead.",
        age,
    );
    if let Some(reload) = facts.reload {
        one(
            out,
            "healthd_config_last_reload_successful",
            "0: the config that was read last was refused, and the one before it is in force.",
            f64::from(u8::from(reload.taken)),
        );
        one(
            out,
            "healthd_config_last_reload_timestamp_seconds",
            "When the config was read last.",
            seconds(reload.at),
        );
    }
}

fn plugins(facts: &Facts, stuck: Option<&Stuck>, out: &mut Writer) {
    let labels = |plugin: &str| Labels::none().with("plugin", plugin);
    let each = |out: &mut Writer, name: &str, help: &str, of: fn(&Sum) -> f64| {
        out.family(name, Kind::Counter, help);
        for (plugin, sum) in &facts.plugins {
            out.sample(name, &labels(plugin), of(sum));
        }
    };
    out.family(
        "healthd_runs_total",
        Kind::Counter,
        "Runs that have ended, by their outcome.",
    );
    for (plugin, sum) in &facts.plugins {
        let [ok, warning, critical, unknown, own] = sum.runs;
        for (outcome, runs) in [
            ("ok", ok),
            ("problem", warning + critical),
            ("unjudged", unknown + own),
        ] {
            let labels = labels(plugin).with("outcome", outcome);
            out.sample("healthd_runs_total", &labels, runs as f64);
        }
    }
    each(
        out,
        "healthd_plugin_cpu_seconds_total",
        "CPU that runs used.",
        |s| s.cpu_ns as f64 / 1e9,
    );
    each(
        out,
        "healthd_plugin_crashes_total",
        "Runs that killed their worker.",
        |s| s.crashes as f64,
    );
    each(
        out,
        "healthd_plugin_overruns_total",
        "Runs in which a call was not back at its deadline.",
        |s| s.overruns as f64,
    );
    if let Some(stuck) = stuck {
        let name = "healthd_plugin_stuck_threads";
        let help = "Threads that are in a call whose deadline has passed.";
        out.family(name, Kind::Gauge, help);
        for (plugin, threads) in stuck {
            out.sample(name, &labels(plugin), *threads as f64);
        }
    }
    let name = "healthd_runs_skipped_total";
    out.family(
        name,
        Kind::Counter,
        "Runs that were due while the one before was still in flight.",
    );
    let skipped: u64 = facts.plugins.iter().map(|(_, s)| s.skipped).sum();
    out.sample(name, &Labels::none(), skipped as f64);

    let name = "healthd_run_duration_seconds";
    out.family(
        name,
        Kind::Histogram,
        "How long runs took, of those that a worker finished.",
    );
    for (plugin, sum) in &facts.plugins {
        let below = |bucket: usize| sum.buckets[..=bucket].iter().sum::<u64>();
        let counts = TOLD.map(|bucket| (Some(bucket_upper_ns(bucket) as f64 / 1e9), below(bucket)));
        let all = below(BUCKETS - 1);
        let counts = counts.into_iter().chain([(None, all)]);
        out.histogram(name, &labels(plugin), counts, sum.sum_ns as f64 / 1e9);
    }
    let name = "healthd_run_lateness_seconds";
    out.family(
        name,
        Kind::Histogram,
        "How long after they were due runs began.",
    );
    let (mut below, mut late_ns) = (0, 0u64);
    let mut counts = Vec::new();
    for n in 0..=LATE_UPPER_MS.len() {
        below += facts.plugins.iter().map(|(_, s)| s.late[n]).sum::<u64>();
        counts.push((LATE_UPPER_MS.get(n).map(|ms| ms / 1e3), below));
    }
    for (_, sum) in &facts.plugins {
        late_ns = late_ns.saturating_add(sum.late_sum_ns);
    }
    out.histogram(
        name,
        &Labels::none(),
        counts.into_iter(),
        late_ns as f64 / 1e9,
    );
}

fn workers(facts: &Facts, out: &mut Writer) {
    let class = |class: u8| CLASSES.get(usize::from(class)).copied().unwrap_or("?");
    let labels = |slot: u32, of: u8| {
        Labels::none()
            .with("slot", &slot.to_string())
            .with("class", class(of))
    };
    type Column = fn(&healthd_core::wire::maps::SlotRecord) -> u64;
    let columns: [(&str, Kind, &str, Column); 6] = [
        (
            "healthd_worker_dispatched_total",
            Kind::Counter,
            "Runs sent to the worker: finished + in flight + lost.",
            |s| s.dispatched,
        ),
        (
            "healthd_worker_finished_total",
            Kind::Counter,
            "Runs of which the worker gave a result.",
            |s| s.finished,
        ),
        (
            "healthd_worker_in_flight",
            Kind::Gauge,
            "Runs that are with the worker.",
            |s| s.in_flight,
        ),
        (
            "healthd_worker_late_total",
            Kind::Counter,
            "Results that came when nobody waited for them any more.",
            |s| s.late,
        ),
        (
            "healthd_worker_restarts_total",
            Kind::Counter,
            "Workers that were started in this place after the first.",
            |s| s.restarts,
        ),
        (
            "healthd_worker_ready",
            Kind::Gauge,
            "1: the worker takes runs.",
            |s| u64::from(SLOT_STATES.get(usize::from(s.state)) == Some(&"ready")),
        ),
    ];
    for (name, kind, help, column) in columns {
        out.family(name, kind, help);
        for (slot, record) in &facts.head.slots {
            out.sample(name, &labels(*slot, record.class), column(record) as f64);
        }
    }
    let name = "healthd_worker_lost_total";
    out.family(
        name,
        Kind::Counter,
        "Runs without a result of the worker, by why.",
    );
    for (slot, record) in &facts.head.slots {
        for (reason, lost) in [
            ("worker-died", record.lost_worker_died),
            ("replaced", record.lost_replaced),
            ("cancelled", record.lost_cancelled),
        ] {
            let labels = labels(*slot, record.class).with("reason", reason);
            out.sample(name, &labels, lost as f64);
        }
    }
}

/// How the recorder fares, if there is to be one.
fn history(site: &Site) -> Option<HistoryStatus> {
    let status = || history_status(&site.args.runtime_dir);
    site.settings.history.then(status)?
}

fn recorder(history: &HistoryStatus, out: &mut Writer) {
    let lag = match history.waits_since {
        0 => 0.0,
        since => clock::realtime_ns().saturating_sub(since) as f64 / 1e9,
    };
    for (name, kind, help, value) in [
        (
            "healthd_history_events_lost_total",
            Kind::Counter,
            "Events that were never written.",
            history.events_lost as f64,
        ),
        (
            "healthd_history_write_errors_total",
            Kind::Counter,
            "Writes that failed, and were tried again.",
            history.write_errors as f64,
        ),
        (
            "healthd_history_file_bytes",
            Kind::Gauge,
            "Size of history.db with its log.",
            (history.file_bytes + history.log_bytes) as f64,
        ),
        (
            "healthd_history_lag_seconds",
            Kind::Gauge,
            "Age of the oldest event that is not written.",
            lag,
        ),
    ] {
        out.family(name, kind, help);
        out.sample(name, &Labels::none(), value);
    }
}

fn processes(site: &Site, facts: &Facts, history: Option<&HistoryStatus>, out: &mut Writer) {
    let mut list = vec![
        (site.args.parent, "supervisor", None),
        (facts.head.manager_pid, "manager", None),
        (std::process::id(), "web", None),
    ];
    list.extend(history.map(|h| (h.pid, "recorder", None)));
    let workers = facts.head.slots.iter().filter(|(_, s)| s.pid != 0);
    list.extend(workers.map(|(slot, s)| (s.pid, "worker", Some(*slot))));
    let seen: Vec<_> = list
        .into_iter()
        .filter_map(|(pid, role, slot)| {
            let slot = slot.map_or_else(String::new, |s| s.to_string());
            let labels = Labels::none().with("role", role).with("slot", &slot);
            let usage = Gauge::of(Some(pid)).and_then(|g| g.read()).ok()?;
            let ticks = process::cpu_ticks(pid)?;
            Some((labels, usage, site.spent.ticks((role, slot), pid, ticks)))
        })
        .collect();
    let name = "healthd_process_resident_memory_bytes";
    out.family(name, Kind::Gauge, "Memory of each process of the daemon.");
    for (labels, usage, _) in &seen {
        out.sample(name, labels, (usage.rss_kb * 1024) as f64);
    }
    let name = "healthd_process_open_fds";
    out.family(name, Kind::Gauge, "Descriptors that are open.");
    for (labels, usage, _) in &seen {
        out.sample(name, labels, usage.fds as f64);
    }
    let name = "healthd_process_cpu_seconds_total";
    let help = "CPU in user and kernel: of the process, and of those before it.";
    out.family(name, Kind::Counter, help);
    for (labels, _, ticks) in &seen {
        let seconds = *ticks as f64 * process::TICK_NS as f64 / 1e9;
        out.sample(name, labels, seconds);
    }
}

/// What blackbox_exporter tells of itself, for those whose rules ask for it.
fn blackbox(site: &Site, facts: &Facts, out: &mut Writer) {
    let name = "blackbox_exporter_build_info";
    out.family(name, Kind::Gauge, "1, with what answers /probe here.");
    let labels = Labels::none()
        .with("branch", "healthd")
        .with("version", env!("CARGO_PKG_VERSION"));
    out.sample(name, &labels, 1.0);
    // A reload that was refused leaves the one before it in force.
    let (taken, at) = match facts.reload {
        Some(reload) => (reload.taken, reload.at),
        None => (true, facts.head.started),
    };
    let name = "blackbox_exporter_config_last_reload_successful";
    out.family(
        name,
        Kind::Gauge,
        "Whether the config that was read last was taken.",
    );
    out.sample(name, &Labels::none(), f64::from(u8::from(taken)));
    let name = "blackbox_exporter_config_last_reload_success_timestamp_seconds";
    out.family(name, Kind::Gauge, "When a config was last taken.");
    let at = if taken { at } else { facts.head.started };
    out.sample(name, &Labels::none(), at as f64 / 1e9);
    let name = "blackbox_module_unknown_total";
    out.family(
        name,
        Kind::Counter,
        "Requests for modules that there are not.",
    );
    out.sample(name, &Labels::none(), site.probes.unknown.get() as f64);
}

fn web(site: &Site, out: &mut Writer) {
    let name = "healthd_web_requests_total";
    out.family(
        name,
        Kind::Counter,
        "Answers of the web process, by path and status code.",
    );
    for ((path, code), count) in site.asked.borrow().iter() {
        let labels = Labels::none()
            .with("path", path)
            .with("code", &code.to_string());
        out.sample(name, &labels, *count as f64);
    }
}
