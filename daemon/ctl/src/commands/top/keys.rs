//! What a terminal sends for a key or a click.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Back,
    Tab,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Column and line, from 0 on.
    Click(usize, usize),
    WheelUp,
    WheelDown,
    Interrupt,
}

/// All whole keys; what may go on stays.
pub fn read_keys(bytes: &mut Vec<u8>) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut at = 0;
    while let Some((key, length)) = next(&bytes[at..]) {
        keys.extend(key);
        at += length;
    }
    bytes.drain(..at);
    keys
}

/// A key of ours, if it is one, and how long it is. None: its end has not come.
fn next(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let key = match *bytes.first()? {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Back,
        0x03 => Key::Interrupt,
        0x1b => return escaped(bytes),
        byte if byte < 0x20 => return Some((None, 1)),
        byte if byte < 0x80 => Key::Char(char::from(byte)),
        byte => {
            let length = match byte {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                _ => return Some((None, 1)),
            };
            let text = str::from_utf8(bytes.get(..length)?);
            let char = text.ok().and_then(|t| t.chars().next());
            let char = char.filter(|c| !c.is_control());
            return Some((char.map(Key::Char), length));
        }
    };
    Some((Some(key), 1))
}

fn escaped(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match bytes.get(1)? {
        b'[' => {}
        b'O' => {
            let key = arrow(*bytes.get(2)?);
            return Some((key, 3));
        }
        0x1b => return Some((Some(Key::Escape), 1)),
        // Alt and a key.
        _ => return Some((None, 2)),
    }
    // Numbers, and a letter that ends them. What is far too long is none.
    let end = bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b));
    let end = match end {
        Some(end) => end + 2,
        None if bytes.len() > 32 => return Some((None, bytes.len())),
        None => return None,
    };
    let numbers = str::from_utf8(&bytes[2..end]).unwrap_or_default();
    let key = match (bytes[end], numbers) {
        (b'M', numbers) if numbers.starts_with('<') => click(&numbers[1..]),
        (b'~', "5") => Some(Key::PageUp),
        (b'~', "6") => Some(Key::PageDown),
        (b'~', "1" | "7") => Some(Key::Home),
        (b'~', "4" | "8") => Some(Key::End),
        (letter, _) => arrow(letter),
    };
    Some((key, end + 1))
}

fn arrow(letter: u8) -> Option<Key> {
    match letter {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

fn click(numbers: &str) -> Option<Key> {
    let mut numbers = numbers.split(';').map(|n| n.parse::<usize>().ok());
    let (button, column, line) = (numbers.next()??, numbers.next()??, numbers.next()??);
    match button {
        0 => Some(Key::Click(column.checked_sub(1)?, line.checked_sub(1)?)),
        64 => Some(Key::WheelUp),
        65 => Some(Key::WheelDown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_whole_however_they_are_cut() {
        let sent = "q\u{e9}\x1b[A\x1b[6~\x1b[<0;10;4M\x1b[<0;10;4m\x1b[<65;1;1M\r\x7f\x1bOB\x03";
        let wanted = [
            Key::Char('q'),
            Key::Char('é'),
            Key::Up,
            Key::PageDown,
            Key::Click(9, 3),
            Key::WheelDown,
            Key::Enter,
            Key::Back,
            Key::Down,
            Key::Interrupt,
        ];
        let mut all = sent.as_bytes().to_vec();
        assert_eq!(read_keys(&mut all), wanted);
        assert!(all.is_empty());
        let (mut rest, mut keys) = (Vec::new(), Vec::new());
        for byte in sent.bytes() {
            rest.push(byte);
            keys.extend(read_keys(&mut rest));
        }
        assert_eq!(keys, wanted);
    }

    #[test]
    fn what_is_no_key_is_left_out() {
        for text in [
            "\x1b[99999999999999999999999999999999999999",
            "\u{9f}",
            "\x01",
            "\x1bx",
        ] {
            let mut bytes = text.as_bytes().to_vec();
            assert_eq!(read_keys(&mut bytes), [], "{text:?}");
        }
        let mut bytes = vec![0xff, 0xc3];
        assert_eq!(read_keys(&mut bytes), []);
        assert_eq!(bytes, [0xc3]);
    }
}
