//! Where the time of this thread went: on a CPU, in the kernel's queue behind other tasks, or nowhere the kernel knows.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Readings at one moment.
pub struct Stamp {
    wall: Instant,
    cpu: Duration,
    /// None: this kernel does not tell (no CONFIG_SCHED_INFO, or /proc is hidden).
    waited: Option<Duration>,
}

/// What passed between two stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
    /// Ready to run while other tasks of this machine had the CPUs.
    pub waited: Option<Duration>,
}

impl Stamp {
    pub fn now() -> std::io::Result<Stamp> {
        Ok(Stamp {
            wall: Instant::now(),
            cpu: clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into(),
            waited: run_delay(),
        })
    }

    pub fn until(&self, later: &Stamp) -> Spent {
        Spent {
            wall: later.wall.saturating_duration_since(self.wall),
            cpu: later.cpu.saturating_sub(self.cpu),
            waited: match (self.waited, later.waited) {
                (Some(a), Some(b)) => Some(b.saturating_sub(a)),
                _ => None,
            },
        }
    }
}

impl Spent {
    pub fn add(self, other: Spent) -> Spent {
        Spent {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
            waited: self.waited.zip(other.waited).map(|(a, b)| a + b),
        }
    }

    /// Neither on a CPU nor waiting behind a task of this machine: a hypervisor or a CPU quota took it. Without
    /// `waited` that is all that was not on a CPU.
    pub fn stolen(&self) -> Duration {
        self.wall
            .saturating_sub(self.cpu)
            .saturating_sub(self.waited.unwrap_or_default())
    }

    /// The time this machine had for us: that of a busy neighbour process does not count against it. Without `waited`
    /// nobody can tell the two apart, and only the time on a CPU is left.
    pub fn granted(&self) -> Duration {
        match self.waited {
            Some(_) => self.cpu + self.stolen(),
            None => self.cpu,
        }
    }
}

/// Nanoseconds on the run queue: the second number of schedstat.
fn run_delay() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split(' ').nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Clock ticks of all CPUs: (stolen by the hypervisor, all), from the first line of /proc/stat.
pub fn machine_ticks() -> Option<(u64, u64)> {
    parse_ticks(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    let mut words = stat.lines().next()?.split_ascii_whitespace();
    if words.next()? != "cpu" {
        return None;
    }
    // user nice system idle iowait irq softirq steal; guest time behind them is part of user time.
    let ticks: Vec<u64> = words.take(8).map_while(|w| w.parse().ok()).collect();
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_split() {
        let ms = Duration::from_millis;
        let spent = Spent {
            wall: ms(100),
            cpu: ms(60),
            waited: Some(ms(30)),
        };
        assert_eq!((spent.stolen(), spent.granted()), (ms(10), ms(70)));
        let blind = Spent {
            waited: None,
            ..spent
        };
        assert_eq!((blind.stolen(), blind.granted()), (ms(40), ms(60)));
        // The clocks are not read at the same instant.
        let skewed = Spent {
            cpu: ms(101),
            ..spent
        };
        assert_eq!((skewed.stolen(), skewed.granted()), (ms(0), ms(101)));
        assert_eq!(spent.add(blind).waited, None);
        assert_eq!(spent.add(spent).waited, Some(ms(60)));
    }

    #[test]
    fn clocks_of_this_machine() {
        let a = Stamp::now().unwrap();
        let b = Stamp::now().unwrap();
        let spent = a.until(&b);
        assert!(spent.cpu <= spent.wall + Duration::from_millis(1));
    }

    #[test]
    fn ticks() {
        let text = "cpu  10 1 2 80 3 0 1 3 9 9\ncpu0 1 2 3\n";
        assert_eq!(parse_ticks(text), Some((3, 100)));
        assert_eq!(parse_ticks("cpu 1 2 3\n"), None);
        assert_eq!(parse_ticks("intr 1\n"), None);
        assert_eq!(parse_ticks(""), None);
    }
}
