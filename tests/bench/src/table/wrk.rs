//! wrk: what asking alone costs.

use super::turns::Figures;
use crate::figures::children_ms;
use std::process::Command;

/// us of CPU a request of wrk, and its requests a second, on that port of nginx.
pub fn wrk(port: u16, more: &[&str], seconds: f64) -> Result<Figures, String> {
    let before = children_ms()?;
    let done = Command::new("wrk")
        .args(["-t1", "-c100", &format!("-d{seconds:.0}s")])
        .args(more)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output();
    let done = match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        done => done.map_err(|e| format!("wrk: {e}"))?,
    };
    let ms = children_ms()? - before;
    let said = String::from_utf8_lossy(&done.stdout);
    if said.contains("Non-2xx") {
        return Err(format!("wrk: {said}"));
    }
    let requests = said
        .lines()
        .find_map(|l| l.trim().split_once(" requests in "));
    let requests: Option<f64> = requests.and_then(|(number, _)| number.parse().ok());
    match requests {
        Some(n) if n > 0.0 => Ok(Some(vec![ms * 1e3 / n, n / seconds])),
        _ => Err(format!("wrk: {said}")),
    }
}
