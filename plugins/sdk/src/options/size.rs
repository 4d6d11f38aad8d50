//! Options that are sizes in bytes, and shares of a whole.

use super::value::{Limits, OptionValue, refused};
pub use healthd_units::size::{Amount, Size, about as size_text};
use serde_json::Value;

/// "10GiB", "64KiB", "5GB", or a number of bytes.
impl OptionValue for Size {
    fn schema(_: &Limits) -> String {
        r#""anyOf":[{"type":"integer","minimum":0},{"type":"string","format":"size"}]"#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        match &value {
            Value::String(text) => Size::parse(text).map_err(|e| refused(&value, &e)),
            other => other
                .as_u64()
                .map(Size)
                .ok_or_else(|| format!("{value} is no size; write 64KiB, 10GiB or 5GB")),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

/// "5%" or "10GiB".
impl OptionValue for Amount {
    fn schema(_: &Limits) -> String {
        r#""type":"string","format":"amount""#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => Amount::parse(text).map_err(|e| refused(&value, &e)),
            None => Err(format!(
                "{value} is neither a share nor a size; write \"5%\" or \"10GiB\""
            )),
        }
    }

    fn to_json(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_text_or_a_number_of_bytes() {
        let read = |value: Value| Size::from_json(value, &Limits::NONE);
        assert_eq!(read("1.5KiB".into()), Ok(Size(1536)));
        assert_eq!(read(7.into()), Ok(Size(7)));
        let e = read("5gb".into()).expect_err("no size");
        assert_eq!(e, "\"5gb\" has an unknown unit `gb`: write `5GB`");
        assert!(read((-1).into()).is_err());
        assert_eq!(Size(10 << 30).to_json(), "10GiB");
    }

    #[test]
    fn an_amount_is_a_share_or_a_size() {
        let read = |value: Value| Amount::from_json(value, &Limits::NONE);
        assert_eq!(read("12.5%".into()), Ok(Amount::Percent(12.5)));
        assert_eq!(read("2KiB".into()), Ok(Amount::Bytes(2048)));
        assert!(read("101%".into()).is_err());
        assert!(read(5.into()).is_err());
    }
}
