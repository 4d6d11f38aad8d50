//! Names and titles of checks in a map. They have no fixed length, and never change while a map is in use: so all of
//! them stand behind its records, written before anybody sees the map, and a record holds the place of its own.

use super::maps::WORD;
use std::borrow::Cow;

/// What is written behind the records of a new map.
pub struct Names {
    /// Of each check, in order: what its record holds.
    places: Vec<u64>,
    bytes: Vec<u8>,
}

impl Names {
    /// Of each check its name and its title; no longer than `NAME_MAX` of the config each.
    pub fn new<'a>(checks: impl Iterator<Item = (&'a str, &'a str)>) -> Names {
        let mut names = Names {
            places: Vec::new(),
            bytes: Vec::new(),
        };
        for (name, title) in checks {
            let (name, title) = (cut(name), cut(title));
            let at = names.bytes.len() as u64;
            let place = at << 16 | (title.len() as u64) << 8 | name.len() as u64;
            names.places.push(place);
            names.bytes.extend_from_slice(name.as_bytes());
            names.bytes.extend_from_slice(title.as_bytes());
        }
        names
            .bytes
            .resize(names.bytes.len().next_multiple_of(WORD), 0);
        names
    }

    pub fn places(&self) -> &[u64] {
        &self.places
    }

    pub fn words(&self) -> impl ExactSizeIterator<Item = u64> {
        self.bytes.chunks_exact(WORD).map(|chunk| {
            let mut word = [0; WORD];
            word.copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        })
    }
}

/// A length has one byte in a place.
fn cut(text: &str) -> &str {
    crate::text::cut(text, usize::from(u8::MAX))
}

/// Name and title at this place; empty where the map has nothing there.
pub fn at(names: &[u8], place: u64) -> (Cow<'static, str>, Cow<'static, str>) {
    let from = usize::try_from(place >> 16).unwrap_or(usize::MAX);
    let middle = from.saturating_add(usize::from(place as u8));
    let to = middle.saturating_add(usize::from((place >> 8) as u8));
    let text = |from: usize, to: usize| -> Cow<'static, str> {
        let bytes = names.get(from..to).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned().into()
    };
    (text(from, middle), text(middle, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_titles_are_found_by_their_places_and_any_place_is_safe() {
        let long = "é".repeat(127);
        let checks = [("web", "The shop: front page"), (&long[..], ""), ("", "x")];
        let names = Names::new(checks.into_iter());
        let bytes: Vec<u8> = names.words().flat_map(u64::to_ne_bytes).collect();
        for (place, (name, title)) in names.places().iter().zip(checks) {
            assert_eq!(at(&bytes, *place), (name.into(), title.into()));
        }
        for place in [u64::MAX, 1 << 63, 0xffff, (bytes.len() as u64) << 16 | 1] {
            assert_eq!(at(&[], place), ("".into(), "".into()));
            let _ = at(&bytes, place);
        }
        let too_long = "x".repeat(300);
        let names = Names::new([(&*too_long, "")].into_iter());
        assert_eq!(names.words().len(), 32);
        assert_eq!(Names::new(std::iter::empty()).words().len(), 0);
    }
}
