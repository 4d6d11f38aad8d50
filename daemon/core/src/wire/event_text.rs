//! An event in words, for terminals and pages alike. A change of state is not among them: that has a colour.

use super::events::EventRow;
use healthd_units::duration::about_ms;

impl EventRow {
    /// What it happened to.
    pub fn subject(&self) -> String {
        match self.slot.filter(|_| self.is_of_worker()) {
            Some(slot) => format!("worker {slot}"),
            None => {
                let named = self.check.as_deref().or(self.plugin.as_deref());
                named.unwrap_or("-").to_owned()
            }
        }
    }

    /// What there is to say beside the change of state. May hold anything that a target said.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(missed) = self.missed {
            parts.push(format!("{missed} events are gone"));
        }
        if let Some(ms) = self.step_ms {
            let sign = if ms < 0 { "back" } else { "ahead" };
            parts.push(format!("{} {sign}", about_ms(ms.unsigned_abs() as f64)));
        }
        let message = self.message.as_deref().unwrap_or_default();
        if self.is_of_worker() {
            parts.extend(self.pid.map(|pid| format!("pid {pid}")));
            // What the message tells too is not told twice.
            let cause = self.cause.clone().filter(|c| !message.starts_with(c));
            parts.extend(cause);
            parts.extend(self.check.as_ref().map(|check| format!("by {check}")));
        }
        if self.kind == "noted" {
            parts.extend(self.cause.clone());
        }
        if let Some(ms) = self.for_ms {
            let took = about_ms(ms as f64);
            parts.push(match self.kind.as_str() {
                "worker-ready" => format!("after {took}"),
                _ => format!("for {took}"),
            });
        }
        let mut text = parts.join(", ");
        if !text.is_empty() && !message.is_empty() {
            text += ": ";
        }
        text + message
    }

    fn is_of_worker(&self) -> bool {
        self.kind.starts_with("worker-")
    }
}
