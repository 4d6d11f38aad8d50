//! Bytes cut into lines. A line of any length costs no more memory than what of it is looked at.

/// So much of a line is looked at.
const LOOKED_AT: usize = 64 << 10;
/// A last line without an end that is longer is taken as a whole one: it would be read again in each run.
const PARTIAL: u64 = 1 << 20;

/// Takes bytes, gives whole lines.
#[derive(Default)]
pub struct Lines {
    line: Vec<u8>,
    /// Of the line that has not ended, with what of it is not kept.
    length: u64,
    /// What comes up to the next end belongs to a line that was given already.
    skips: bool,
}

impl Lines {
    /// `skips`: the bytes begin in the middle of a line that was given already.
    pub fn new(skips: bool) -> Lines {
        Lines {
            skips,
            ..Lines::default()
        }
    }

    pub fn take(&mut self, mut bytes: &[u8], mut give: impl FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.part(&bytes[..end]);
            self.end(&mut give);
            bytes = &bytes[end + 1..];
        }
        self.part(bytes);
    }

    fn part(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.skips {
            let room = LOOKED_AT.saturating_sub(self.line.len());
            self.line.extend(&bytes[..bytes.len().min(room)]);
        }
    }

    fn end(&mut self, give: &mut impl FnMut(&str)) {
        if !std::mem::take(&mut self.skips) {
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            give(&String::from_utf8_lossy(&self.line));
        }
        self.line.clear();
        self.length = 0;
    }

    /// At the end of what there is: how many bytes belong to a line that has not ended and are to be read again. One that is
    /// too long for that is given now, and the rest of it is skipped.
    pub fn left(&mut self, give: impl FnMut(&str)) -> u64 {
        if self.length > PARTIAL || self.skips {
            self.give_up(give);
            return 0;
        }
        self.length
    }

    /// Nothing more comes: the last line is whole without an end.
    pub fn finish(&mut self, mut give: impl FnMut(&str)) {
        if self.length > 0 {
            self.end(&mut give);
        }
    }

    fn give_up(&mut self, mut give: impl FnMut(&str)) {
        if self.length > 0 && !self.skips {
            give(&String::from_utf8_lossy(&self.line));
        }
        self.line.clear();
        self.length = 0;
        self.skips = true;
    }

    /// Does it stand in the middle of a line that was given already?
    pub fn skips(&self) -> bool {
        self.skips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&[u8]], skips: bool) -> (Vec<String>, u64, bool) {
        let mut lines = Lines::new(skips);
        let mut found = Vec::new();
        for part in parts {
            lines.take(part, |l| found.push(l.to_owned()));
        }
        let left = lines.left(|l| found.push(l.to_owned()));
        (found, left, lines.skips())
    }

    #[test]
    fn lines_of_all_kinds() {
        let (found, left, _) = cut(&[b"a\nb", b"b\r\n\nc"], false);
        assert_eq!(
            (found, left),
            (vec!["a".into(), "bb".into(), String::new()], 1)
        );
        assert_eq!(cut(&[b"rest\nnew\n"], true).0, ["new"]);
        assert_eq!(cut(&[b"\xff\xfe\n"], false).0, ["\u{fffd}\u{fffd}"]);
        let mut lines = Lines::new(false);
        let mut found = Vec::new();
        lines.take(b"x\ny", |l| found.push(l.to_owned()));
        lines.finish(|l| found.push(l.to_owned()));
        assert_eq!(found, ["x", "y"]);
    }

    #[test]
    fn a_line_without_end() {
        let many = vec![b'x'; 4 << 20];
        let (found, left, skips) = cut(&[&many, &many], false);
        assert_eq!(
            (found.len(), found[0].len(), left, skips),
            (1, LOOKED_AT, 0, true)
        );
        // It goes on in the next run, and ends.
        let (found, left, skips) = cut(&[&many, b"\nnext\n"], true);
        assert_eq!((found, left, skips), (vec!["next".to_owned()], 0, false));
        let (found, left, skips) = cut(&[&many], true);
        assert_eq!((found.len(), left, skips), (0, 0, true));
    }
}
