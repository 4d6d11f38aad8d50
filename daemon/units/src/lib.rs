//! What people write with a unit: durations (`1m30s`), sizes (`10GiB`), amounts (`5%`) and rates (`50/s`); and IP addresses. One grammar, one
//! help text and one printer for each, for config, plugins' options and command lines.
//!
//! Used by: core, ctl, and every plugin through the SDK. No dependency, no I/O.
#![forbid(unsafe_code)]

pub mod duration;
mod number;
pub mod range;
pub mod rate;
pub mod size;

use std::fmt;
use std::net::IpAddr;

/// Why a text is none of these. `Display` says what is wrong, as the end of a sentence about the text; `help` how to write
/// it. Where the help has a text to write instead, that text is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    what: String,
    help: String,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Wrong {
        Wrong {
            what: what.into(),
            help: help.into(),
        }
    }

    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Wrong {}

/// What a JSON schema's `format` demands of a text. None: it is no word of ours.
pub fn check_format(format: &str, text: &str) -> Option<Result<(), Wrong>> {
    Some(match format {
        "duration" => duration::parse(text).map(drop),
        "size" => size::parse(text).map(drop),
        "amount" => size::Amount::parse(text).map(drop),
        "rate" => rate::Rate::parse(text).map(drop),
        "ip" => match text.parse::<IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(Wrong::new(
                "is no IP address",
                "write it as `192.0.2.7` or `2001:db8::1`",
            )),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [&str; 5] = ["duration", "size", "amount", "rate", "ip"];

    fn wrong(format: &str, text: &str) -> Option<Wrong> {
        check_format(format, text).expect("a format of ours").err()
    }

    /// The texts in backquotes.
    fn examples(help: &str) -> impl Iterator<Item = &str> {
        help.split('`').skip(1).step_by(2)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn no_help_leads_into_the_next_error(text in "[0-9.,/% a-zA-ZéµBKMGs-]{0,9}|[0-9]{1,3}[.,]?[0-9]{0,3} ?(s|ms|min|sec|m|h|d|kB|MB|mib|M|G|gb|%|/s|/min|/hour|per s)([0-9]{1,2} ?(s|m|d)?)?") {
            for format in FORMATS {
                if let Some(e) = wrong(format, &text) {
                    for example in examples(e.help()) {
                        prop_assert_eq!(wrong(format, example), None, "{}: `{}` -> {}", format, text, e.help());
                    }
                    prop_assert!(examples(e.help()).next().is_some(), "{} {}", text, e.help());
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            for format in FORMATS {
                if let Some(e) = wrong(format, &text) {
                    let _ = (e.to_string(), e.help());
                }
            }
        }
    }

    #[test]
    fn another_format_is_none_of_ours() {
        assert_eq!(check_format("date-time", "x"), None);
    }
}
