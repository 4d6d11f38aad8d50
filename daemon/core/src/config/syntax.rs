//! What the parser of TOML says, in plainer words, with a hint for the slips that happen most.

use std::ops::Range;

use super::keys::Section;
use super::raw::{is_bare, shortened};
use super::source::Span;

/// The parser's words made plainer, with a hint for the slips that happen most.
pub fn syntax(message: &str, text: &str, span: Span) -> (String, Option<String>) {
    let at = (span.start as usize).min(text.len());
    let start = text
        .get(..at)
        .and_then(|t| t.rfind('\n'))
        .map_or(0, |n| n + 1);
    let line = text.get(start..).unwrap_or("").lines().next().unwrap_or("");
    let here = text.get(at..).unwrap_or("");

    let (what, help) = if here.starts_with(|c: char| c.is_control() && !c.is_whitespace()) {
        let help = "remove it; inside a string write it as `\\uXXXX`";
        ("a control character", Some(help.to_owned()))
    } else if let Some(sign) = here.chars().next().filter(|c| BLANKS.contains(c)) {
        let what = "a sign that looks like a blank and is none";
        let help = format!("write a plain blank in place of U+{:04X}", sign as u32);
        (what, Some(help))
    } else if here.starts_with(CURLY) {
        let what = "quotes of a word processor";
        (what, Some("write plain quotes: `\"`".into()))
    } else if message.starts_with("carriage return must be followed by newline") {
        let what = "a carriage return that ends no line";
        (
            what,
            Some("save it with line ends of Unix (LF) or Windows (CRLF)".into()),
        )
    } else if ["<<<<<<<", "=======", ">>>>>>>"]
        .iter()
        .any(|m| line.starts_with(m))
    {
        let what = "a merge conflict that nobody has resolved";
        let help = "take one side, and remove the lines `<<<<<<<`, `=======` and `>>>>>>>`";
        (what, Some(help.into()))
    } else if message.starts_with("duplicate key") && line.trim_start().starts_with('[') {
        let name = line.trim().trim_matches(['[', ']']);
        let is_list = Section::called(name).is_some_and(Section::is_list);
        let help = match is_list && !line.trim_start().starts_with("[[") {
            true => format!("each is one block of a list: write `[[{name}]]`"),
            false => "put its keys below the first one".into(),
        };
        ("this table stands twice", Some(help))
    } else if message.starts_with("duplicate key") {
        (
            "this key stands twice in its table",
            Some("remove one of the two".into()),
        )
    } else if message.starts_with("missing escaped value") {
        let help = "between single quotes a backslash is itself: `'\\d+'`; between double quotes it is written `\\\\`";
        ("a backslash that begins no escape", Some(help.into()))
    } else if message.starts_with("missing comma") {
        let what = "something else than a comma between two values";
        (what, Some("write a comma".into()))
    } else if message.starts_with("missing assignment") {
        let what = "a key without its `=`";
        (what, Some("write `=` between a key and its value".into()))
    } else if message.starts_with("unexpected key or value") {
        let help = match here.starts_with(',') {
            true => "remove the comma: lines have none at their end",
            false => "write one `key = value` a line, and a text in quotes",
        };
        ("something behind the value", Some(help.into()))
    } else if message.starts_with("cannot recurse further") {
        ("nested too deep", None)
    } else if message.starts_with("invalid basic string, expected `\"`")
        || message.starts_with("invalid literal string, expected `'`")
    {
        let help = "write the quote at the string's end; a quote within it is `\\\"`";
        ("a string without its closing quote", Some(help.into()))
    } else if message.starts_with("key with no value") {
        let is_comment = [";", "/", "--", "%"]
            .iter()
            .any(|sign| line.trim_start().starts_with(sign));
        let help = if is_comment {
            "a comment starts with `#`".into()
        } else if let Some((key, value)) =
            line.split_once([':', ' ']).filter(|(key, _)| is_bare(key))
        {
            // `key : "value"`: the sign is not of the value, and what has quotes needs no more.
            let value = value.trim_start_matches([':', ' ', '\t']).trim_end();
            let as_it_is = value.starts_with(['"', '\'', '[', '{'])
                || value.parse::<f64>().is_ok()
                || ["true", "false"].contains(&value);
            match as_it_is {
                true => format!("write `{key} = {}`", shortened(value)),
                false => format!("write `{key} = \"{}\"`", shortened(value)),
            }
        } else {
            "a line is `key = value`, `[section]` or `# comment`".into()
        };
        ("a key without a value", Some(help))
    } else if message.starts_with("unclosed") {
        let closing = message
            .rsplit_once("expected ")
            .map_or("`]`", |(_, sign)| sign);
        let line = if closing == "`}`" {
            ", on the same line"
        } else {
            ""
        };
        let help = format!("write the {closing} that closes it{line}");
        (message, Some(help))
    } else {
        (message, None)
    };
    (format!("not valid TOML: {what}"), help)
}

/// No-break, zero-width and other blanks, and the mark of a text's beginning.
const BLANKS: [char; 6] = [
    '\u{a0}', '\u{2009}', '\u{200b}', '\u{202f}', '\u{3000}', '\u{feff}',
];
const CURLY: [char; 7] = [
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}',
];

pub const WITHOUT_QUOTES: &str = "not valid TOML: text has to stand in quotes";

/// A text that somebody wrote as it is, where the parser sees a number, a boolean or a date that is none: how to write
/// it, and where it stands.
pub fn without_quotes(message: &str, text: &str, at: usize) -> Option<(String, Range<usize>)> {
    let about_a_word = [
        "string values must be quoted",
        "invalid boolean",
        "invalid float",
        "invalid integer number",
        "invalid mantissa",
        "invalid fraction",
        "invalid date-time",
    ];
    if !about_a_word.iter().any(|begin| message.starts_with(begin)) {
        return None;
    }
    let before = text.get(..at)?;
    let begin = before.rfind(['=', '[', ',', '\n'])? + 1;
    let rest = text.get(begin..)?;
    let end = rest.find([',', ']', '}', '#', '\n']).unwrap_or(rest.len());
    let begin = begin + rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let word = rest.get(..end)?.trim();
    let first = word.starts_with(|c: char| c.is_alphanumeric() || "/~.*".contains(c));
    let help = match word.to_ascii_lowercase().as_str() {
        _ if !first || word.contains('"') => return None,
        "true" | "yes" | "on" => "write `true`".into(),
        "false" | "no" | "off" => "write `false`".into(),
        "none" | "null" | "nil" | "undefined" => "there is no empty value: remove the line".into(),
        _ => format!("write `\"{}\"`", shortened(word)),
    };
    Some((help, begin..begin + word.len()))
}
