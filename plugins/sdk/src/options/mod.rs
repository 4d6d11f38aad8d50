//! Typed options: one declaration gives the struct, its JSON Schema, its defaults and its error messages.
//!
//! Why not `schemars` and a serde derive: measured, they add 190 kB to a plugin that is 500 kB without, six seconds of
//! build, and nullable types in the schema that a TOML file has no word for. Whoever wants them implements [`Options`]
//! by hand for a serde struct; that is two lines.
//!
//! The schema (2020-12) is what the daemon validates the config against and what `healthctl plugins` and the error
//! messages show. [`Options::parse`] checks the same rules again, because a plugin may meet another host.

mod path;
mod range;
mod scalar;
mod size;
mod value;

pub use path::{ReadPath, WritePath};
pub use range::{Range, Thresholds};
pub use scalar::{CellVerdict, FirstCell, Scalar};
pub use size::{Amount, Size, size_text};
pub(crate) use value::refused;
pub use value::{Bad, Limits, OptionValue, duration_text, parse_duration};

use serde_json::Value;

/// The options of one check.
pub trait Options: Sized {
    /// A JSON Schema (2020-12) of the config table.
    fn schema() -> String;

    /// Reads the config table. The error names the option.
    fn parse(json: &[u8]) -> Result<Self, String>;
}

/// No options.
impl Options for () {
    fn schema() -> String {
        r#"{"type":"object","properties":{},"additionalProperties":false}"#.into()
    }

    fn parse(json: &[u8]) -> Result<(), String> {
        Fields::of_document(json)?.finish()
    }
}

/// Declares options: a struct, or an enum of words.
///
/// ```
/// use healthd_plugin::options;
/// use std::time::Duration;
///
/// options! {
///     /// Asks a clock.
///     pub struct Options {
///         /// Host name or address.
///         host: String { min_length: 1 },
///         /// Port.
///         port: u16 { min: 1 } = 123,
///         /// Address family.
///         family: Family = Family::Any,
///         /// Warn when the answer takes longer. Without it there is no warning.
///         warn: Option<Duration>,
///     }
/// }
///
/// options! {
///     #[derive(Clone, Copy, PartialEq, Debug)]
///     pub enum Family { Any = "any", V4 = "ipv4", V6 = "ipv6" }
/// }
///
/// use healthd_plugin::Options as _;
/// let o = Options::parse(br#"{"host": "example.org", "warn": "250ms"}"#).unwrap();
/// assert_eq!((o.port, o.family, o.warn), (123, Family::Any, Some(Duration::from_millis(250))));
/// assert_eq!(Options::parse(b"{}").err().unwrap(), "host: missing");
/// ```
///
/// A field is required unless it has a default (`= value`) or is an `Option`. Between `{}` stand methods of [`Limits`].
/// Doc comments become the descriptions. Types are those of [`OptionValue`]: strings, integers, floats, `bool`,
/// `Duration` ("250ms", "5s", "2m"), [`Range`], [`Size`] ("64KiB"), [`Amount`] ("5%"), [`ReadPath`], [`WritePath`], `Vec`, `BTreeMap<String, _>`, `Option`, and whatever `options!` declares.
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $about:literal])* $(#[derive($($derive:ident),+ $(,)?)])?
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident : $ty:ty $({ $($limit:ident : $bound:expr),+ $(,)? })? $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[doc = $about])* $(#[derive($($derive),+)])?
        $vis struct $name { $( $(#[doc = $doc])* pub $field: $ty, )* }

        impl $crate::options::OptionValue for $name {
            fn schema(_: &$crate::options::Limits) -> String {
                #[allow(unused_mut, reason = "a struct may have no fields")]
                let mut object = $crate::options::ObjectSchema::new(concat!($($about, "\n"),*));
                $( object.field::<$ty>(
                    stringify!($field),
                    concat!($($doc, "\n"),*),
                    &$crate::options!(@limits $($($limit : $bound),+)?),
                    $crate::options!(@default $ty $(, $default)?),
                ); )*
                object.finish()
            }

            fn from_json(value: $crate::serde_json::Value, _: &$crate::options::Limits) -> Result<Self, String> {
                #[allow(unused_mut, reason = "a struct may have no fields")]
                let mut fields = $crate::options::Fields::new(value)?;
                let this = $name { $(
                    $field: fields.take::<$ty>(
                        stringify!($field),
                        &$crate::options!(@limits $($($limit : $bound),+)?),
                        || $crate::options!(@default $ty $(, $default)?),
                    )?,
                )* };
                fields.finish()?;
                Ok(this)
            }

            fn to_json(&self) -> $crate::serde_json::Value {
                #[allow(unused_mut, reason = "a struct may have no fields")]
                let mut object = $crate::serde_json::Map::new();
                $( object.insert(
                    stringify!($field).trim_start_matches("r#").into(),
                    $crate::options::OptionValue::to_json(&self.$field),
                ); )*
                object.into()
            }
        }

        impl $crate::options::Options for $name {
            fn schema() -> String {
                $crate::options::document::<$name>()
            }
            fn parse(json: &[u8]) -> Result<Self, String> {
                $crate::options::parse_document(json)
            }
        }
    };
    (
        $(#[doc = $about:literal])* $(#[derive($($derive:ident),+ $(,)?)])?
        $vis:vis enum $name:ident { $( $(#[doc = $doc:literal])* $word:ident = $text:literal ),+ $(,)? }
    ) => {
        $(#[doc = $about])* $(#[derive($($derive),+)])?
        $vis enum $name { $( $(#[doc = $doc])* $word ),+ }

        impl $crate::options::OptionValue for $name {
            fn schema(_: &$crate::options::Limits) -> String {
                $crate::options::words_schema(&[$($text),+])
            }
            fn from_json(value: $crate::serde_json::Value, _: &$crate::options::Limits) -> Result<Self, String> {
                match value.as_str() {
                    $( Some($text) => Ok($name::$word), )+
                    _ => Err($crate::options::not_a_word(&value, &[$($text),+])),
                }
            }
            fn to_json(&self) -> $crate::serde_json::Value {
                match self { $( $name::$word => $text.into() ),+ }
            }
        }
    };
    (@limits) => { $crate::options::Limits::NONE };
    (@limits $($limit:ident : $bound:expr),+) => {
        $crate::options::Limits::NONE $( .$limit($bound) )+
    };
    (@default $ty:ty) => { ::core::option::Option::<$ty>::None };
    (@default $ty:ty, $default:expr) => { ::core::option::Option::<$ty>::Some($default) };
}

// ---- what the macro expands to calls the rest ----

#[doc(hidden)]
pub fn document<T: OptionValue>() -> String {
    let body = T::schema(&Limits::NONE);
    format!(r#"{{"$schema":"https://json-schema.org/draft/2020-12/schema",{body}}}"#)
}

#[doc(hidden)]
pub fn parse_document<T: OptionValue>(json: &[u8]) -> Result<T, String> {
    T::from_json(document_value(json)?, &Limits::NONE)
}

fn document_value(json: &[u8]) -> Result<Value, String> {
    if json.is_empty() {
        return Ok(Value::Object(Default::default()));
    }
    serde_json::from_slice(json).map_err(|e| format!("config: {e}"))
}

#[doc(hidden)]
pub fn words_schema(words: &[&str]) -> String {
    format!(r#""type":"string","enum":{}"#, Value::from(words.to_vec()))
}

#[doc(hidden)]
pub fn not_a_word(got: &Value, words: &[&str]) -> String {
    format!("{got} is none of {}", words.join(", "))
}

/// Writes the schema of a struct.
#[doc(hidden)]
pub struct ObjectSchema {
    about: String,
    properties: String,
    required: Vec<&'static str>,
}

impl ObjectSchema {
    pub fn new(about: &str) -> Self {
        ObjectSchema {
            about: one_text(about),
            properties: String::new(),
            required: Vec::new(),
        }
    }

    pub fn field<T: OptionValue>(
        &mut self,
        name: &'static str,
        doc: &str,
        limits: &Limits,
        default: Option<T>,
    ) {
        let name = name.trim_start_matches("r#");
        if !self.properties.is_empty() {
            self.properties.push(',');
        }
        self.properties += &format!("{}:{{", Value::from(name));
        let doc = one_text(doc);
        if !doc.is_empty() {
            self.properties += &format!(r#""description":{},"#, Value::from(doc));
        }
        self.properties += &T::schema(limits);
        if let Some(bad) = limits.bad {
            self.properties += &format!(r#","x-bad":"{}""#, bad.word());
        }
        if let Some(default) = &default {
            self.properties += &format!(r#","default":{}"#, default.to_json());
        } else if T::if_missing().is_none() {
            self.required.push(name);
        }
        self.properties.push('}');
    }

    pub fn finish(self) -> String {
        let about = match self.about.is_empty() {
            true => String::new(),
            false => format!(r#""description":{},"#, Value::from(self.about)),
        };
        let required = match self.required.is_empty() {
            true => String::new(),
            false => format!(r#","required":{}"#, Value::from(self.required)),
        };
        format!(
            r#"{about}"type":"object","properties":{{{}}}{required},"additionalProperties":false"#,
            self.properties
        )
    }
}

/// Doc comment lines as one text: each begins with a blank, an empty one is a new paragraph.
fn one_text(doc: &str) -> String {
    let mut text = String::new();
    for line in doc.lines() {
        let line = line.trim();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push(if line.is_empty() { '\n' } else { ' ' });
        }
        text += line;
    }
    text.trim_end().into()
}

/// Takes a struct's fields out of a table.
#[doc(hidden)]
pub struct Fields {
    left: serde_json::Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    pub fn new(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(left) => Ok(Fields {
                left,
                known: Vec::new(),
            }),
            other => Err(format!("{} where a table is expected", value::kind(&other))),
        }
    }

    fn of_document(json: &[u8]) -> Result<Self, String> {
        Fields::new(document_value(json)?)
    }

    pub fn take<T: OptionValue>(
        &mut self,
        name: &'static str,
        limits: &Limits,
        default: impl FnOnce() -> Option<T>,
    ) -> Result<T, String> {
        let name = name.trim_start_matches("r#");
        self.known.push(name);
        match self.left.remove(name) {
            Some(value) => T::from_json(value, limits).map_err(|e| value::inside(name, &e)),
            None => default()
                .or_else(T::if_missing)
                .ok_or_else(|| format!("{name}: missing")),
        }
    }

    pub fn finish(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) if self.known.is_empty() => {
                Err(format!("{key}: unknown option, there are none"))
            }
            Some(key) => Err(format!(
                "{key}: unknown option; there are {}",
                self.known.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    options! {
        /// Says "hello"
        /// twice.
        #[derive(Debug, PartialEq)]
        struct Everything {
            /// A name.
            name: String { min_length: 1, pattern: "^[a-z]+$" },
            port: u16 { min: 1 } = 80,
            ratio: f64 { min: 0, max: 1 } = 0.5,
            on: bool = true,
            wait: Duration = Duration::from_millis(1500),
            limit: Option<Range>,
            mode: Mode = Mode::Fast,
            tags: Vec<String> { max_items: 2 } = Vec::new(),
            headers: BTreeMap<String, String> = BTreeMap::new(),
            inner: Option<Inner>,
            r#type: Option<i64>,
        }
    }

    options! {
        #[derive(Debug, PartialEq)]
        enum Mode { Fast = "fast", Slow = "slow" }
    }

    options! {
        #[derive(Debug, PartialEq)]
        struct Inner {
            /// Needed.
            user: String,
        }
    }

    fn parse(json: &str) -> Result<Everything, String> {
        Everything::parse(json.as_bytes())
    }

    #[test]
    fn schema_is_json_and_complete() {
        let schema: Value = serde_json::from_str(&<Everything as Options>::schema()).unwrap();
        assert_eq!(schema["description"], "Says \"hello\" twice.");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["name"]));
        let p = &schema["properties"];
        assert_eq!(p["name"]["pattern"], "^[a-z]+$");
        assert_eq!(
            p["port"],
            serde_json::json!({"type": "integer", "minimum": 1, "maximum": 65535, "default": 80})
        );
        assert_eq!(p["wait"]["default"], "1.5s");
        assert_eq!(p["wait"]["format"], "duration");
        assert_eq!(
            p["mode"],
            serde_json::json!({"type": "string", "enum": ["fast", "slow"], "default": "fast"})
        );
        assert_eq!(p["tags"]["items"], serde_json::json!({"type": "string"}));
        assert_eq!(
            p["headers"]["additionalProperties"],
            serde_json::json!({"type": "string"})
        );
        assert_eq!(p["inner"]["required"], serde_json::json!(["user"]));
        assert_eq!(p["inner"]["additionalProperties"], false);
        assert_eq!(p["type"]["type"], "integer");
    }

    #[test]
    fn reads_what_is_given_and_fills_in_the_rest() {
        let o = parse(r#"{"name": "x", "wait": "2m", "inner": {"user": "u"}, "type": 3}"#).unwrap();
        assert_eq!(o.wait, Duration::from_secs(120));
        assert_eq!(o.inner, Some(Inner { user: "u".into() }));
        assert_eq!((o.port, o.ratio, o.on, o.r#type), (80, 0.5, true, Some(3)));
        assert_eq!(o.mode, Mode::Fast);
    }

    #[test]
    fn each_mistake_names_its_option() {
        let error = |json: &str| parse(json).unwrap_err();
        assert_eq!(error("{}"), "name: missing");
        assert_eq!(error(r#"{"name": ""}"#), "name: must not be empty");
        assert_eq!(
            error(r#"{"name": 3}"#),
            "name: a number where a string is expected"
        );
        assert_eq!(error(r#"{"name": "a", "port": 0}"#), "port: 0 is below 1");
        assert_eq!(
            error(r#"{"name": "a", "port": 70000}"#),
            "port: 70000 is above 65535"
        );
        assert_eq!(
            error(r#"{"name": "a", "port": 1.5}"#),
            "port: 1.5 is not a whole number"
        );
        assert_eq!(error(r#"{"name": "a", "ratio": 2}"#), "ratio: 2 is above 1");
        assert_eq!(
            error(r#"{"name": "a", "mode": "x"}"#),
            "mode: \"x\" is none of fast, slow"
        );
        assert_eq!(
            error(r#"{"name": "a", "tags": ["a", 1]}"#),
            "tags[1]: a number where a string is expected"
        );
        assert_eq!(
            error(r#"{"name": "a", "tags": ["a", "b", "c"]}"#),
            "tags: at most 2 entries"
        );
        assert_eq!(
            error(r#"{"name": "a", "headers": {"k": 1}}"#),
            "headers.k: a number where a string is expected"
        );
        assert_eq!(
            error(r#"{"name": "a", "inner": {}}"#),
            "inner.user: missing"
        );
        assert_eq!(
            error(r#"{"name": "a", "wait": "5"}"#),
            "wait: \"5\" has no unit after `5`: write `5s` or `5ms`"
        );
        assert!(
            error(r#"{"name": "a", "nmae": 1}"#)
                .starts_with("nmae: unknown option; there are name, port,")
        );
        assert_eq!(error("[]"), "an array where a table is expected");
    }

    #[test]
    fn no_options_takes_none() {
        assert!(<()>::parse(b"").is_ok());
        assert!(<()>::parse(b"{}").is_ok());
        assert_eq!(
            <()>::parse(br#"{"a": 1}"#).unwrap_err(),
            "a: unknown option, there are none"
        );
    }
}
