//! A decimal number at the beginning of a text, and what follows it.

/// `12.50`: 12 and the digits 50.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    pub text: &'a str,
    whole: &'a str,
    fraction: &'a str,
}

/// Digits that a fraction may have: more would be less than anything that is counted.
const FRACTION_MOST: usize = 18;

impl<'a> Decimal<'a> {
    /// None: no digit where one must stand. A comma is a point that is refused later.
    pub fn split(text: &'a str) -> Option<(Decimal<'a>, &'a str)> {
        let digits =
            |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole = &text[..digits(text)];
        if whole.is_empty() {
            return None;
        }
        let rest = &text[whole.len()..];
        let fraction = rest.strip_prefix('.').map(|f| &f[..digits(f)]);
        let fraction = fraction.filter(|f| !f.is_empty()).unwrap_or_default();
        let end = match fraction.is_empty() {
            true => whole.len(),
            false => whole.len() + 1 + fraction.len(),
        };
        let number = Decimal {
            text: &text[..end],
            whole,
            fraction,
        };
        Some((number, &text[end..]))
    }

    pub fn has_fraction(&self) -> bool {
        !self.fraction.is_empty()
    }

    /// So many of a unit that is `length` long: the whole part, and what is left over of it.
    pub fn times(&self, length: u64) -> Option<(u128, bool)> {
        let whole = self.whole.parse::<u64>().ok()?;
        let fraction = self
            .fraction
            .get(..FRACTION_MOST.min(self.fraction.len()))?;
        let scale = 10_u128.pow(fraction.len() as u32);
        let part = match fraction.is_empty() {
            true => 0,
            false => fraction.parse::<u128>().ok()? * u128::from(length),
        };
        let exact = part.is_multiple_of(scale)
            && self.fraction[fraction.len()..].bytes().all(|b| b == b'0');
        Some((u128::from(whole) * u128::from(length) + part / scale, exact))
    }
}
