//! What each column of each table means: for `--help` and the man page. A test holds it to the tables.

/// A title and its meaning.
pub type Column = (&'static str, &'static str);

pub const CHECKS: &[Column] = &[
    ("NAME", "the check; globs over it choose checks"),
    (
        "TITLE",
        "what people call it; only if a check has one, and in `show` in full",
    ),
    ("PLUGIN", "what runs it"),
    (
        "STATE",
        "the verdict; after a comma what the last run said, if it speaks against it, and how many such results \
         in a row it takes: `ok, CRITICAL 1/3`. (stale): not heard of in time, so it may be otherwise now",
    ),
    ("SINCE", "how long the verdict holds"),
    ("LAST RUN", "when the last run began"),
    ("NEXT RUN", "when the next run is due"),
    (
        "WORKER",
        "slot of the worker that ran it last, as in `workers`",
    ),
    (
        "LATENCY",
        "how long the last run took, from its start to its result",
    ),
    (
        "MESSAGE",
        "what the last run said; from `self:` on it is about healthd or this machine",
    ),
];

pub const LIST: &[Column] = &[
    ("NAME", "the check"),
    ("PLUGIN", "what runs it"),
    ("STATE", "as in `status`"),
];

pub const WHY: &[Column] = &[
    (
        "AT",
        "time of day; one after the other is not always later, as a run is sent ahead of its time",
    ),
    ("AFTER", "time since the line above"),
    (
        "STEP",
        "due, dispatched (sent to a worker), started, phase (the plugin said so), finished, evaluated, lost, held",
    ),
    ("WHAT", "the facts of that step"),
];

pub const HISTORY: &[Column] = &[
    ("START", "when the time began that the row sums up"),
    (
        "FOR",
        "how long it is; more than 5m, 1h or 1d where the recorder did not run or could not write",
    ),
    ("RUNS", "runs that ended in it"),
    ("BAD", "those that were warning or critical"),
    (
        "UNKNOWN",
        "those that were unknown, or not evaluated by our own fault",
    ),
    ("MEAN", "of how long runs took"),
    (
        "P50",
        "half of the runs took no longer; right to 19 %, as the others",
    ),
    ("P95", "95 of 100 runs took no longer"),
    ("P99", "99 of 100 runs took no longer"),
    ("MAX", "the longest run"),
];

pub const REPORT: &[Column] = &[
    ("NAME", "the check"),
    (
        "AVAILABLE",
        "up / (up + down); ok and warning are up, critical is down",
    ),
    ("DOWN", "how long it was critical"),
    ("FAILURES", "how often it became critical"),
    (
        "MTTR",
        "how long a failure lasted in the mean, of those that are over",
    ),
    ("MTBF", "how long it was up between failures in the mean"),
    ("LONGEST", "the longest failure"),
    ("PLANNED", "paused, which is neither up nor down"),
    (
        "UNKNOWN",
        "not known: unknown, not run yet, or healthd did not run; neither up nor down",
    ),
    (
        "BUDGET",
        "with --slo: how much of the time that may be missing is used up",
    ),
];

/// Below the report, where checks have an `slo`.
pub const OBJECTIVES: &[Column] = &[
    ("OBJECTIVE", "the check, or the match of [history]"),
    ("TARGET", "what is to be reached, and in which time"),
    ("REACHED", "up / (up + down) within that time"),
    ("LEFT", "of the budget of that time; below 0 % it is broken"),
    (
        "BURN 1H",
        "how many times too fast the budget went in the last hour; at 14.4 it is gone in two days of thirty",
    ),
    ("BURN 6H", "the same of the last six hours"),
];

pub const CALIBRATE: &[Column] = &[
    ("ATTEMPTS", "with so many of them"),
    (
        "QUIET",
        "problems of less than five minutes of which nobody would have been told",
    ),
    (
        "MISSED",
        "longer problems of which nobody would have been told",
    ),
    ("LATER", "how much later than now the others are told"),
];

pub const WORKERS: &[Column] = &[
    (
        "SLOT",
        "place in the pool; who replaces a worker takes its slot",
    ),
    (
        "CLASS",
        "io: checks that wait or block; cpu: checks that compute; exec: checks that start programs. solo: it runs \
         one check alone, which has killed workers before",
    ),
    (
        "PLUGINS",
        "the plugins whose own it is; shared: those that came with healthd. Only if there is one that is not shared",
    ),
    (
        "STATE",
        "starting, ready, draining (finishes what it runs, then goes), dead",
    ),
    ("PID", "of the process"),
    (
        "GEN",
        "generation: grows by one when a reload brings other plugins or pools, and new workers take over from all old \
         ones. Two numbers at once: the old workers still finish what they run",
    ),
    ("THREADS", "in the process now"),
    (
        "DISPATCHED",
        "runs sent to this slot; always FINISHED + IN FLIGHT + LOST",
    ),
    ("FINISHED", "runs with a result"),
    ("IN FLIGHT", "runs without a result yet"),
    ("LOST", "runs that got no result; below the table is why"),
    (
        "LATE",
        "results that matched no run in flight, and were dropped",
    ),
    ("CHUNKS", "parts of runs that several workers share"),
    ("RESTARTS", "how often a worker in this slot was replaced"),
    ("BEAT", "time since its event loop was last seen to turn"),
    ("RSS", "its memory"),
    ("FDS", "its open files and sockets"),
    (
        "SANDBOX",
        "what the process has given up: full, or as far as the kernel can (calls, files, bind, scope); none: the kernel \
         can nothing, or programs would lose rights by it; off: by the config; legacy: a plugin in it does not say that \
         it can do with one",
    ),
];

pub const OBJECTS: &[Column] = &[
    (
        "KIND",
        "counter, array, map, list, lock, group (`exclusive`), block (`max_parallel`), cache",
    ),
    ("PLUGIN", "whose it is; -: everybody's"),
    ("NAME", "as the plugin or the configuration calls it"),
    ("SIZE", "cells or items"),
    ("WHAT", "values, hits, who holds it and who waits"),
];

pub const PLUGINS: &[Column] = &[
    ("NAME", "as `plugin` in a check says it"),
    ("VERSION", "as the plugin says it"),
    (
        "CLASS",
        "io: it waits; block: it blocks a thread; cpu: it computes; exec: it starts programs. io and block run \
         in the io workers",
    ),
    ("CHECKS", "how many checks use it"),
    (
        "HANGS",
        "calls that did not come back in time, or blocked an event loop",
    ),
    ("CRASHES", "workers that died of it"),
    (
        "STATE",
        "loaded, unused (no check uses it), trial (a new build that may still be taken back), refused, rejected",
    ),
    ("SINCE", "how long the state holds"),
    ("HASH", "of the file's bytes"),
    ("FILE", "in the plugin directory"),
    ("SUMMARY", "what it does, or why it is refused"),
];

pub const COSTS: &[Column] = &[
    ("NAME", "the plugin"),
    ("CHECKS", "how many checks use it"),
    (
        "RUNS",
        "that finished since the manager's start, as all that follows",
    ),
    (
        "CPU",
        "processor time of all runs and of the programs that they started",
    ),
    ("SHARE", "its part of all plugins' processor time"),
    ("CPU/RUN", "processor time of a run"),
    ("P50", "half of the runs took no longer"),
    ("P99", "99 of 100 runs took no longer"),
    ("WAIT", "from due to started, on the average"),
    ("STEPS/RUN", "calls into the plugin for a run"),
    ("OVERRUNS", "calls that were not back at their deadline"),
    ("STALLS", "calls that blocked a worker's event loop"),
    ("CRASHES", "workers that died of it"),
    ("STUCK", "threads that are in such a call now"),
    (
        "GREW",
        "memory and files that its calls left behind: a suspicion",
    ),
];

pub const NOTICES: &[Column] = &[
    (
        "NOTICE",
        "number of what a receiver is told of some checks, from the problem to its end",
    ),
    ("ON", "the route"),
    (
        "NOW",
        "collecting: more may join; sending: it may have arrived; refused: it has not; told; ending: the recovery \
         is due or on its way",
    ),
    ("SINCE", "how long ago the first problem began"),
    ("CHECKS", "those that it is about"),
    (
        "WHAT",
        "what is due, what the receiver said, and when it is tried again",
    ),
];

pub const ROUTES: &[Column] = &[
    ("ROUTE", "a `[[notify]]`"),
    ("PLUGIN", "what delivers"),
    ("PENDING", "notices with something that has not got through"),
    ("WEEK", "messages of the last seven days"),
    ("LAST OK", "when a receiver accepted a message last"),
    ("LAST ERROR", "why the last one was not, if it was not"),
];

pub const SILENCES: &[Column] = &[
    ("ID", "for `unsilence`"),
    ("KIND", "silence, maintenance, or ack"),
    ("MATCH", "which checks"),
    ("UNTIL", "when it ends by itself"),
    ("BY", "who has asked for it"),
    ("REASON", "why"),
];

pub const METRICS: &[Column] = &[
    (
        "METRIC",
        "as the plugin calls it; (counter): it only grows, and what it grew by is what counts",
    ),
    ("VALUE", "of the last run"),
    ("UNIT", "s, ms, % ...; By are bytes, d days"),
    ("WARN", "WARNING beyond it"),
    ("CRIT", "CRITICAL beyond it"),
    ("MIN", "the least that it can be"),
    ("MAX", "the most that it can be"),
];

pub const EVENTS: &[Column] = &[
    ("SEQ", "its number, for --after"),
    ("AT", "when it happened"),
    (
        "EVENT",
        "what happened: flipped (a verdict), held (its run killed a worker; it waits), worker-killed (by healthd, as it \
         did not answer), ...; PROTOCOL.md has each",
    ),
    ("ON", "the check, the plugin, or the slot of the worker"),
    ("WHAT", "from which state to which, and why"),
];

pub const OPTIONS: &[Column] = &[
    ("OPTION", "key inside of `config`"),
    ("TYPE", "what its value may be"),
    (
        "DEFAULT",
        "its value if it is left out; (required): it may not be",
    ),
    ("MEANING", "what it does"),
];

pub const REPLAYED: &[Column] = &[
    ("ROUTE", "a `[[notify]]`"),
    ("PROBLEMS", "messages that would have told of a problem"),
    ("RECOVERIES", "and of its end"),
    ("OTHERS", "worse, update, repeat, alive"),
    ("AT NIGHT", "of all these between 22:00 and 06:00"),
];

pub const WHO: &[Column] = &[
    ("ROUTE", "a `[[notify]]`"),
    ("TOLD", "whether its receiver would be told"),
    ("WHY", "when, or why not"),
];

pub const DOCTOR: &[Column] = &[
    (
        "STATE",
        "ok; WARNING: it works, but less well than it could; PROBLEM: healthd cannot do its work",
    ),
    ("AREA", "what was looked at"),
    (
        "WHAT",
        "what was found, and below it the command that mends it",
    ),
];

/// The tables of a command, each with its heading.
pub fn of(command: &str) -> &'static [(&'static str, &'static [Column])] {
    match command {
        "status" | "watch" => &[("Columns", CHECKS)],
        "list" => &[("Columns, with --long", LIST)],
        "show" | "try" => &[("Columns of the metrics", METRICS)],
        "events" => &[("Columns", EVENTS)],
        "why" => &[("Columns", WHY)],
        "workers" => &[("Columns", WORKERS)],
        "alerts" => &[
            ("Notices", NOTICES),
            ("Routes", ROUTES),
            ("Silences", SILENCES),
            ("Columns of `alerts who`", WHO),
            ("Columns of `alerts replay`", REPLAYED),
        ],
        "objects" => &[("Columns", OBJECTS)],
        "plugins" => &[
            ("Columns", PLUGINS),
            ("Columns, with --cost", COSTS),
            ("Columns of `plugins show`", OPTIONS),
        ],
        "plugins show" => &[("Columns", OPTIONS)],
        "history" => &[("Columns of the roll-ups", HISTORY)],
        "report" => &[("Columns", REPORT), ("Columns of objectives", OBJECTIVES)],
        "calibrate" => &[("Columns", CALIBRATE)],
        "doctor" => &[("Columns", DOCTOR)],
        _ => &[],
    }
}

/// For the end of a command's `--help`.
pub fn help(command: &str) -> String {
    let mut out = Vec::new();
    for (heading, columns) in of(command) {
        let mut text = format!("{heading}:");
        for (title, meaning) in *columns {
            text += &format!("\n  {title:<10}  ");
            // With what stands before it no wider than a terminal of 80 columns.
            let lines = crate::render::text::wrap(meaning, 65);
            text += &lines.join(&format!("\n{:14}", ""));
        }
        out.push(text);
    }
    out.join("\n\n")
}
