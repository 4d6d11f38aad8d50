//! `key=value` words of a command line, as options of a check: for `try` and `healthctl add`.

use toml::{Table, Value};

/// A value that is no TOML is taken as text, so that quotes are seldom needed. Dots in keys nest.
pub fn table<S: AsRef<str>>(pairs: &[S]) -> Result<Table, String> {
    let mut table = Table::new();
    for pair in pairs.iter().map(AsRef::as_ref) {
        let (key, text) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| {
                format!("`{pair}` is not of the form key=value, as in url=https://example.org/")
            })?;
        put(&mut table, key.trim(), value(text))?;
    }
    Ok(table)
}

fn value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    match parsed.and_then(|mut t| if t.len() == 1 { t.remove("v") } else { None }) {
        // No plugin has a date for an option: it was meant as text.
        None | Some(Value::Datetime(_)) => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

/// `tls.ca=x` sets `ca` in the table `tls`.
fn put(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    match key.split_once('.') {
        None if table.contains_key(key) => Err(format!("`{key}` is given twice")),
        None => {
            table.insert(key.to_owned(), value);
            Ok(())
        }
        Some((head, tail)) => {
            let inner = table
                .entry(head)
                .or_insert_with(|| Value::Table(Table::new()));
            let inner = inner
                .as_table_mut()
                .ok_or_else(|| format!("`{head}` is given twice, once as a table"))?;
            put(inner, tail, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_or_text_and_dots_nest() {
        let read = table(&[
            "url=https://a/?b=c",
            "port=22",
            "status=[200, 204]",
            "tls.ca=/x",
            "tls.names=a,b",
            "day=2026-11-29",
            "quoted=\"5\"",
            "empty=",
            "lines=a\nb = 1",
        ])
        .expect("reads");
        let text = |s: &str| Value::String(s.to_owned());
        assert_eq!(read["url"], text("https://a/?b=c"));
        assert_eq!(read["port"], Value::Integer(22));
        assert_eq!(read["status"].as_array().map(Vec::len), Some(2));
        assert_eq!(read["tls"]["ca"], text("/x"));
        assert_eq!(read["tls"]["names"], text("a,b"));
        assert_eq!(read["day"], text("2026-11-29"));
        assert_eq!(read["quoted"], text("5"));
        assert_eq!(read["empty"], text(""));
        assert_eq!(read["lines"], text("a\nb = 1"));
    }

    #[test]
    fn mistakes_are_named() {
        for (pairs, wrong) in [
            (&["port"][..], "`port` is not of the form key=value"),
            (&["=5"], "`=5` is not of the form"),
            (&["a=1", "a=2"], "`a` is given twice"),
            (&["a=1", "a.b=2"], "`a` is given twice, once as a table"),
        ] {
            let said = table(pairs).expect_err("wrong");
            assert!(said.starts_with(wrong), "{said}");
        }
    }
}
