//! `sensors`: are temperatures, fans and voltages within their own limits?
//!
//! Reads /sys/class/hwmon. Limits are those that the hardware gives for each input, and the config's for temperatures.

use crate::glob;
use crate::kernel::Kernel;
use crate::report::Report;
use healthd_plugin::options::Bad::Above;
use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options};

options! {
    /// Temperatures, fans, voltages: each against its own limits.
    pub struct Options {
        /// Inputs by chip and name, as patterns: `coretemp/*`, `nvme/Composite`.
        names: Vec<String> { min_items: 1 } = vec!["*".into()],
        /// Not these, as patterns.
        exclude: Vec<String> = Vec::new(),
        /// Warning at a higher temperature, in degrees Celsius, whatever its own limit is.
        temperature_warn: Option<f64> { bad: Above },
        /// Critical, likewise.
        temperature_crit: Option<f64>,
        /// Check each input against the limits that its chip gives.
        own_limits: bool = true,
    }
}

pub struct Sensors {
    options: Options,
    kernel: Kernel,
}

/// A kind of input: how its files begin, its unit, and by what the kernel's number is divided.
struct Kind {
    prefix: &'static str,
    unit: &'static str,
    scale: f64,
}

const KINDS: [Kind; 5] = [
    Kind {
        prefix: "temp",
        unit: "Cel",
        scale: 1e3,
    },
    Kind {
        prefix: "fan",
        unit: "rpm",
        scale: 1.0,
    },
    Kind {
        prefix: "in",
        unit: "V",
        scale: 1e3,
    },
    Kind {
        prefix: "power",
        unit: "W",
        scale: 1e6,
    },
    Kind {
        prefix: "curr",
        unit: "A",
        scale: 1e3,
    },
];
/// So many inputs have metrics of their own.
const MEASURED: usize = 100;
/// No chip is hotter; drivers without a limit give such numbers.
const HOTTEST: f64 = 200.0;

#[derive(Debug, PartialEq)]
struct Input {
    name: String,
    unit: &'static str,
    value: f64,
    warn: Option<f64>,
    crit: Option<f64>,
    status: Status,
    text: String,
}

impl BlockingCheck for Sensors {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Sensors {
            options,
            kernel: Kernel::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let mut report = Report::new(cx);
        let inputs = self.inputs();
        for (i, input) in inputs.iter().enumerate() {
            if input.status != Status::Ok {
                report.add(input.status, input.text.as_str());
            }
            if i < MEASURED && input.value.is_finite() {
                let metric = Metric::new(&input.name, input.value).unit(input.unit);
                cx.metric(metric.warn(input.warn).crit(input.crit));
            }
        }
        match inputs.is_empty() {
            true => report.add(
                Status::Unknown,
                "there is no such sensor (a virtual machine has none)",
            ),
            false => {
                let hottest = inputs
                    .iter()
                    .filter(|i| i.unit == "Cel" && i.value.is_finite());
                let hottest = hottest.max_by(|a, b| a.value.total_cmp(&b.value));
                let hottest =
                    hottest.map_or(String::new(), |i| format!(", the hottest: {}", said(i)));
                report.say(format!("{} sensors{hottest}", inputs.len()));
            }
        }
        report.end()
    }
}

fn said(input: &Input) -> String {
    let unit = if input.unit == "Cel" {
        "°C"
    } else {
        input.unit
    };
    let value = format!("{:.2}", input.value);
    let value = value.trim_end_matches('0').trim_end_matches('.');
    format!("{} {value} {unit}", input.name)
}

impl Sensors {
    fn inputs(&self) -> Vec<Input> {
        const ROOT: &str = "sys/class/hwmon";
        let mut inputs: Vec<Input> = Vec::new();
        for folder in self.kernel.names(ROOT).unwrap_or_default() {
            let folder = format!("{ROOT}/{folder}");
            let chip = self.kernel.line(format!("{folder}/name"));
            let chip = chip.unwrap_or_else(|_| "unknown".into());
            for file in self.kernel.names(&folder).unwrap_or_default() {
                let Some(stem) = file
                    .strip_suffix("_input")
                    .or(file.strip_suffix("_average"))
                else {
                    continue;
                };
                let digits = stem.trim_start_matches(|c: char| c.is_ascii_lowercase());
                let kind = KINDS
                    .iter()
                    .find(|k| stem.strip_prefix(k.prefix) == Some(digits));
                let Some(kind) = kind else {
                    continue;
                };
                let label = self.kernel.line(format!("{folder}/{stem}_label")).ok();
                let label = label
                    .filter(|l| !l.is_empty())
                    .unwrap_or_else(|| stem.to_owned());
                let mut name = format!("{chip}/{label}");
                if !self.is_wanted(&name) {
                    continue;
                }
                // Two chips of one kind, or an input with an average beside it.
                let same = inputs
                    .iter()
                    .filter(|i| i.name == name || i.name.starts_with(&format!("{name}#")))
                    .count();
                if same > 0 {
                    name += &format!("#{}", same + 1);
                }
                inputs.extend(self.input(
                    name,
                    &format!("{folder}/{stem}"),
                    &format!("{folder}/{file}"),
                    kind,
                ));
            }
        }
        inputs
    }

    fn is_wanted(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| glob::matches(p, name));
        any(&self.options.names) && !any(&self.options.exclude)
    }

    /// None: the driver has no value for it now, and nobody asked for it by its name.
    fn input(&self, name: String, stem: &str, file: &str, kind: &Kind) -> Option<Input> {
        let o = &self.options;
        let raw = |suffix: &str| -> Option<f64> {
            self.kernel
                .line(format!("{stem}_{suffix}"))
                .ok()?
                .parse()
                .ok()
        };
        let is_set = |suffix: &str| raw(suffix).is_some_and(|n| n != 0.0);
        let value = self
            .kernel
            .line(file)
            .ok()
            .and_then(|t| t.parse::<f64>().ok());
        let mut input = Input {
            name,
            unit: kind.unit,
            value: value.map_or(f64::NAN, |v| v / kind.scale),
            warn: None,
            crit: None,
            status: Status::Ok,
            text: String::new(),
        };
        if value.is_none() || is_set("fault") {
            input.value = f64::NAN;
            // Many boards have inputs to which nothing is connected.
            let is_named = o.names.contains(&input.name);
            input.status = Status::Unknown;
            input.text = format!("{} cannot be read", input.name);
            return is_named.then_some(input);
        }
        let limit = |suffix: &str| raw(suffix).map(|n| n / kind.scale).filter(|_| o.own_limits);
        let is_hot = kind.prefix == "temp";
        let upper = |n: &f64| *n > 0.0 && (!is_hot || *n < HOTTEST);
        input.warn = limit("max").filter(upper);
        input.crit = limit("crit").or(limit("emergency")).filter(upper);
        if is_hot {
            input.warn = o.temperature_warn.or(input.warn);
            input.crit = o.temperature_crit.or(input.crit);
        }
        let value = input.value;
        let above = |l: Option<f64>| l.filter(|l| value >= *l);
        let below = |suffix: &str| limit(suffix).filter(|l| *l > 0.0 && value < *l && !is_hot);
        let judged = match (
            above(input.crit),
            above(input.warn),
            below("lcrit"),
            below("min"),
        ) {
            (Some(l), ..) => Some((Status::Critical, "at or above", l)),
            (_, _, Some(l), _) => Some((Status::Critical, "below", l)),
            (_, Some(l), ..) => Some((Status::Warn, "at or above", l)),
            (.., Some(l)) if value == 0.0 => Some((Status::Critical, "below", l)),
            (.., Some(l)) => Some((Status::Warn, "below", l)),
            _ => None,
        };
        if let Some((status, what, limit)) = judged {
            input.status = status;
            input.text = format!("{}, {what} {limit}", said(&input));
        } else if o.own_limits && (is_set("alarm") || is_set("crit_alarm")) {
            input.status = Status::Warn;
            input.text = format!("{}, its chip raises an alarm", said(&input));
        }
        Some(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{check, sample};
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;
    use std::path::Path;

    const CHIPS: [(&str, &str); 28] = [
        ("hwmon0/name", "coretemp\n"),
        ("hwmon0/temp1_input", "45000\n"),
        ("hwmon0/temp1_label", "Package id 0\n"),
        ("hwmon0/temp1_max", "80000\n"),
        ("hwmon0/temp1_crit", "100000\n"),
        ("hwmon0/temp2_input", "85000\n"),
        ("hwmon0/temp2_max", "80000\n"),
        ("hwmon0/temp3_input", "101000\n"),
        ("hwmon0/temp3_crit", "100000\n"),
        ("hwmon1/name", "nct6775\n"),
        ("hwmon1/fan1_input", "300\n"),
        ("hwmon1/fan1_min", "400\n"),
        ("hwmon1/fan2_input", "0\n"),
        ("hwmon1/fan2_min", "400\n"),
        ("hwmon1/fan3_input", "0\n"),
        ("hwmon1/fan3_min", "0\n"),
        ("hwmon1/in0_input", "1050\n"),
        ("hwmon1/in0_alarm", "1\n"),
        // A limit that is none, and one that no chip has.
        ("hwmon1/temp1_input", "30000\n"),
        ("hwmon1/temp1_max", "0\n"),
        ("hwmon1/temp1_crit", "65261850\n"),
        // Nothing is connected.
        ("hwmon1/temp2_input", "-128000\n"),
        ("hwmon1/temp2_fault", "1\n"),
        ("hwmon1/temp4_input", "garbage\n"),
        ("hwmon2/name", "nvme\n"),
        ("hwmon2/temp1_input", "40850\n"),
        ("hwmon3/name", "nvme\n"),
        ("hwmon3/temp1_input", "41850\n"),
    ];

    fn inputs(options: &str) -> Vec<Input> {
        let files: Vec<(String, &str)> = CHIPS
            .iter()
            .map(|(f, t)| (format!("sys/class/hwmon/{f}"), *t))
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (f.as_str(), *t)).collect();
        let (_folder, kernel) = sample(&files);
        let options = Options::parse(options.as_bytes()).unwrap();
        Sensors { options, kernel }.inputs()
    }

    #[test]
    fn inputs_and_their_limits() {
        let all = inputs("{}");
        let told: Vec<(&str, Status, &str)> = all
            .iter()
            .map(|i| (i.name.as_str(), i.status, i.text.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("coretemp/Package id 0", Status::Ok, ""),
                (
                    "coretemp/temp2",
                    Status::Warn,
                    "coretemp/temp2 85 °C, at or above 80"
                ),
                (
                    "coretemp/temp3",
                    Status::Critical,
                    "coretemp/temp3 101 °C, at or above 100"
                ),
                (
                    "nct6775/fan1",
                    Status::Warn,
                    "nct6775/fan1 300 rpm, below 400"
                ),
                (
                    "nct6775/fan2",
                    Status::Critical,
                    "nct6775/fan2 0 rpm, below 400"
                ),
                ("nct6775/fan3", Status::Ok, ""),
                (
                    "nct6775/in0",
                    Status::Warn,
                    "nct6775/in0 1.05 V, its chip raises an alarm"
                ),
                ("nct6775/temp1", Status::Ok, ""),
                ("nvme/temp1", Status::Ok, ""),
                ("nvme/temp1#2", Status::Ok, ""),
            ]
        );
        assert_eq!(
            (all[0].warn, all[0].crit, all[0].value),
            (Some(80.0), Some(100.0), 45.0)
        );
        assert_eq!((all[7].warn, all[7].crit), (None, None));
    }

    #[test]
    fn what_the_config_says() {
        let by = |options: &str| -> Vec<(String, Status)> {
            inputs(options)
                .into_iter()
                .map(|i| (i.name, i.status))
                .collect()
        };
        let nvme = r#"{"names":["nvme/*"],"temperature_warn":41,"temperature_crit":60}"#;
        assert_eq!(
            by(nvme),
            [
                ("nvme/temp1".to_owned(), Status::Ok),
                ("nvme/temp1#2".to_owned(), Status::Warn)
            ]
        );
        let none = r#"{"exclude":["nvme/*","nct*"],"own_limits":false}"#;
        assert!(by(none).iter().all(|i| i.1 == Status::Ok) && by(none).len() == 3);
        // What is named, and is not there or cannot be read, is not silently left out.
        assert_eq!(
            by(r#"{"names":["nct6775/temp2"]}"#),
            [("nct6775/temp2".to_owned(), Status::Unknown)]
        );
        assert_eq!(by(r#"{"names":["other/*"]}"#), []);
    }

    #[test]
    fn on_this_machine() {
        let o = check("sensors", json!({"names": ["nowhere/*"]}));
        let text = "there is no such sensor (a virtual machine has none)";
        assert_eq!((o.status, o.message.as_str()), (Status::Unknown, text));
        if Path::new("/sys/class/hwmon/hwmon0/name").exists() {
            assert!(!check("sensors", json!({})).message.is_empty());
        }
    }
}
