//! A run as spans of OTLP: the run, of a check, a message or a probe, from when it was due or sent until it was judged; in it
//! `dispatch`, the plugin's part with its phases, and `judge`.

use super::otlp::attribute;
use healthd_core::check::outcome::Status;
use healthd_core::wire::traces::{Purpose, TracedRun, mixed};
use serde_json::{Value as Json, json};

/// `SPAN_KIND_INTERNAL`, `STATUS_CODE_ERROR`.
const INTERNAL: u8 = 1;
const ERROR: u8 = 2;
/// Sampled, and no parent is of another process.
const FLAGS: u32 = 0x101;

/// `keys`: of its map, so that it has the same ids whoever tells it. `labels`: of its check.
pub fn spans<'a>(
    run: &TracedRun,
    keys: [u64; 2],
    labels: impl Iterator<Item = (&'a String, &'a String)>,
) -> Vec<Json> {
    let mut trace = Trace::new(run, keys);
    let begin = [run.due, run.sent, run.started].into_iter();
    let begin = begin.filter(|at| *at != 0).min().unwrap_or(run.finished);
    let end = run.judged.max(run.finished);
    let (kind, mut own) = about(&run.purpose);
    own.extend([
        attribute("healthd.plugin.name", &run.plugin),
        whole("healthd.run.id", run.run),
        attribute("healthd.run.status", run.status.as_str()),
        whole("healthd.run.try", run.attempt.into()),
    ]);
    own.extend(labels.map(|(key, value)| attribute(&format!("healthd.label.{key}"), value)));
    let root = trace.span(None, &format!("{kind} {}", run.plugin), (begin, end), own);
    if run.due != 0 {
        trace.spans[0]["events"] = json!([{ "name": "due", "timeUnixNano": run.due.to_string() }]);
    }
    trace.fails(0);
    if run.started != 0 {
        if run.sent != 0 {
            trace.span(Some(&root), "dispatch", (run.sent, run.started), Vec::new());
        }
        let mut own = vec![double("healthd.run.cpu_time", run.cpu_ns as f64 / 1e9)];
        own.extend(
            run.worker
                .map(|slot| whole("healthd.worker.slot", slot.into())),
        );
        own.extend((run.pid != 0).then(|| whole("process.pid", run.pid.into())));
        let at = trace.spans.len();
        let plugin = trace.span(Some(&root), &run.plugin, (run.started, run.finished), own);
        trace.fails(at);
        let begin = |n: usize| match run.phases.get(n) {
            Some(phase) => run.started.saturating_add(phase.at_ns).min(run.finished),
            None => run.finished,
        };
        for (n, phase) in run.phases.iter().enumerate() {
            let took = (begin(n), begin(n + 1));
            trace.span(Some(&plugin), &phase.name, took, Vec::new());
        }
    }
    trace.span(Some(&root), "judge", (run.finished, end), Vec::new());
    trace.spans
}

/// What a run was for: the first word of its name, and what is told of it.
fn about(purpose: &Purpose) -> (&'static str, Vec<Json>) {
    match purpose {
        Purpose::Check { name, verdict } => (
            "check",
            vec![
                attribute("healthd.check.name", name),
                attribute("healthd.check.verdict", verdict.as_str()),
            ],
        ),
        Purpose::Delivery {
            route,
            notice,
            message,
            kind,
        } => (
            "notify",
            vec![
                attribute("healthd.route.name", route),
                whole("healthd.notice.id", *notice),
                whole("healthd.message.id", *message),
                attribute("healthd.message.kind", kind),
            ],
        ),
        Purpose::Action { check } => ("on_change", vec![attribute("healthd.check.name", check)]),
        Purpose::Probe { module, host } => (
            "probe",
            vec![
                attribute("healthd.probe.module", module),
                attribute("server.address", host),
            ],
        ),
    }
}

struct Trace<'a> {
    run: &'a TracedRun,
    id: [u64; 2],
    spans: Vec<Json>,
}

impl Trace<'_> {
    fn new(run: &TracedRun, keys: [u64; 2]) -> Trace<'_> {
        Trace {
            run,
            // Mixed twice where the choice of the run was made by the first: else all would begin alike.
            id: [mixed(mixed(run.run ^ keys[0])), mixed(run.run ^ keys[1])],
            spans: Vec::new(),
        }
    }

    /// Its id.
    fn span(
        &mut self,
        parent: Option<&str>,
        name: &str,
        (begin, end): (u64, u64),
        attributes: Vec<Json>,
    ) -> String {
        let number = self.spans.len() as u64;
        // 0 would be no id.
        let id = format!("{:016x}", mixed(self.id[1] ^ number << 1).max(1));
        let mut span = json!({
            "traceId": format!("{:016x}{:016x}", self.id[0], self.id[1].max(1)),
            "spanId": id,
            "name": name,
            "kind": INTERNAL,
            "flags": FLAGS,
            "startTimeUnixNano": begin.to_string(),
            "endTimeUnixNano": end.max(begin).to_string(),
            "attributes": attributes,
        });
        if let Some(parent) = parent {
            span["parentSpanId"] = parent.into();
        }
        self.spans.push(span);
        id
    }

    /// What it says if the run was not good: a warning is no error of its own.
    fn fails(&mut self, span: usize) {
        let span = &mut self.spans[span];
        let status = self.run.status;
        if status == Status::Ok {
            return;
        }
        let kind = self.run.fault.map_or(status.as_str(), |f| f.as_str());
        if let Some(attributes) = span["attributes"].as_array_mut() {
            attributes.push(attribute("error.type", kind));
        }
        if status != Status::Warning {
            span["status"] = json!({ "code": ERROR, "message": self.run.message });
        }
    }
}

/// Numbers of 64 bits are texts, as JSON has none so long.
fn whole(name: &str, value: u64) -> Json {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}

fn double(name: &str, value: f64) -> Json {
    json!({ "key": name, "value": { "doubleValue": value } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::fault::Fault;
    use healthd_core::check::outcome::{Phase, Verdict};
    use std::collections::{BTreeMap, BTreeSet};

    fn run() -> TracedRun {
        let phase = |name: &str, at_ns| Phase {
            name: name.into(),
            at_ns,
        };
        TracedRun {
            run: 7,
            purpose: Purpose::Check {
                name: "web".into(),
                verdict: Verdict::Ok,
            },
            plugin: "http".into(),
            status: Status::Ok,
            fault: None,
            attempt: 1,
            worker: Some(2),
            pid: 4711,
            due: 1_000,
            sent: 900,
            started: 1_010,
            finished: 1_200,
            judged: 1_230,
            cpu_ns: 50,
            // The last is said to have begun after the end.
            phases: vec![phase("connect", 10), phase("ttfb", 60), phase("late", 900)],
            message: String::new(),
        }
    }

    fn told(run: &TracedRun) -> Vec<Json> {
        let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
        spans(run, [1, 2], labels.iter())
    }

    fn number(span: &Json, key: &str) -> u64 {
        let text = span[key].as_str().expect("64 bits are a text");
        text.parse().expect("a number")
    }

    #[test]
    fn a_run_is_a_tree_of_spans_in_the_order_of_time() {
        let spans = told(&run());
        let names: Vec<&str> = spans.iter().filter_map(|s| s["name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "check http",
                "dispatch",
                "http",
                "connect",
                "ttfb",
                "late",
                "judge"
            ]
        );
        let times = |n: usize| {
            let at = |key| number(&spans[n], key);
            (at("startTimeUnixNano"), at("endTimeUnixNano"))
        };
        assert_eq!(times(0), (900, 1_230));
        assert_eq!((times(1), times(2)), ((900, 1_010), (1_010, 1_200)));
        assert_eq!(times(3), (1_020, 1_070));
        assert_eq!(times(4), (1_070, 1_200));
        assert_eq!((times(5), times(6)), ((1_200, 1_200), (1_200, 1_230)));
        let id = |n: usize| spans[n]["spanId"].clone();
        assert_eq!(spans[0]["parentSpanId"], Json::Null);
        for (n, parent) in [(1, 0), (2, 0), (3, 2), (4, 2), (5, 2), (6, 0)] {
            assert_eq!(spans[n]["parentSpanId"], id(parent), "{n}");
        }
        let ids: BTreeSet<String> = (0..spans.len()).map(|n| id(n).to_string()).collect();
        assert_eq!(ids.len(), spans.len());
        let trace = spans[0]["traceId"].as_str().expect("hex");
        assert_eq!((trace.len(), id(0).as_str().map(str::len)), (32, Some(16)));
        assert!(spans.iter().all(|s| s["traceId"] == trace));
        assert_eq!(spans[0]["events"][0]["timeUnixNano"], "1000");
        let own = spans[0]["attributes"].as_array().expect("a list");
        assert!(own.contains(&attribute("healthd.label.team", "web")));
        assert!(own.contains(&whole("healthd.run.id", 7)));
        assert_eq!(spans[0]["status"], Json::Null);
        // The same run told again is the same.
        assert_eq!(told(&run()), spans);
    }

    #[test]
    fn what_is_no_check_says_what_it_was_for() {
        let of = |purpose| told(&TracedRun { purpose, ..run() }).remove(0);
        let probe = of(Purpose::probe(
            "web",
            "https://ana:s3cret@h.example/?t=s3cret",
        ));
        assert_eq!(probe["name"], "probe http");
        assert!(!probe.to_string().contains("s3cret"));
        let told = of(Purpose::Delivery {
            route: "mail".into(),
            notice: 3,
            message: 9,
            kind: "problem".into(),
        });
        assert_eq!(told["name"], "notify http");
        let has = |span: &Json, own| {
            span["attributes"]
                .as_array()
                .is_some_and(|a| a.contains(&own))
        };
        assert!(has(&probe, attribute("server.address", "h.example")));
        assert!(has(&told, attribute("healthd.route.name", "mail")));
        assert!(has(&told, whole("healthd.notice.id", 3)));
    }

    #[test]
    fn what_never_reached_a_worker_and_what_failed_say_so() {
        let spans = told(&TracedRun {
            status: Status::Unknown,
            fault: Some(Fault::MaxParallel),
            sent: 0,
            started: 0,
            phases: Vec::new(),
            message: "self:max-parallel".into(),
            ..run()
        });
        let names: Vec<&str> = spans.iter().filter_map(|s| s["name"].as_str()).collect();
        assert_eq!(names, ["check http", "judge"]);
        assert_eq!(
            spans[0]["status"],
            json!({ "code": 2, "message": "self:max-parallel" })
        );
        let own = spans[0]["attributes"].as_array().expect("a list");
        assert!(own.contains(&attribute("error.type", "max-parallel")));
        let warning = told(&TracedRun {
            status: Status::Warning,
            ..run()
        });
        assert_eq!(warning[0]["status"], Json::Null);
    }
}
