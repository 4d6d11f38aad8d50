//! Thresholds on a number, in the notation of the Nagios plugins.

use super::value::{Limits, OptionValue};
use crate::metric::Metric;
use crate::status::Status;
pub use healthd_units::range::Range;
use serde_json::Value;

impl OptionValue for Range {
    fn schema(_: &Limits) -> String {
        let number = r"-?[0-9]+(\\.[0-9]+)?";
        format!(
            r#""anyOf":[{{"type":"number"}},{{"type":"string","format":"range","pattern":"^@?((~|{number})?:({number})?|{number})$"}}]"#
        )
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        match &value {
            Value::Number(n) => n.to_string().parse(),
            Value::String(s) => s.parse(),
            other => Err(format!(
                "{other} is no range; write 10, 10:, ~:10, 10:20 or @10:20"
            )),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

/// A warning and a critical range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub warn: Option<Range>,
    pub crit: Option<Range>,
}

impl Thresholds {
    pub fn judge(&self, value: f64) -> Status {
        let alerts = |r: Option<Range>| r.is_some_and(|r| r.alerts(value));
        match (alerts(self.crit), alerts(self.warn)) {
            (true, _) => Status::Critical,
            (_, true) => Status::Warn,
            _ => Status::Ok,
        }
    }

    /// Puts the bounds beside the value.
    pub fn on<'m>(&self, metric: Metric<'m>) -> Metric<'m> {
        metric
            .warn(self.warn.and_then(|r| r.bound()))
            .crit(self.crit.and_then(|r| r.bound()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn critical_goes_before_warning() {
        let t = Thresholds {
            warn: "5".parse().ok(),
            crit: "10".parse().ok(),
        };
        assert_eq!(
            [3.0, 7.0, 11.0].map(|v| t.judge(v)),
            [Status::Ok, Status::Warn, Status::Critical]
        );
    }
}
