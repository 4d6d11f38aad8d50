//! Amounts of memory as people write them: `256MiB`, `1GiB`; 0 for none.

/// Unit and its bytes.
const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Bytes; Err: what is wrong, and how to write it.
pub fn parse(text: &str) -> Result<u64, (String, String)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let example = "write a whole number and KiB, MiB or GiB, as in `256MiB`".to_owned();
    let Ok(number) = digits.parse::<u64>() else {
        return Err((format!("has no whole number in `{text}`"), example));
    };
    if unit.is_empty() {
        return match number {
            0 => Ok(0),
            n => Err((
                format!("has no unit after `{n}`"),
                format!("write `{n}MiB`, or 0 for no limit"),
            )),
        };
    }
    let known = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    match known {
        Some((_, bytes)) => number
            .checked_mul(*bytes)
            .ok_or_else(|| ("is too large to count".to_owned(), example)),
        None => {
            let meant = UNITS.iter().find(|(name, _)| {
                name[..1].eq_ignore_ascii_case(unit.get(..1).unwrap_or_default())
            });
            let help = match meant {
                Some((name, _)) => format!("write `{number}{name}`"),
                None => example,
            };
            Err((format!("has an unknown unit `{unit}`"), help))
        }
    }
}

/// As it would be written in a config.
pub fn show(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{name}", bytes / size),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("0MiB", 0),
            ("64KiB", 64 << 10),
            ("256MiB", 256 << 20),
            ("2gib", 2 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for (text, help) in [
            (
                "",
                "write a whole number and KiB, MiB or GiB, as in `256MiB`",
            ),
            ("256", "write `256MiB`, or 0 for no limit"),
            ("256M", "write `256MiB`"),
            ("1GB", "write `1GiB`"),
            (
                "1.5GiB",
                "write a whole number and KiB, MiB or GiB, as in `256MiB`",
            ),
            (
                "-1MiB",
                "write a whole number and KiB, MiB or GiB, as in `256MiB`",
            ),
            (
                "99999999999999GiB",
                "write a whole number and KiB, MiB or GiB, as in `256MiB`",
            ),
        ] {
            assert_eq!(parse(text).map_err(|e| e.1), Err(help.to_owned()), "{text}");
        }
    }

    #[test]
    fn shown_as_written() {
        for text in ["64KiB", "256MiB", "2GiB"] {
            assert_eq!(parse(text).map(show).as_deref(), Ok(text));
        }
        assert_eq!(show(1000), "1000 bytes");
    }
}
