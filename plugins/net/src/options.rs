//! Option types that several kinds have.

pub use healthd_client::host::Family;
use healthd_plugin::options::{Limits, OptionValue};
use healthd_plugin::serde_json::Value;
use std::fmt;

/// A share in percent: "20%", or 20.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl OptionValue for Percent {
    fn schema(_: &Limits) -> String {
        r#""anyOf":[{"type":"string","pattern":"^[0-9]+(\\.[0-9]+)?%$"},{"type":"number","minimum":0,"maximum":100}]"#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let number = match &value {
            Value::String(text) => text.strip_suffix('%').and_then(|n| n.parse().ok()),
            other => other.as_f64(),
        };
        match number {
            Some(n) if (0.0..=100.0).contains(&n) => Ok(Percent(n)),
            _ => Err(format!("{value} is no share; write \"20%\"")),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let read = |v: Value| Percent::from_json(v, &Limits::NONE);
        assert_eq!(read("20%".into()), Ok(Percent(20.0)));
        assert_eq!(read(0.5.into()), Ok(Percent(0.5)));
        for bad in [Value::from("20"), "101%".into(), (-1).into(), true.into()] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(Percent(20.0).to_json(), "20%");
    }
}
