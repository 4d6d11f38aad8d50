//! Times as documents of other programs write them.

/// Seconds since 1970 of a time as RFC 3339 writes it: "2026-11-29T08:34:54.15+01:00".
pub fn rfc3339_seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (h, m, s) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let zone = text
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let zone = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), rest) if rest.len() == 5 => {
            let (hours, minutes) = rest.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            minutes * if sign == "-" { -60 } else { 60 }
        }
        _ => return None,
    };
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || h > 23
        || m > 59
        || s > 60
    {
        return None;
    }
    let days = days_since_1970(year, month, day);
    Some(days * 86_400 + h * 3600 + m * 60 + s - zone)
}

/// Of a Gregorian date, months and days from 1 on.
pub fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let (y, n) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    y * 365 + y / 4 - y / 100 + y / 400 + (153 * n + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::rfc3339_seconds;

    #[test]
    fn times() {
        assert_eq!(rfc3339_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            rfc3339_seconds("2000-01-01T01:30:00.123456789+01:30"),
            Some(946_684_800)
        );
        assert_eq!(
            rfc3339_seconds("1996-07-17T02:44:25-07:00"),
            Some(837_596_665)
        );
        for bad in [
            "0001-01-01T00:00:00Z",
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00ä",
            "2026-01-01T00:00:00+9000000000000000000:00",
        ] {
            assert_eq!(rfc3339_seconds(bad), None, "{bad}");
        }
    }
}
