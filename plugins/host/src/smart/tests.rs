//! Documents as smartctl 7.3 writes them, by a program that prints them, from files; and the real smartctl, which finds
//! no disk in a virtual machine.

use super::disk::{Disk, Limits};
use super::*;
use crate::tests::check;
use healthd_plugin::serde_json::json;
use healthd_testing::{Folder, program};

/// A good disk, with these changes.
fn ata(exit_status: u64, changes: &[(&str, Value)]) -> Value {
    let attribute = |id: u64, name: &str, raw: u64| json!({"id": id, "name": name, "value": 100, "worst": 100, "thresh": 10, "when_failed": "", "raw": {"value": raw, "string": raw.to_string()}});
    let mut d = json!({
        "json_format_version": [1, 0],
        "smartctl": {"version": [7, 3], "argv": ["smartctl", "--json", "-a", "/dev/sda"], "exit_status": exit_status},
        "device": {"name": "/dev/sda", "info_name": "/dev/sda [SAT]", "type": "sat", "protocol": "ATA"},
        "model_name": "WDC WD40EFRX-68N32N0",
        "smart_status": {"passed": true},
        "ata_smart_attributes": {"revision": 16, "table": [
            attribute(5, "Reallocated_Sector_Ct", 0),
            attribute(9, "Power_On_Hours", 31_000),
            attribute(197, "Current_Pending_Sector", 0),
        ]},
        "power_on_time": {"hours": 31_000},
        "temperature": {"current": 34},
    });
    for (pointer, value) in changes {
        *d.pointer_mut(pointer).expect("it is there") = value.clone();
    }
    d
}

fn nvme(changes: Value) -> Value {
    let mut log = json!({
        "critical_warning": 0, "temperature": 41, "available_spare": 100, "available_spare_threshold": 10,
        "percentage_used": 3, "media_errors": 0, "num_err_log_entries": 12, "unsafe_shutdowns": 7,
    });
    for (key, value) in changes.as_object().expect("an object") {
        log[key] = value.clone();
    }
    json!({
        "smartctl": {"version": [7, 3], "exit_status": 0},
        "device": {"name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"},
        "model_name": "Samsung SSD 980", "smart_status": {"passed": true, "nvme": {"value": 0}},
        "nvme_smart_health_information_log": log,
        "temperature": {"current": 41}, "power_on_time": {"hours": 900},
    })
}

#[test]
fn what_disks_say() {
    let limits = Limits {
        temperature: Upper {
            warn: Some(50.0),
            crit: Some(60.0),
        },
        wear: Upper {
            warn: Some(90.0),
            crit: Some(100.0),
        },
        sectors: Upper {
            warn: Some(0.0),
            crit: None,
        },
    };
    let not_opened = json!({
        "smartctl": {"exit_status": 2, "messages": [{"string": "Smartctl open device: /dev/sda failed: Permission denied", "severity": "error"}]},
    });
    let sleeps = json!({
        "smartctl": {"exit_status": 0, "messages": [{"string": "Device is in STANDBY mode, exit(0)", "severity": "information"}]},
        "device": {"name": "/dev/sda"},
    });
    for (document, status, said) in [
        (
            ata(0, &[]),
            Status::Ok,
            "/dev/sda (WDC WD40EFRX-68N32N0) is well",
        ),
        (sleeps, Status::Ok, "/dev/sda sleeps"),
        (
            not_opened,
            Status::Unknown,
            "f: Smartctl open device: /dev/sda failed: Permission denied",
        ),
        (
            ata(8, &[("/smart_status/passed", false.into())]),
            Status::Critical,
            "/dev/sda says that it is failing",
        ),
        (
            ata(
                16,
                &[("/ata_smart_attributes/table/0/when_failed", "now".into())],
            ),
            Status::Critical,
            "/dev/sda is below a threshold: Reallocated_Sector_Ct",
        ),
        (
            ata(
                32,
                &[("/ata_smart_attributes/table/0/when_failed", "past".into())],
            ),
            Status::Warn,
            "/dev/sda was below a threshold: Reallocated_Sector_Ct",
        ),
        (ata(64, &[]), Status::Warn, "/dev/sda has errors in its log"),
        (
            ata(128, &[]),
            Status::Warn,
            "/dev/sda has failed a self-test",
        ),
        (
            ata(0, &[("/ata_smart_attributes/table/2/raw/value", 8.into())]),
            Status::Warn,
            "/dev/sda has 8 bad sectors",
        ),
        (
            ata(0, &[("/temperature/current", 61.into())]),
            Status::Critical,
            "/dev/sda has 61 °C",
        ),
        // A command that it does not know is no fault of its.
        (
            ata(4, &[]),
            Status::Ok,
            "/dev/sda (WDC WD40EFRX-68N32N0) is well",
        ),
        (
            ata(4, &[("/smart_status/passed", Value::Null)]),
            Status::Unknown,
            "/dev/sda: it does not answer",
        ),
        (
            ata(0, &[("/smart_status/passed", Value::Null)]),
            Status::Unknown,
            "/dev/sda has no SMART",
        ),
        (
            nvme(json!({})),
            Status::Ok,
            "/dev/nvme0 (Samsung SSD 980) is well",
        ),
        (
            nvme(json!({"critical_warning": 8})),
            Status::Critical,
            "/dev/nvme0 takes no more writes",
        ),
        (
            nvme(json!({"available_spare": 4})),
            Status::Critical,
            "/dev/nvme0 has 4 % spare room left, below 10 %",
        ),
        (
            nvme(json!({"percentage_used": 97})),
            Status::Warn,
            "/dev/nvme0 has used 97 % of its life",
        ),
        (
            nvme(json!({"media_errors": 2})),
            Status::Warn,
            "/dev/nvme0 could not read 2 times",
        ),
    ] {
        let found = Disk::read(&document, "f").findings(&limits);
        assert!(
            found.contains(&(status, said.to_owned())),
            "{said}: {found:?}"
        );
        let worst = found.iter().fold(Status::Ok, |s, f| s.worst(f.0));
        assert_eq!(worst, status, "{found:?}");
    }
    let numbers = Disk::read(&nvme(json!({})), "f").numbers(&limits);
    let numbers: Vec<(&str, f64)> = numbers.iter().map(|n| (n.0, n.2)).collect();
    let wanted = [
        ("temperature", 41.0),
        ("wear", 3.0),
        ("media_errors", 0.0),
        ("power_on", 3_240_000.0),
    ];
    assert_eq!(numbers, wanted);
}

#[test]
fn documents_of_somebody_else() {
    let folder = Folder::new();
    let good = folder.write("sda.json", ata(0, &[]).to_string());
    let nvme = folder.write("nvme0.json", nvme(json!({})).to_string());
    let o = check("smart", json!({"files": [good, nvme]}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert_eq!(o.metric("temperature:/dev/sda").value, 34.0);
    assert_eq!(o.metric("wear:/dev/nvme0").value, 3.0);
    let bad = folder.write("bad.json", "smartctl 6.6\n");
    let o = check("smart", json!({"files": [good, bad, folder.file("none")]}));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    for text in [
        "bad.json: it is no document of smartctl 7 or newer",
        "none: No such file or directory",
    ] {
        assert!(o.message.contains(text), "{}", o.message);
    }
    let old = std::fs::File::open(&good).expect("our own");
    old.set_modified(SystemTime::now() - Duration::from_secs(7200))
        .expect("our own");
    let o = check("smart", json!({"files": [good], "files_age": "1h"}));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(o.message.ends_with("nobody writes it any more"), "{o:?}");
    let o = check("smart", json!({"files": [folder.path()]}));
    assert!(
        o.message.ends_with("it is no document of smartctl"),
        "{o:?}"
    );
}

#[test]
fn by_the_program() {
    let folder = Folder::new();
    folder.write(
        "failing",
        ata(8, &[("/smart_status/passed", false.into())]).to_string(),
    );
    let scan =
        json!({"smartctl": {"exit_status": 0}, "devices": [{"name": "/dev/sda", "type": "sat"}]});
    folder.write("scan", scan.to_string());
    let script = format!(
        "#!/bin/sh\ncd '{}'\necho \"$*\" >>asked\ncase $* in *--scan*) cat scan ;; *) cat failing; exit 8 ;; esac\n",
        folder.path().display()
    );
    // Written by another process: one that a process of ours has open for writing cannot be run.
    let smartctl = folder.file("smartctl");
    let write = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
    healthd_testing::run(
        std::process::Command::new("sh")
            .args(["-c", write, "sh", &script])
            .arg(&smartctl),
    );
    let o = check("smart", json!({"smartctl": smartctl}));
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Critical, "/dev/sda says that it is failing")
    );
    let o = check(
        "smart",
        json!({"smartctl": smartctl, "devices": ["/dev/sdb"], "device_type": "megaraid,0", "wake": true}),
    );
    assert_eq!(o.status, Status::Critical);
    let asked = std::fs::read_to_string(folder.file("asked")).expect("our own");
    assert_eq!(
        asked,
        "--json --scan\n--json -a -n standby,0 -d sat /dev/sda\n--json -a -d megaraid,0 /dev/sdb\n"
    );
    let o = check("smart", json!({"smartctl": "/no/such/smartctl"}));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
}

#[test]
fn the_real_one() {
    let Some(smartctl) = program("smartctl", "smartmontools") else {
        return;
    };
    let o = check(
        "smart",
        json!({"smartctl": smartctl, "devices": ["/dev/null"]}),
    );
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(o.message.starts_with("/dev/null: "), "{}", o.message);
}
