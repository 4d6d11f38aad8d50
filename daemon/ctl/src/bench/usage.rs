//! What a process and all below it use, from /proc.

use std::fs;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, of dead children too.
    pub cpu_s: f64,
    /// Proportional: what is shared is counted once.
    pub memory_bytes: f64,
}

/// USER_HZ, which the kernel counts in for programs on all machines that there are.
const TICKS_A_SECOND: f64 = 100.0;

/// Of this process and its descendants.
pub fn of(root: u32) -> Usage {
    let all: Vec<(u32, u32, f64)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut below = vec![root];
    let mut usage = Usage::default();
    let mut at = 0;
    while at < below.len() {
        let pid = below[at];
        at += 1;
        if let Some(own) = all.iter().find(|p| p.0 == pid) {
            usage.cpu_s += own.2;
            usage.memory_bytes += memory(pid);
        }
        below.extend(all.iter().filter(|p| p.1 == pid).map(|p| p.0));
    }
    usage
}

/// What all processors of the machine have worked since it started, and so has the time that another machine took from
/// this one: seconds; and how many of them there are.
pub fn machine() -> (f64, usize) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    of_machine(&stat)
}

fn of_machine(stat: &str) -> (f64, usize) {
    let numbers = |line: &str| -> Vec<f64> {
        let words = line.split_whitespace().skip(1);
        words.filter_map(|w| w.parse().ok()).collect()
    };
    let all = stat.lines().next().map(numbers).unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let busy = [0, 1, 2, 5, 6, 7];
    let ticks: f64 = busy.iter().filter_map(|n| all.get(*n)).sum();
    let is_one = |line: &&str| {
        let number = line.strip_prefix("cpu");
        number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    };
    let processors = stat.lines().filter(is_one).count();
    (ticks / TICKS_A_SECOND, processors.max(1))
}

/// pid, parent, seconds.
fn process(pid: u32) -> Option<(u32, u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may hold anything, even brackets and blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse::<f64>().ok();
    let ticks: f64 = (11..15).filter_map(number).sum();
    Some((pid, number(1)? as u32, ticks / TICKS_A_SECOND))
}

fn memory(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = rollup.lines().find_map(|l| l.strip_prefix("Pss:"));
    let kb = pss.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(0.0) * 1024.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_the_machine() {
        let stat = "cpu  100 20 3 9999 50 4 5 6 7 8\ncpu0 1 2\ncpu1 1 2\nintr 5\n";
        assert_eq!(super::of_machine(stat), (1.38, 2));
        assert_eq!(super::of_machine(""), (0.0, 1));
        assert!(super::machine().0 > 0.0);
    }

    #[test]
    fn of_this_process() {
        let usage = super::of(std::process::id());
        assert!(usage.memory_bytes > 100_000.0, "{usage:?}");
        assert_eq!(super::of(u32::MAX).memory_bytes, 0.0);
    }
}
