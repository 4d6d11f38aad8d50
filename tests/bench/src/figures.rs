//! Numbers that several measurements take.

use nix::sys::resource::{UsageWho, getrusage};
use std::time::{SystemTime, UNIX_EPOCH};

/// CLOCK_REALTIME, s: the clock of a server's log.
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// NaN: of nothing.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// NaN: of nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values
        .get((last * q).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// What the children have used that have ended: user and system time.
pub fn children_ms() -> Result<f64, String> {
    used_ms(UsageWho::RUSAGE_CHILDREN)
}

/// The same, and what this process has used itself.
pub fn own_ms() -> Result<f64, String> {
    Ok(used_ms(UsageWho::RUSAGE_SELF)? + children_ms()?)
}

fn used_ms(who: UsageWho) -> Result<f64, String> {
    let usage = getrusage(who).map_err(|e| e.to_string())?;
    let ms = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 * 1e3 + t.tv_usec() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_values_in_any_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[4.0, 0.0, 2.0, 1.0, 3.0], 0.99), 4.0);
        assert!(median(&[]).is_nan());
    }
}
