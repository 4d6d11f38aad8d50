//! Small files of the kernel, under /proc and /sys. Tests put a folder of samples in their place.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any of them has; of a longer one the rest is left out.
const MOST: u64 = 64 << 20;

/// Where `/proc` and `/sys` are.
#[derive(Clone, Debug)]
pub struct Kernel(PathBuf);

impl Default for Kernel {
    fn default() -> Self {
        Kernel("/".into())
    }
}

impl Kernel {
    #[cfg(test)]
    pub fn at(root: &Path) -> Kernel {
        Kernel(root.to_owned())
    }

    /// `proc/meminfo`, without a slash in front.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    pub fn bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path))?
            .take(MOST)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What is no UTF-8 in it becomes U+FFFD.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        self.bytes(path)
            .map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    /// A file with one line.
    pub fn line(&self, path: impl AsRef<Path>) -> io::Result<String> {
        self.text(path).map(|t| t.trim().to_owned())
    }

    /// A file with one number; None: it has none, or is not there.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.line(path).ok()?.parse().ok()
    }

    /// The names in a folder, sorted; those that are no UTF-8 are left out.
    pub fn names(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(path))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The line `key: 12 kB` of such a file, in its own unit.
pub fn field(text: &str, key: &str) -> Option<u64> {
    let mut words = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?
        .split_whitespace();
    words.next()?.parse().ok()
}

/// The line `key 12`, as vmstat and cgroups have them.
pub fn word(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// A pressure file of one resource: how much of the last minute some, or all, waited, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    pub some: f64,
    /// None: not told for this resource (the processors', before Linux 5.13).
    pub full: Option<f64>,
}

impl Pressure {
    /// `some avg10=0.00 avg60=1.23 avg300=0.50 total=123`
    pub fn parse(text: &str) -> Option<Pressure> {
        let average = |kind: &str| -> Option<f64> {
            let line = text.lines().find(|l| l.starts_with(kind))?;
            let value = line.split(' ').find_map(|w| w.strip_prefix("avg60="))?;
            value.parse().ok()
        };
        Some(Pressure {
            some: average("some ")?,
            full: average("full "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let meminfo = "MemTotal:       24684096 kB\nMemFree:   12 kB\nHugePages_Total:       3\n";
        assert_eq!(field(meminfo, "MemTotal"), Some(24_684_096));
        assert_eq!(field(meminfo, "HugePages_Total"), Some(3));
        assert_eq!(field(meminfo, "Mem"), None);
        assert_eq!(
            word("pswpin 5\npswpinx 7\noom_kill 2\n", "oom_kill"),
            Some(2)
        );
        assert_eq!(word("pswpinx 7\n", "pswpin"), None);
    }

    #[test]
    fn pressure_with_and_without_full() {
        let text = "some avg10=0.00 avg60=1.25 avg300=0.50 total=123\nfull avg10=0.00 avg60=0.75 avg300=0.1 total=5\n";
        let full = Pressure {
            some: 1.25,
            full: Some(0.75),
        };
        assert_eq!(Pressure::parse(text), Some(full));
        let old = Pressure::parse("some avg10=0.00 avg60=0.10 avg300=0.50 total=123\n");
        assert_eq!(
            old,
            Some(Pressure {
                some: 0.1,
                full: None
            })
        );
        assert_eq!(Pressure::parse(""), None);
        assert_eq!(Pressure::parse("some avg10=0.00 avg60=x\n"), None);
    }
}
