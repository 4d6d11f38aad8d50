//! The time of day, which stands in every message and decides when alerts may speak.

use super::{Findings, Root};
use healthd_sys::clock;
use jiff::Timestamp;

/// Before this was written: nobody has set it.
const EARLIEST: &str = "2025-01-01T00:00:00Z";
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0";

pub fn look(root: &Root, now: Timestamp) -> Findings {
    let mut found = Findings::of("clock");
    let earliest: Timestamp = EARLIEST.parse().expect("a time of ours");
    if now < earliest {
        let said = now.strftime("%Y-%m-%d %H:%M").to_string();
        let set = "sudo date -s '2026-01-31 12:00'   # with the time that it is";
        found.problem(format!("it says {said}: nobody has set it"), set);
    }
    match clock::is_synchronised() {
        Ok(true) => found.ok("somebody keeps it right (NTP or the like)"),
        Ok(false) => found.warning(
            "nobody keeps it right: certificates, `when` of alerts and times in logs go by it",
            "sudo timedatectl set-ntp true   # or: sudo apt-get install chrony",
        ),
        // A container may not ask.
        Err(_) => {}
    }
    let of = |what: &str| root.read(&format!("{SOURCE}/{what}"));
    let (current, others) = (of("current_clocksource"), of("available_clocksource"));
    if let (Some(current), Some(others)) = (current, others) {
        let has_tsc = others.split_whitespace().any(|source| source == "tsc");
        if has_tsc && ["hpet", "acpi_pm", "jiffies"].contains(&current.as_str()) {
            found.warning(
                format!("the kernel reads it from `{current}`, which takes a hundred times as long as `tsc`"),
                format!("echo tsc | sudo tee {SOURCE}/current_clocksource"),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_clock_that_nobody_has_set_and_a_slow_one() {
        let root = std::env::temp_dir().join(format!("healthctl-clock-{}", std::process::id()));
        let root = Root(root);
        std::fs::create_dir_all(root.at(SOURCE)).expect("our own folder");
        for (name, text) in [
            ("current_clocksource", "acpi_pm\n"),
            ("available_clocksource", "tsc acpi_pm \n"),
        ] {
            std::fs::write(root.at(SOURCE).join(name), text).expect("our own folder");
        }
        let found = look(&root, Timestamp::UNIX_EPOCH).list;
        assert_eq!(found[0].state, State::Problem, "{found:?}");
        let last = found.last().expect("the source");
        assert!(last.what.contains("`acpi_pm`"), "{last:?}");
        std::fs::remove_dir_all(&root.0).expect("our own folder");
    }
}
