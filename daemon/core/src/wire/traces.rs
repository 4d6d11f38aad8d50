//! Traces: how some of the runs went, step by step. The layout of `traces.map`, a ring that is there only where somebody
//! sends them on: `traces` of `[push]`.
//!
//! One writer, the manager, which takes a run in so many. A record is its number, as in `events.map`, and the run as JSON:
//! one process reads it about a second later, and nobody keeps it.

use super::maps::{HEADER_WORDS, WORD, get_text, put_text, whole};
use crate::check::fault::Fault;
use crate::check::outcome::{Phase, Status, Verdict};
use crate::config::host_of;
use crate::text::cut;
use serde::{Deserialize, Serialize};

pub const TRACES_FILE: &str = "traces.map";
/// "HDTRACE1", read as a big-endian number.
pub const TRACES_MAGIC: u64 = 0x4844_5452_4143_4531;
pub const TRACES_VERSION: u64 = 2;

/// 1 KiB.
pub const TRACE_WORDS: usize = 128;
const TEXT: usize = 1;
const TEXT_BYTES: usize = (TRACE_WORDS - TEXT) * WORD;
/// 2 MiB; the reader looks each second.
pub const TRACES_CAPACITY: usize = 2048;
/// Bytes of a message that are kept, and of a host: no name is longer.
const MESSAGE: usize = 200;
const HOST: usize = 253;

/// Header words.
pub mod traces_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const CAPACITY: usize = 2;
    /// Number of the newest; 0: there was none yet. The first is 1; a map that takes another's place counts on.
    pub const LAST: usize = 3;
    /// Two random numbers, of which its runs' ids are made.
    pub const KEYS: usize = 4;
}

/// What must be read of the file to know it.
pub const TRACES_HEAD: usize = 8;

pub fn trace_offset(number: u64) -> usize {
    HEADER_WORDS + (number % TRACES_CAPACITY as u64) as usize * TRACE_WORDS
}

pub fn traces_words() -> usize {
    HEADER_WORDS + TRACES_CAPACITY * TRACE_WORDS
}

/// The number of the newest, and the keys. Err: it is no such map, or one of another layout.
pub fn read_head(head: &[u64; TRACES_HEAD]) -> Result<(u64, [u64; 2]), String> {
    use traces_header as h;
    match (head[h::MAGIC], head[h::VERSION], head[h::CAPACITY]) {
        (TRACES_MAGIC, TRACES_VERSION, capacity) if capacity == TRACES_CAPACITY as u64 => {
            Ok((head[h::LAST], [head[h::KEYS], head[h::KEYS + 1]]))
        }
        (TRACES_MAGIC, layout, capacity) => Err(format!("layout {layout}, room for {capacity}")),
        _ => Err("not a map of traces".into()),
    }
}

/// A run that has ended. Times are CLOCK_REALTIME, ns; 0: it did not come to that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedRun {
    pub run: u64,
    pub purpose: Purpose,
    pub plugin: String,
    pub status: Status,
    /// What ended it, where that was not the plugin's own word.
    pub fault: Option<Fault>,
    /// 1, and more where a worker died with it.
    pub attempt: u8,
    pub worker: Option<u32>,
    pub pid: u32,
    pub due: u64,
    pub sent: u64,
    pub started: u64,
    pub finished: u64,
    pub judged: u64,
    pub cpu_ns: u64,
    pub phases: Vec<Phase>,
    pub message: String,
}

/// What it ran for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Of the config; its verdict after this run.
    Check { name: String, verdict: Verdict },
    /// A message of a route.
    Delivery {
        route: String,
        notice: u64,
        message: u64,
        kind: String,
    },
    /// A program of `on_change`.
    Action { check: String },
    /// A request of `/probe`. Of its target the host alone: the rest may hold a secret.
    Probe { module: String, host: String },
}

impl Purpose {
    pub fn probe(module: &str, target: &str) -> Purpose {
        Purpose::Probe {
            module: module.to_owned(),
            host: cut(host_of(target), HOST).to_owned(),
        }
    }
}

impl TracedRun {
    /// None: there is no room for what it is about. What finds no room of its message and its phases is left out.
    pub fn to_words(&self, number: u64) -> Option<[u64; TRACE_WORDS]> {
        let mut run = self.clone();
        run.message = cut(&run.message, MESSAGE).to_owned();
        let text = loop {
            let text = serde_json::to_string(&run).ok()?;
            if text.len() <= TEXT_BYTES {
                break text;
            }
            if std::mem::take(&mut run.message).is_empty() {
                run.phases.pop()?;
            }
        };
        let mut words = [0; TRACE_WORDS];
        words[0] = number << 1;
        put_text(&mut words[TEXT..], &text);
        Some(words)
    }
}

/// The run of this number, if two copies of its place agree that it is there.
pub fn run_in(
    first: &[u64; TRACE_WORDS],
    second: &[u64; TRACE_WORDS],
    number: u64,
) -> Option<TracedRun> {
    let is_it = whole(first, second) && first[0] >> 1 == number;
    is_it.then(|| serde_json::from_str(&get_text(&first[TEXT..])).ok())?
}

/// One run in so many, by its number alone: whoever asks again gets the same answer. `key`: so that two daemons do not
/// choose alike.
pub fn is_sampled(run: u64, key: u64, share: f64) -> bool {
    // 53 bits, as many as a float has.
    ((mixed(run ^ key) >> 11) as f64) < share * (1u64 << 53) as f64
}

/// Each bit of it depends on each of `n` (splitmix64).
pub fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Purpose {
        Purpose::Check {
            name: name.into(),
            verdict: Verdict::Ok,
        }
    }

    fn run() -> TracedRun {
        TracedRun {
            run: 7,
            purpose: check("web"),
            plugin: "http".into(),
            status: Status::Critical,
            fault: Some(Fault::Timeout),
            attempt: 1,
            worker: Some(0),
            pid: 4,
            due: 1,
            sent: 2,
            started: 3,
            finished: 4,
            judged: 5,
            cpu_ns: 6,
            phases: Vec::new(),
            message: "timeout".into(),
        }
    }

    fn back(words: &[u64; TRACE_WORDS], number: u64) -> Option<TracedRun> {
        run_in(words, words, number)
    }

    #[test]
    fn a_run_survives_the_map() {
        let words = run().to_words(9).expect("there is room");
        assert_eq!(back(&words, 9), Some(run()));
        assert_eq!(back(&words, 10), None);
        let mut inside = words;
        inside[0] |= 1;
        assert_eq!(run_in(&words, &inside, 9), None);
        assert_eq!(back(&[u64::MAX; TRACE_WORDS], u64::MAX >> 1), None);
    }

    #[test]
    fn what_finds_no_room_is_left_out_and_never_what_it_is_about() {
        let phase = |n: u64| Phase {
            name: format!("phase-{n}-{}", "\u{1}".repeat(20)),
            at_ns: n,
        };
        let long = TracedRun {
            phases: (0..30).map(phase).collect(),
            message: "\u{1}".repeat(4000),
            ..run()
        };
        let read = back(&long.to_words(1).expect("there is room"), 1).expect("it is there");
        assert_eq!((read.message.as_str(), &read.purpose), ("", &check("web")));
        assert!((1..30).contains(&read.phases.len()), "{read:?}");
        let hopeless = TracedRun {
            purpose: check(&"\u{1}".repeat(255)),
            ..long
        };
        assert_eq!(hopeless.to_words(1), None);
    }

    #[test]
    fn of_a_probes_target_the_host_is_kept() {
        let target = "https://ana:s3cret@www.example.org:8443/x?token=s3cret";
        let module = "web".to_owned();
        let host = "www.example.org".to_owned();
        assert_eq!(
            Purpose::probe("web", target),
            Purpose::Probe { module, host }
        );
    }

    #[test]
    fn a_share_of_the_runs_is_taken() {
        let taken = |share| (0..100_000).filter(|n| is_sampled(*n, 77, share)).count();
        assert_eq!((taken(1.0), taken(0.0)), (100_000, 0));
        assert!((9_500..10_500).contains(&taken(0.1)), "{}", taken(0.1));
    }
}
