//! `smart`: what disks say of their own health, by smartctl of smartmontools.
//!
//! Runs in: an exec worker. Asking a disk needs rights that a daemon should not have (`SMART.md`), so a document that
//! somebody else had smartctl write will do as well.

mod disk;

use crate::program;
use crate::report::{Report, time_text};
use disk::{Disk, Limits};
use healthd_plugin::options::Bad::Above;
use healthd_plugin::options::ReadPath;
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status, options};
use std::path::Path;
use std::time::{Duration, SystemTime};

options! {
    /// The health of disks, as they tell it themselves (SMART, NVMe).
    pub struct Options {
        /// Disks: "/dev/sda". Without any, and without `files`: all that smartctl finds.
        devices: Vec<String> { pattern: "^/dev/" } = Vec::new(),
        /// Type of these disks, as for `smartctl -d`: "megaraid,0".
        device_type: Option<String> { pattern: "^[a-z0-9+,/]+$" },
        /// Documents that `smartctl --json -a DISK` wrote, in place of asking disks.
        files: Vec<ReadPath> = Vec::new(),
        /// Unknown if such a document is older.
        files_age: Duration = Duration::from_secs(2 * 3600),
        /// Warning above this temperature, in °C.
        temperature_warn: Option<f64> { bad: Above },
        /// Critical, likewise.
        temperature_crit: Option<f64>,
        /// Warning if more of its life is used, in percent; what flash disks tell.
        wear_warn: f64 { min: 0, bad: Above } = 90.0,
        /// Critical, likewise.
        wear_crit: f64 { min: 0 } = 100.0,
        /// Warning if more sectors are worn out, wait for it, or cannot be read.
        sectors_warn: u64 { bad: Above } = 0,
        /// Critical, likewise.
        sectors_crit: Option<u64>,
        /// Wake disks that sleep.
        wake: bool = false,
        /// The program.
        smartctl: String { min_length: 1 } = "smartctl".into(),
    }
}

pub struct Smart(Options);

const MOST: u32 = 1 << 20;
impl Check for Smart {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        if !o.devices.is_empty() && !o.files.is_empty() {
            return Err("devices, files: one of the two".into());
        }
        if o.device_type.is_some() && o.devices.is_empty() {
            return Err("device_type: needs `devices`".into());
        }
        Ok(Smart(o))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut report = Report::new(cx);
        let o = &self.0;
        let mut documents = Vec::new();
        for file in &o.files {
            let name = file.to_path_buf();
            documents.push((name.display().to_string(), self.read(&name)));
        }
        if o.files.is_empty() {
            cx.phase("smartctl");
            let devices = match self.devices(cx).await {
                Ok(devices) => devices,
                Err(why) => return cx.unknown(why),
            };
            for (device, kind) in devices {
                let document = self.ask(cx, &device, kind.as_deref()).await;
                documents.push((device, document));
            }
        }
        if documents.is_empty() {
            return cx.unknown("smartctl finds no disk that it can ask");
        }
        let several = documents.len() > 1;
        let limits = Limits {
            temperature: Upper {
                warn: o.temperature_warn,
                crit: o.temperature_crit,
            },
            wear: Upper {
                warn: Some(o.wear_warn),
                crit: Some(o.wear_crit),
            },
            sectors: Upper {
                warn: Some(o.sectors_warn as f64),
                crit: o.sectors_crit.map(|n| n as f64),
            },
        };
        for (source, document) in documents {
            let document = match document {
                Ok(document) => document,
                Err(why) => {
                    report.add(Status::Unknown, format!("{source}: {why}"));
                    continue;
                }
            };
            let disk = Disk::read(&document, &source);
            for (status, text) in disk.findings(&limits) {
                report.add(status, text);
            }
            for (name, unit, value, limits) in disk.numbers(&limits) {
                let name = match several {
                    true => format!("{name}:{}", disk.name),
                    false => name.to_owned(),
                };
                cx.metric(limits.on(Metric::new(&name, value).unit(unit)));
            }
        }
        report.end()
    }
}

impl Smart {
    fn read(&self, path: &Path) -> Result<Value, String> {
        let of = |e: std::io::Error| e.to_string();
        let written = std::fs::metadata(path).map_err(of)?;
        if !written.is_file() || written.len() > u64::from(MOST) {
            return Err("it is no document of smartctl".into());
        }
        let age = written.modified().map_err(of)?;
        let age = SystemTime::now().duration_since(age).unwrap_or_default();
        if age > self.0.files_age {
            let age = time_text(age.as_secs_f64());
            return Err(format!(
                "it was written {age} ago: nobody writes it any more"
            ));
        }
        document(&std::fs::read(path).map_err(of)?)
    }

    /// With their types.
    async fn devices(&self, cx: Cx<'_>) -> Result<Vec<(String, Option<String>)>, String> {
        let o = &self.0;
        if !o.devices.is_empty() {
            let with_type = |d: &String| (d.clone(), o.device_type.clone());
            return Ok(o.devices.iter().map(with_type).collect());
        }
        let found = self.run(cx, &["--scan"]).await?;
        let devices = found["devices"].as_array();
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let devices = devices.into_iter().flatten();
        Ok(devices
            .filter_map(|d| Some((text(&d["name"])?, text(&d["type"]))))
            .collect())
    }

    async fn ask(&self, cx: Cx<'_>, device: &str, kind: Option<&str>) -> Result<Value, String> {
        let mut arguments = vec!["-a"];
        if !self.0.wake {
            arguments.extend(["-n", "standby,0"]);
        }
        if let Some(kind) = kind {
            arguments.extend(["-d", kind]);
        }
        arguments.push(device);
        self.run(cx, &arguments).await
    }

    async fn run(&self, cx: Cx<'_>, arguments: &[&str]) -> Result<Value, String> {
        let program = &self.0.smartctl;
        let mut argv = vec![program.clone(), "--json".into()];
        argv.extend(arguments.iter().map(|a| a.to_string()));
        let output = program::run(cx, &argv, MOST).await?;
        // Its exit code is in the document too, bit by bit.
        document(&output.out)
    }
}

fn document(bytes: &[u8]) -> Result<Value, String> {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match document["smartctl"]["exit_status"].is_u64() {
        true => Ok(document),
        false => Err("it is no document of smartctl 7 or newer".into()),
    }
}

#[cfg(test)]
mod tests;
