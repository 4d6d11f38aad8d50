//! One disk's document, read: what is said of it, and its numbers.

use healthd_plugin::Status;
use healthd_plugin::serde_json::Value;
use healthd_plugin::thresholds::Upper;

/// Of the table of attributes: sectors that were replaced, that wait for it, that cannot be read.
const BAD_SECTORS: [u64; 3] = [5, 197, 198];

// smartctl's exit status, bit by bit.
const NOT_OPENED: u64 = 1 | 1 << 1;
const NOT_ANSWERED: u64 = 1 << 2;
const FAILING: u64 = 1 << 3;
const BELOW_NOW: u64 = 1 << 4;
const BELOW_BEFORE: u64 = 1 << 5;
const ERRORS_LOGGED: u64 = 1 << 6;
const SELF_TEST_FAILED: u64 = 1 << 7;

pub struct Limits {
    pub temperature: Upper,
    pub wear: Upper,
    pub sectors: Upper,
}

#[derive(Debug, Default)]
pub struct Disk {
    pub name: String,
    model: String,
    exit_status: u64,
    /// What smartctl says went wrong.
    error: Option<String>,
    sleeps: bool,
    passed: Option<bool>,
    temperature: Option<f64>,
    /// In seconds.
    power_on: Option<f64>,
    /// In percent of its life.
    wear: Option<f64>,
    sectors: Option<f64>,
    media_errors: Option<f64>,
    /// Below their thresholds now, and in the past.
    failed_now: Vec<String>,
    failed_before: Vec<String>,
    /// NVMe's own bits.
    critical_warning: u64,
    spare: Option<(f64, f64)>,
}

impl Disk {
    pub fn read(d: &Value, source: &str) -> Disk {
        let text = |v: &Value| v.as_str().map(plain);
        let messages = d["smartctl"]["messages"].as_array();
        let messages: Vec<(&str, String)> = messages
            .into_iter()
            .flatten()
            .filter_map(|m| Some((m["severity"].as_str()?, text(&m["string"])?)))
            .collect();
        let nvme = &d["nvme_smart_health_information_log"];
        let mut disk = Disk {
            name: text(&d["device"]["name"]).unwrap_or_else(|| source.to_owned()),
            model: text(&d["model_name"]).unwrap_or_default(),
            exit_status: d["smartctl"]["exit_status"].as_u64().unwrap_or(0),
            sleeps: messages.iter().any(|(_, m)| m.contains("mode, exit(")),
            error: messages
                .into_iter()
                .find(|(severity, _)| *severity == "error")
                .map(|(_, text)| text),
            passed: d["smart_status"]["passed"].as_bool(),
            temperature: d["temperature"]["current"].as_f64(),
            power_on: d["power_on_time"]["hours"].as_f64().map(|h| h * 3600.0),
            wear: nvme["percentage_used"]
                .as_f64()
                .or(d["endurance_used"]["current_percent"].as_f64()),
            media_errors: nvme["media_errors"].as_f64(),
            critical_warning: nvme["critical_warning"].as_u64().unwrap_or(0),
            spare: nvme["available_spare"]
                .as_f64()
                .zip(nvme["available_spare_threshold"].as_f64()),
            sectors: d["scsi_grown_defect_list"].as_f64(),
            ..Disk::default()
        };
        let table = d["ata_smart_attributes"]["table"].as_array();
        for attribute in table.into_iter().flatten() {
            let name = text(&attribute["name"]).unwrap_or_default();
            match attribute["when_failed"].as_str() {
                Some("now") => disk.failed_now.push(name),
                Some("past") => disk.failed_before.push(name),
                _ => {}
            }
            let is_bad = attribute["id"]
                .as_u64()
                .is_some_and(|id| BAD_SECTORS.contains(&id));
            if let Some(n) = attribute["raw"]["value"].as_f64().filter(|_| is_bad) {
                disk.sectors = Some(disk.sectors.unwrap_or(0.0) + n);
            }
        }
        disk
    }

    /// What could not be asked says nothing of the disk.
    pub fn findings(&self, limits: &Limits) -> Vec<(Status, String)> {
        let name = &self.name;
        let is = |bit: u64| self.exit_status & bit != 0;
        if self.sleeps {
            return vec![(Status::Ok, format!("{name} sleeps"))];
        }
        if is(NOT_OPENED) {
            let why = self.error.as_deref().unwrap_or("it cannot be opened");
            return vec![(Status::Unknown, of(name, why))];
        }
        let mut found = Vec::new();
        let mut add = |status, text: String| found.push((status, format!("{name} {text}")));
        if is(FAILING) || self.passed == Some(false) {
            add(Status::Critical, "says that it is failing".into());
        }
        if is(BELOW_NOW) || !self.failed_now.is_empty() {
            let which = self.failed_now.join(", ");
            add(Status::Critical, format!("is below a threshold: {which}"));
        }
        if is(BELOW_BEFORE) || !self.failed_before.is_empty() {
            let which = self.failed_before.join(", ");
            add(Status::Warn, format!("was below a threshold: {which}"));
        }
        for (bit, status, text) in [
            (0, Status::Critical, "has little spare room left"),
            (1, Status::Warn, "is too hot or too cold"),
            (2, Status::Critical, "is no longer reliable"),
            (3, Status::Critical, "takes no more writes"),
            (4, Status::Critical, "has lost the power for its cache"),
            (5, Status::Critical, "has lost its persistent memory"),
        ] {
            if self.critical_warning & (1 << bit) != 0 {
                add(status, text.into());
            }
        }
        if let Some((left, least)) = self.spare.filter(|(left, least)| left < least) {
            add(
                Status::Critical,
                format!("has {left} % spare room left, below {least} %"),
            );
        }
        if is(ERRORS_LOGGED) {
            add(Status::Warn, "has errors in its log".into());
        }
        if is(SELF_TEST_FAILED) {
            add(Status::Warn, "has failed a self-test".into());
        }
        for (value, limits, text) in [
            (self.temperature, limits.temperature, "has NUMBER °C"),
            (self.wear, limits.wear, "has used NUMBER % of its life"),
            (self.sectors, limits.sectors, "has NUMBER bad sectors"),
        ] {
            let judged = value.map(|v| (v, limits.judge(v)));
            if let Some((value, status)) = judged.filter(|(_, s)| *s != Status::Ok) {
                add(status, text.replace("NUMBER", &value.to_string()));
            }
        }
        if self.media_errors.is_some_and(|n| n > 0.0) {
            let n = self.media_errors.unwrap_or(0.0);
            add(Status::Warn, format!("could not read {n} times"));
        }
        if found.is_empty() && is(NOT_ANSWERED) && self.passed.is_none() {
            let why = self.error.as_deref().unwrap_or("it does not answer");
            return vec![(Status::Unknown, of(name, why))];
        }
        if found.is_empty() {
            let good = match (self.passed, self.model.as_str()) {
                (None, _) => return vec![(Status::Unknown, format!("{name} has no SMART"))],
                (_, "") => format!("{name} is well"),
                (_, model) => format!("{name} ({model}) is well"),
            };
            found.push((Status::Ok, good));
        }
        found
    }

    pub fn numbers(&self, limits: &Limits) -> Vec<(&'static str, &'static str, f64, Upper)> {
        let none = Upper::default();
        let all = [
            ("temperature", "Cel", self.temperature, limits.temperature),
            ("wear", "%", self.wear, limits.wear),
            ("sectors", "", self.sectors, limits.sectors),
            ("media_errors", "", self.media_errors, none),
            ("power_on", "s", self.power_on, none),
        ];
        all.into_iter()
            .filter_map(|(name, unit, value, limits)| Some((name, unit, value?, limits)))
            .collect()
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// smartctl's messages name the disk, or do not.
fn of(name: &str, why: &str) -> String {
    match why.starts_with(name) {
        true => why.to_owned(),
        false => format!("{name}: {why}"),
    }
}
