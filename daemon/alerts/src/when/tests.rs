//! Windows against a scan of every minute, over nights on which the clock is set.

use super::{When, WrongWhen, Zones};
use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn zones(name: Option<&str>) -> Option<TimeZone> {
    match name {
        None => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    }
}

fn when(texts: &[&str]) -> When {
    let zones: Zones<'_> = &zones;
    When::parse(texts, zones).unwrap_or_else(|(_, e)| panic!("{texts:?}: {e}"))
}

fn wrong(text: &str) -> WrongWhen {
    match When::parse(&[text], &zones) {
        Ok(when) => panic!("{text} is taken as {when:?}"),
        Err((_, e)) => e,
    }
}

fn at(text: &str) -> u64 {
    let time: Timestamp = text.parse().expect("a time");
    u64::try_from(time.as_nanosecond()).expect("after 1970")
}

fn shown(wall: u64) -> String {
    super::timestamp(wall).to_string()
}

/// Opens and closes in this time.
fn changes(when: &When, from: &str, to: &str) -> Vec<String> {
    let (mut now, to) = (at(from), at(to));
    let mut list = vec![if when.is_open(now) { "open" } else { "closed" }.to_owned()];
    while let Some(next) = when.next_change(now).filter(|next| *next < to) {
        assert!(next > now);
        list.push(shown(next));
        now = next;
    }
    list
}

#[test]
fn days_times_and_zones() {
    for (text, open, closed) in [
        (
            "mon-fri 08:00-18:00 Europe/Berlin",
            "2026-11-30T07:00:00Z",
            "2026-11-30T06:59:59Z",
        ),
        (
            "mon-fri 08:00-18:00 Europe/Berlin",
            "2026-11-27T16:59:59Z",
            "2026-11-27T17:00:00Z",
        ),
        (
            "mon-fri 08:00-18:00",
            "2026-11-27T17:59:59Z",
            "2026-11-28T09:00:00Z",
        ),
        ("sat-mon", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
        (
            "mon,wed,fri 00:00-24:00",
            "2026-12-02T23:59:00Z",
            "2026-12-03T00:00:00Z",
        ),
        (
            "22:00-06:00",
            "2026-12-02T05:59:59Z",
            "2026-12-02T06:00:00Z",
        ),
        (
            "22:00-00:00",
            "2026-12-02T23:59:59Z",
            "2026-12-02T00:00:00Z",
        ),
        // Past midnight the day is that of the beginning.
        (
            "sat 22:00-06:00",
            "2026-11-29T05:00:00Z",
            "2026-11-28T05:00:00Z",
        ),
        ("first-sun", "2026-12-06T12:00:00Z", "2026-12-13T12:00:00Z"),
        (
            "last-sun 02:00-04:00",
            "2026-11-29T03:00:00Z",
            "2026-11-22T03:00:00Z",
        ),
        ("fourth-thu", "2026-11-26T00:00:00Z", "2026-11-19T00:00:00Z"),
        (
            "1,15 03:00-04:00",
            "2026-12-15T03:30:00Z",
            "2026-12-14T03:30:00Z",
        ),
        ("31", "2026-12-31T03:30:00Z", "2026-11-30T03:30:00Z"),
        ("UTC", "2026-12-31T03:30:00Z", ""),
        (
            "2026-12-24 .. 2026-12-26",
            "2026-12-26T23:59:59Z",
            "2026-12-27T00:00:00Z",
        ),
        (
            "2026-12-24 18:00 .. 2026-12-27 06:00 Europe/Berlin",
            "2026-12-24T17:00:00Z",
            "2026-12-27T05:00:00Z",
        ),
        (
            "2026-12-24..2026-12-24 12:00",
            "2026-12-24T11:59:59Z",
            "2026-12-24T12:00:00Z",
        ),
    ] {
        let when = when(&[text]);
        assert!(when.is_open(at(open)), "{text} at {open}");
        assert!(
            closed.is_empty() || !when.is_open(at(closed)),
            "{text} at {closed}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_a_way_out() {
    for (text, place, help) in [
        ("", 0, "`mon-fri 08:00-18:00 Europe/Berlin`"),
        ("monday 08:00-18:00", 0, "`mon`"),
        ("mon-fry 08:00-18:00", 0, "`mon`"),
        ("mon 8:00-18:00", 4, "`00:00` to `23:59`"),
        ("mon 08:00-25:00", 10, "`00:00` to `23:59`"),
        ("mon 08:00", 4, "`02:00-04:00`"),
        ("mon 08:00-08:00", 4, "whole day"),
        ("mon 08:00-18:00 Europe/Berlni", 16, "`UTC`"),
        ("mon 08:00-18:00 Europe/Berlin tue", 30, "as a list"),
        ("08:00-18:00 mon", 12, "`mon`"),
        ("fifth-mon", 0, "`UTC`"),
        ("first-week", 0, "`last-sun`"),
        ("32 02:00-03:00", 0, "`31`"),
        ("0", 0, "`31`"),
        ("sun,1", 0, "two windows"),
        ("2026-12-24", 0, "`2026-12-24 .. 2026-12-24`"),
        ("2026-02-30 .. 2026-03-01", 0, "`2026-12-24`"),
        ("2026-12-24 .. 2026-13-01", 14, "`2026-12-24`"),
        ("2026-12-24 .. soon", 11, "`2026-12-24 .. 2026-12-24`"),
        ("2026-12-24 .. 2026-12-23", 14, "earlier"),
        ("2026-12-24 noon .. 2026-12-25", 11, "`23:59`"),
        ("\u{1b}[31m", 0, "`UTC`"),
    ] {
        let e = wrong(text);
        assert_eq!(e.at, place, "{text}: {e}");
        assert!(e.help.contains(help), "{text}: {e}: {}", e.help);
        assert!(!e.what.contains('\u{1b}'));
    }
    let none: Zones<'_> = &|_| None;
    let (_, e) = When::parse(&["mon"], none).expect_err("no zone");
    assert!(e.help.contains("timedatectl"), "{e}");
}

/// Each zone's two nights of 2026: what the clock on the wall shows decides.
#[test]
fn both_nights_in_three_zones() {
    for (text, from, to, expected) in [
        // Berlin: 02:00 is 03:00 on 29 March; 03:00 is 02:00 again on 25 October.
        (
            "02:30-04:00 Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"].as_slice(),
        ),
        (
            "01:00-02:30 Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            &["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"],
        ),
        (
            "02:10-02:40 Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
            &[],
        ),
        (
            "02:30-04:00 Europe/Berlin",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
            &[
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T03:00:00Z",
            ],
        ),
        (
            "02:10-02:40 Europe/Berlin",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
            &[
                "2026-10-25T00:10:00Z",
                "2026-10-25T00:40:00Z",
                "2026-10-25T01:10:00Z",
                "2026-10-25T01:40:00Z",
            ],
        ),
        (
            "01:30-03:30 Europe/Berlin",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
            &["2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"],
        ),
        // St. John's: 8 March and 1 November, at 02:00, half an hour beside everybody else.
        (
            "sun 02:00-04:00 America/St_Johns",
            "2026-03-08T03:30:00Z",
            "2026-03-09T02:00:00Z",
            &["2026-03-08T05:30:00Z", "2026-03-08T06:30:00Z"],
        ),
        (
            "sun 01:15-01:45 America/St_Johns",
            "2026-11-01T02:30:00Z",
            "2026-11-02T03:00:00Z",
            &[
                "2026-11-01T03:45:00Z",
                "2026-11-01T04:15:00Z",
                "2026-11-01T04:45:00Z",
                "2026-11-01T05:15:00Z",
            ],
        ),
        // Lord Howe: half an hour, 5 April back at 02:00, 4 October on at 02:00.
        (
            "sun 01:40-03:00 Australia/Lord_Howe",
            "2026-04-04T13:00:00Z",
            "2026-04-05T13:00:00Z",
            &[
                "2026-04-04T14:40:00Z",
                "2026-04-04T15:00:00Z",
                "2026-04-04T15:10:00Z",
                "2026-04-04T16:30:00Z",
            ],
        ),
        (
            "sun 02:10-03:00 Australia/Lord_Howe",
            "2026-10-03T13:30:00Z",
            "2026-10-04T12:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"],
        ),
    ] {
        let mut found = changes(&when(&[text]), from, to);
        assert_eq!(found.remove(0), "closed", "{text}");
        assert_eq!(found, expected, "{text} from {from}");
    }
}

#[test]
fn windows_that_touch_are_one_and_the_past_is_past() {
    let both = when(&["08:00-12:00", "12:00-18:00"]);
    assert_eq!(
        changes(&both, "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"),
        ["closed", "2026-11-29T08:00:00Z", "2026-11-29T18:00:00Z"]
    );
    assert_eq!(
        when(&["00:00-24:00"]).next_change(at("2026-11-29T00:00:00Z")),
        when(&["UTC"]).next_change(0)
    );
    let once = when(&["2026-12-24 .. 2026-12-26"]);
    assert!(!once.is_past(at("2026-11-29T00:00:00Z")));
    assert!(once.is_past(at("2026-12-27T00:00:00Z")));
    assert!(!when(&["31"]).is_past(at("2026-11-29T00:00:00Z")));
}

/// The rule in its plainest form: read the clock, look whether it lies in the window.
fn plainly(weekdays: &[Weekday], from: (i8, i8), to: (i8, i8), clock: DateTime) -> bool {
    let minute = (clock.hour(), clock.minute());
    let today = weekdays.contains(&clock.date().weekday());
    let yesterday = weekdays.contains(&clock.date().yesterday().expect("no first day").weekday());
    match from < to {
        true => today && from <= minute && minute < to,
        false => (today && minute >= from) || (yesterday && minute < to),
    }
}

const NIGHTS: [(&str, &str); 10] = [
    ("Europe/Berlin", "2026-03-28T12:00:00Z"),
    ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ("America/St_Johns", "2026-03-07T12:00:00Z"),
    ("America/St_Johns", "2026-10-31T12:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T06:00:00Z"),
    // At midnight, and a whole day that never was.
    ("America/Santiago", "2026-04-04T12:00:00Z"),
    ("America/Santiago", "2026-09-05T12:00:00Z"),
    ("Pacific/Apia", "2011-12-29T00:00:00Z"),
    ("UTC", "2026-11-29T12:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_scan_of_every_minute_says_the_same(
        night in 0..NIGHTS.len(),
        first in 0..7_usize,
        length in 0..7_usize,
        from in (0..24_i8, (0..12_i8).prop_map(|m| m * 5)),
        to in (0..24_i8, (0..12_i8).prop_map(|m| m * 5)),
    ) {
        const DAYS: [(&str, Weekday); 7] = [
            ("mon", Weekday::Monday), ("tue", Weekday::Tuesday), ("wed", Weekday::Wednesday), ("thu", Weekday::Thursday),
            ("fri", Weekday::Friday), ("sat", Weekday::Saturday), ("sun", Weekday::Sunday),
        ];
        prop_assume!(from != to);
        let (zone, begin) = NIGHTS[night];
        let days: Vec<Weekday> = (first..=first + length).map(|d| DAYS[d % 7].1).collect();
        let last = (first + length) % 7;
        let days_text = if length == 0 { DAYS[first].0.to_owned() } else { format!("{}-{}", DAYS[first].0, DAYS[last].0) };
        let text = format!("{days_text} {:02}:{:02}-{:02}:{:02} {zone}", from.0, from.1, to.0, to.1);
        let when = when(&[&text]);
        let tz = TimeZone::get(zone).expect("a zone");
        let minute = 60_000_000_000;
        let begin = at(begin);
        let mut open = when.is_open(begin);
        let mut next = when.next_change(begin);
        for n in 0..36 * 60_u64 {
            let now = begin + n * minute;
            let clock = tz.to_datetime(super::timestamp(now));
            let plain = plainly(&days, from, to, clock);
            prop_assert_eq!(when.is_open(now), plain, "{} at {}", text, clock);
            if plain != open {
                prop_assert_eq!(next, Some(now), "{}: {} and not {:?}", text, shown(now), next.map(shown));
                next = when.next_change(now);
                open = plain;
            }
            prop_assert!(next.is_none_or(|next| next > now), "{}: at {} nothing changed", text, shown(now));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9:,. /-]{0,24}|(mon|first-|last-|2026-1[0-9]-[0-3][0-9]| |,|[0-2][0-9]:[0-5][0-9]|-|\\.\\.|UTC){0,9}") {
        match When::parse(&[&text], &zones) {
            Ok(when) => { when.is_open(at("2026-11-29T00:00:00Z")); when.next_change(at("2026-11-29T00:00:00Z")); }
            Err((_, e)) => prop_assert!(e.at <= text.len() && !e.help.is_empty()),
        }
    }
}
