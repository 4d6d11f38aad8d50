//! A single value to compare with, and the judgement of a single value that a query found.

use super::range::Thresholds;
use super::value::{Limits, OptionValue};
use crate::cx::Cx;
use crate::metric::Metric;
use crate::status::Status;
use serde_json::Value;
use std::fmt;

/// A text, a number or a boolean.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar(pub Value);

impl OptionValue for Scalar {
    fn schema(_: &Limits) -> String {
        r#""anyOf":[{"type":"string"},{"type":"number"},{"type":"boolean"}]"#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        match value {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(Scalar(value)),
            other => Err(format!("{other} is no text, number or boolean")),
        }
    }

    fn to_json(&self) -> Value {
        self.0.clone()
    }
}

impl Scalar {
    /// 1 and 1.0 are the same number; two that are whole are compared to their last digit.
    pub fn equals(&self, found: &Value) -> bool {
        if let (Some(a), Some(b)) = (whole(&self.0), whole(found)) {
            return a == b;
        }
        match (self.0.as_f64(), found.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => self.0 == *found,
        }
    }

    /// Compares with a value that came as text: a number by its value, a boolean in a database's spellings.
    pub fn equals_text(&self, found: &str) -> bool {
        match &self.0 {
            Value::String(wanted) => wanted == found,
            Value::Number(wanted) => {
                let found = found.trim();
                match (whole(&self.0), found.parse::<i128>()) {
                    (Some(a), Ok(b)) => a == b,
                    _ => found.parse().ok() == wanted.as_f64(),
                }
            }
            Value::Bool(true) => matches!(found, "t" | "true" | "1"),
            Value::Bool(false) => matches!(found, "f" | "false" | "0"),
            _ => false,
        }
    }
}

/// A number without a point.
fn whole(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from))
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What stands in the first cell of a query's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FirstCell<'a> {
    /// There was no row, or none with a column.
    Nothing,
    Null,
    Text(&'a str),
}

/// None: no row. Some(None): NULL.
impl<'a> From<&'a Option<Option<String>>> for FirstCell<'a> {
    fn from(cell: &'a Option<Option<String>>) -> Self {
        match cell {
            None => FirstCell::Nothing,
            Some(None) => FirstCell::Null,
            Some(Some(text)) => FirstCell::Text(text),
        }
    }
}

/// The judgement of a first cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellVerdict {
    pub status: Status,
    /// The end of a sentence like `query returned ...`.
    pub text: String,
    /// The cell as a number, if it is one.
    pub number: Option<f64>,
}

impl FirstCell<'_> {
    /// [`judge`](Self::judge), and the metric `value` if the cell is a number.
    pub fn report(
        self,
        cx: Cx<'_>,
        expect: Option<&Scalar>,
        thresholds: &Thresholds,
    ) -> CellVerdict {
        let verdict = self.judge(expect, thresholds);
        if let Some(number) = verdict.number {
            cx.metric(thresholds.on(Metric::new("value", number)));
        }
        verdict
    }

    /// Critical if it is not what was expected; by the thresholds if there are any. Without a number the thresholds
    /// cannot judge, which is unknown.
    pub fn judge(self, expect: Option<&Scalar>, thresholds: &Thresholds) -> CellVerdict {
        let number = match self {
            FirstCell::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        };
        let (status, text) = match (self, expect) {
            (FirstCell::Text(text), Some(wanted)) if wanted.equals_text(text) => (Status::Ok, None),
            (_, Some(wanted)) => (Status::Critical, Some(format!("{self}, expected {wanted}"))),
            (_, None) => (Status::Ok, None),
        };
        let (limits, limits_text) = match (
            number,
            thresholds.warn.is_some() || thresholds.crit.is_some(),
        ) {
            (_, false) => (Status::Ok, None),
            (None, true) => (
                Status::Unknown,
                Some(format!(
                    "{self}, which has no place on a threshold: it is no number"
                )),
            ),
            (Some(n), true) => {
                let status = thresholds.judge(n);
                let range = match status {
                    Status::Critical => thresholds.crit,
                    Status::Warn => thresholds.warn,
                    _ => None,
                };
                (
                    status,
                    range.map(|range| format!("{self}, outside of {range}")),
                )
            }
        };
        let worst = status.worst(limits);
        let text = if worst == status {
            text.or(limits_text)
        } else {
            limits_text
        };
        CellVerdict {
            status: worst,
            text: text.unwrap_or_else(|| self.to_string()),
            number,
        }
    }
}

/// For a message: `42`, `"a text"`, cut if it is long.
impl fmt::Display for FirstCell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        match self {
            FirstCell::Nothing => f.write_str("no row"),
            FirstCell::Null => f.write_str("NULL"),
            FirstCell::Text(text) if text.parse::<f64>().is_ok() => f.write_str(text),
            FirstCell::Text(text) => match text.char_indices().nth(SHOWN) {
                Some((cut, _)) => write!(f, "{:?}...", &text[..cut]),
                None => write!(f, "{text:?}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(
        cell: FirstCell<'_>,
        expect: Option<Value>,
        warn: &str,
        crit: &str,
    ) -> (Status, String) {
        let thresholds = Thresholds {
            warn: warn.parse().ok(),
            crit: crit.parse().ok(),
        };
        let v = cell.judge(expect.map(Scalar).as_ref(), &thresholds);
        (v.status, v.text)
    }

    #[test]
    fn scalars_and_texts() {
        for (wanted, text, equal) in [
            (Value::from(5), "5", true),
            (Value::from(5), "5.00", true),
            (Value::from(5), "6", false),
            (Value::from(5), "five", false),
            (Value::from("5"), "5.0", false),
            (Value::from(true), "t", true),
            (Value::from(false), "0", true),
            (Value::from(false), "t", false),
        ] {
            assert_eq!(
                Scalar(wanted.clone()).equals_text(text),
                equal,
                "{wanted} {text}"
            );
        }
        assert!(Scalar(Value::from(1)).equals(&Value::from(1.0)));
        // As floats they are one.
        let (a, b) = (9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64);
        assert!(!Scalar(a.into()).equals(&b.into()) && Scalar(b.into()).equals(&b.into()));
        assert!(!Scalar(a.into()).equals_text(&b.to_string()));
        assert!(Scalar(b.into()).equals_text(&format!(" {b} ")));
    }

    #[test]
    fn cells() {
        use FirstCell::{Nothing, Null, Text};
        let ok = |text: &str| (Status::Ok, text.to_string());
        assert_eq!(judge(Text("42"), None, "", ""), ok("42"));
        assert_eq!(judge(Nothing, None, "", ""), ok("no row"));
        assert_eq!(judge(Text("up"), Some("up".into()), "", ""), ok("\"up\""));
        assert_eq!(
            judge(Text("down"), Some("up".into()), "", ""),
            (Status::Critical, "\"down\", expected \"up\"".into())
        );
        assert_eq!(
            judge(Null, Some(1.into()), "", ""),
            (Status::Critical, "NULL, expected 1".into())
        );
        assert_eq!(judge(Text("7"), None, "10", "20"), ok("7"));
        assert_eq!(
            judge(Text("12"), None, "10", "20"),
            (Status::Warn, "12, outside of 10".into())
        );
        assert_eq!(
            judge(Text("25"), None, "10", "20"),
            (Status::Critical, "25, outside of 20".into())
        );
        assert_eq!(judge(Null, None, "10", "").0, Status::Unknown);
        assert_eq!(judge(Text("inf"), None, "10", "").0, Status::Unknown);
        // Expected and yet outside: the thresholds count too.
        assert_eq!(
            judge(Text("12"), Some(12.into()), "10", ""),
            (Status::Warn, "12, outside of 10".into())
        );
        let long = "é".repeat(200);
        let shown = Text(&long).to_string();
        assert!(
            shown.ends_with("\"...") && shown.chars().count() == 85,
            "{shown}"
        );
    }
}
