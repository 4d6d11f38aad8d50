//! How much the daemon, or what would be started here, may open and start.

use super::{Findings, Patient, Root};

/// Each check in flight takes one or two, and a worker some dozens.
const FEW_FILES: u64 = 4_096;
const FEW_PROCESSES: u64 = 256;
const DROP_INS: &str = "/etc/systemd/system/healthd.service.d";

pub fn look(root: &Root, patient: &Patient) -> Findings {
    let mut found = Findings::of("limits");
    let who = match patient.pid {
        Some(pid) => pid.to_string(),
        // What is started from here has ours; a service has those of its unit.
        None if patient.here || !patient.has_unit => "self".to_owned(),
        None => return found,
    };
    let Some(table) = root.read(&format!("/proc/{who}/limits")) else {
        return found;
    };
    let raise = |key: &str, value: &str, shell: &str| match patient.has_unit && !patient.here {
        true => format!(
            "sudo mkdir -p {DROP_INS} && printf '[Service]\\n{key}={value}\\n' | sudo tee {DROP_INS}/{key}.conf && \
             sudo systemctl daemon-reload && sudo systemctl restart healthd"
        ),
        false => format!("{shell}   # before healthd is started"),
    };
    if let Some(files) = hard(&table, "Max open files") {
        match files < FEW_FILES {
            true => found.warning(
                format!("{files} open files: only so many checks can be on their way at once"),
                raise(
                    "LimitNOFILE",
                    "262144",
                    "sudo prlimit --nofile=262144 --pid $$",
                ),
            ),
            false => found.ok(format!("{files} open files")),
        }
    }
    if let Some(processes) = hard(&table, "Max processes").filter(|n| *n < FEW_PROCESSES) {
        found.warning(
            format!("{processes} processes and threads: workers and programs of checks are some"),
            raise("LimitNPROC", "8192", "sudo prlimit --nproc=8192 --pid $$"),
        );
    }
    if let Some((used, most)) = tasks(root, &who).filter(|(used, most)| used * 5 > most * 4) {
        found.warning(
            format!("{used} of {most} tasks of its control group are taken"),
            raise(
                "TasksMax",
                "8192",
                "sudo systemctl set-property user.slice TasksMax=infinity",
            ),
        );
    }
    found
}

/// None: unlimited, or not there.
fn hard(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn tasks(root: &Root, who: &str) -> Option<(u64, u64)> {
    let groups = root.read(&format!("/proc/{who}/cgroup"))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let of = |what: &str| {
        root.read(&format!("/sys/fs/cgroup{group}/{what}"))?
            .parse()
            .ok()
    };
    Some((of("pids.current")?, of("pids.max")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max processes             unlimited            unlimited            processes \n\
Max open files            1024                 1048576              files     \n";

    #[test]
    fn the_hard_limit_counts_as_healthd_raises_the_soft_one() {
        assert_eq!(hard(TABLE, "Max open files"), Some(1_048_576));
        assert_eq!(hard(TABLE, "Max processes"), None);
        assert_eq!(hard(TABLE, "Max nonsense"), None);
    }
}
