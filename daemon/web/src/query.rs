//! What stands behind the `?` of a request, and names in paths.

pub use healthd_core::page_paths::{check_path, encoded};

/// The values of this parameter, percent-decoded.
pub fn values(query: &str, wanted: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key, true) == wanted).then(|| decoded(value, true))
        })
        .collect()
}

/// `plus`: a plus is a blank, as in forms.
pub fn decoded(text: &str, plus: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let hex = |b: &[u8]| {
            let digits = str::from_utf8(b).ok()?;
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(digits, 16).ok())?
        };
        let escaped = behind.get(..2).filter(|_| first == b'%').and_then(hex);
        bytes.push(match (first, escaped) {
            (_, Some(byte)) => {
                rest = &behind[2..];
                byte
            }
            (b'+', _) if plus => b' ',
            (byte, _) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = "match=web%2F*&match=a+b&x&match=%zz%4&match=%+1";
        assert_eq!(values(query, "match"), ["web/*", "a b", "%zz%4", "% 1"]);
        assert_eq!(values(query, "x"), [""]);
        assert!(values("", "match").is_empty());
    }

    #[test]
    fn a_name_comes_back_from_its_path() {
        for name in ["shop/db", "a b+c", "é%2F?#&\"<", "x/..", ".", "a//b/"] {
            let path = check_path(name);
            let said = match path.strip_prefix("/check/?") {
                Some(query) => values(query, "name").remove(0),
                None => decoded(path.strip_prefix("/check/").expect("a path"), false),
            };
            assert_eq!(said, name, "{path}");
            assert!(!path.contains(['"', '<', ' ']), "{path}");
        }
    }
}
