//! A table of aligned columns. Cells are escaped when they are made, so no table can carry a raw byte
//! of a peer to the terminal. In a pipe nothing is cut. On a terminal a table fits its width: first the columns
//! that may be cut become narrower, then those that give way are left out, and a column of prose is wrapped.

use super::Look;
use super::paint::Paint;
use super::text::{self, cut};
use healthd_core::text::is_plain;
use std::borrow::Cow;

const GAP: &str = "  ";

#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
    /// How narrow it may become when the terminal is too narrow; None: never cut.
    shrink_to: Option<usize>,
    /// Left out of a table that is too wide; the highest goes first.
    gives_way: Option<u8>,
    /// Goes on in the next line instead of being cut.
    wraps: bool,
}

impl Column {
    pub fn left(title: &'static str) -> Column {
        Column {
            title,
            right: false,
            shrink_to: None,
            gives_way: None,
            wraps: false,
        }
    }

    pub fn right(title: &'static str) -> Column {
        Column {
            right: true,
            ..Column::left(title)
        }
    }

    pub fn gives_way(self, rank: u8) -> Column {
        Column {
            gives_way: Some(rank),
            ..self
        }
    }

    /// For the last column: prose, of which nothing may be lost.
    pub fn wraps(self) -> Column {
        Column {
            shrink_to: Some(NARROWEST_PROSE),
            wraps: true,
            ..self
        }
    }

    pub fn shrink_to(self, columns: usize) -> Column {
        Column {
            shrink_to: Some(columns),
            ..self
        }
    }
}

#[derive(Clone, Debug)]
pub struct Cell<'a> {
    text: Cow<'a, str>,
    width: usize,
    paint: Paint,
}

impl<'a> Cell<'a> {
    pub fn new(text: impl Into<Cow<'a, str>>) -> Cell<'a> {
        let mut text = text.into();
        // Looked at once: most are plain.
        let width = match is_plain(&text) {
            true => text.len(),
            false => {
                text = text::escape(&text).into_owned().into();
                text::width(&text)
            }
        };
        Cell {
            text,
            width,
            paint: Paint::Plain,
        }
    }

    /// As `known`, of anything that can be written.
    pub fn maybe(text: Option<impl ToString>) -> Cell<'a> {
        Cell::known(text.map(|text| text.to_string()))
    }

    /// `-` stands for what is not known.
    pub fn known(text: Option<String>) -> Cell<'a> {
        match text {
            Some(text) => Cell::new(text),
            None => Cell::new("-").paint(Paint::Dim),
        }
    }

    pub fn paint(self, paint: Paint) -> Cell<'a> {
        Cell { paint, ..self }
    }
}

/// A cell of a table.
#[derive(Debug)]
struct Placed {
    /// Where its text ends in those of the table, and the next one's begins.
    end: usize,
    width: usize,
    paint: Paint,
}

#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    /// Of all cells, the titles' first, row by row: a string of its own for each would be a million of 100,000 rows.
    texts: String,
    cells: Vec<Placed>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
        let mut table = Table {
            columns,
            texts: String::new(),
            cells: Vec::new(),
        };
        table.row(titles.into_iter().map(|t| Cell::new(t).paint(Paint::Dim)));
        table
    }

    /// A cell for each column.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for cell in cells {
            self.texts.push_str(&cell.text);
            self.cells.push(Placed {
                end: self.texts.len(),
                width: cell.width,
                paint: cell.paint,
            });
        }
        debug_assert!(self.cells.len().is_multiple_of(self.columns.len()));
    }

    fn text(&self, cell: usize) -> &str {
        let begin = match cell.checked_sub(1) {
            Some(before) => self.cells[before].end,
            None => 0,
        };
        &self.texts[begin..self.cells[cell].end]
    }

    /// The header and the rows, each line ended.
    pub fn render(&self, look: &Look) -> String {
        self.render_within(look.width, look.color)
    }

    pub fn render_within(&self, width: Option<usize>, color: bool) -> String {
        let natural = self.natural_widths();
        let shown = self.shown(&natural, width);
        let widths = self.widths(&natural, &shown, width);
        let mut out = String::new();
        let wraps = |n: &usize| self.columns[*n].wraps && width.is_some();
        let prose = shown.iter().any(wraps);
        for row in (0..self.cells.len()).step_by(self.columns.len().max(1)) {
            let placed = |n: &usize| &self.cells[row + n];
            if !prose {
                let cells = shown
                    .iter()
                    .map(|n| (self.text(row + n), placed(n).width, placed(n).paint));
                self.line(&mut out, cells, &shown, &widths, color);
                continue;
            }
            let wrapped: Vec<Vec<String>> = shown
                .iter()
                .map(|n| match wraps(n) {
                    true => text::wrap(self.text(row + n), widths[*n]),
                    false => vec![self.text(row + n).to_owned()],
                })
                .collect();
            let lines = wrapped.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..lines {
                let cells = shown.iter().zip(&wrapped).map(|(n, parts)| {
                    let text = parts.get(line).map_or("", String::as_str);
                    (text, text::width(text), placed(n).paint)
                });
                self.line(&mut out, cells, &shown, &widths, color);
            }
        }
        out
    }

    fn line<'t>(
        &self,
        out: &mut String,
        cells: impl Iterator<Item = (&'t str, usize, Paint)>,
        shown: &[usize],
        widths: &[usize],
        color: bool,
    ) {
        let mut pending_blanks = 0;
        for (place, ((text, measured, paint), n)) in cells.zip(shown).enumerate() {
            let (column, width) = (&self.columns[*n], widths[*n]);
            let (shown, measured) = match column.shrink_to.is_some() && measured > width {
                true => {
                    let shown = cut(text, width);
                    let measured = text::width(&shown);
                    (shown, measured)
                }
                false => (Cow::Borrowed(text), measured),
            };
            let blanks = width.saturating_sub(measured);
            let (before, after) = if column.right {
                (blanks, 0)
            } else {
                (0, blanks)
            };
            if place > 0 {
                pending_blanks += GAP.len();
            }
            pending_blanks += before;
            if !shown.is_empty() {
                push_blanks(out, pending_blanks);
                pending_blanks = 0;
                match color {
                    true => out.push_str(&paint.on(&shown, color)),
                    false => out.push_str(&shown),
                }
            }
            // Kept back, so that no line ends in blanks.
            pending_blanks += after;
        }
        out.push('\n');
    }

    fn natural_widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.columns.len()];
        for row in self.cells.chunks(self.columns.len().max(1)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width);
            }
        }
        widths
    }

    /// The columns that there is room for, by number.
    fn shown(&self, natural: &[usize], limit: Option<usize>) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let Some(limit) = limit else { return shown };
        let least = |n: &usize| match self.columns[*n].shrink_to {
            Some(least) => natural[*n].min(least.max(self.columns[*n].title.len())),
            None => natural[*n],
        };
        while total(shown.iter().map(least)) > limit {
            let rank = |n: &usize| self.columns[*n].gives_way;
            let Some(last) = shown.iter().filter_map(rank).max() else {
                break;
            };
            shown.retain(|n| rank(n) != Some(last));
        }
        shown
    }

    fn widths(&self, natural: &[usize], shown: &[usize], limit: Option<usize>) -> Vec<usize> {
        let mut widths = natural.to_vec();
        let Some(limit) = limit else { return widths };
        let mut excess = total(shown.iter().map(|n| natural[*n])).saturating_sub(limit);
        // From the right: messages give way before names. Where even that is too wide, no title is cut.
        for is_last_resort in [false, true] {
            for n in shown.iter().rev() {
                let column = &self.columns[*n];
                if let Some(least) = column.shrink_to.map(|n| if is_last_resort { 0 } else { n }) {
                    let least = least.max(column.title.len());
                    let given = excess.min(widths[*n].saturating_sub(least));
                    widths[*n] -= given;
                    excess -= given;
                }
            }
        }
        widths
    }
}

fn push_blanks(out: &mut String, mut number: usize) {
    const BLANKS: &str = "                                                                ";
    while number > 0 {
        let some = number.min(BLANKS.len());
        out.push_str(&BLANKS[..some]);
        number -= some;
    }
}

fn total(widths: impl Iterator<Item = usize>) -> usize {
    let (count, sum) = widths.fold((0usize, 0), |(count, sum), width| (count + 1, sum + width));
    sum + GAP.len() * count.saturating_sub(1)
}

const NARROWEST_PROSE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    fn table() -> Table {
        let mut table = Table::new(vec![
            Column::left("NAME").shrink_to(8),
            Column::right("COUNT"),
            Column::left("MESSAGE").shrink_to(10),
        ]);
        table.row(vec![
            Cell::new("short"),
            Cell::new("7"),
            Cell::new("all is well with this one"),
        ]);
        table.row(vec![
            Cell::new("a-rather-long-name"),
            Cell::maybe(None::<u64>),
            Cell::new(""),
        ]);
        table.row(vec![
            Cell::new("漢字"),
            Cell::new("12345"),
            Cell::new("\x1b[2Jgone\n"),
        ]);
        table
    }

    #[test]
    fn piped_is_never_cut() {
        assert_eq!(
            table().render(&look(None)),
            "NAME                COUNT  MESSAGE\n\
             short                   7  all is well with this one\n\
             a-rather-long-name      -\n\
             漢字                12345  \\x1b[2Jgone\\n\n"
        );
    }

    #[test]
    fn odd_texts_stand_in_straight_columns() {
        let titles = ["A", "COUNT", "B"];
        let mut table = Table::new(vec![
            Column::left(titles[0]),
            Column::right(titles[1]),
            Column::left(titles[2]),
        ]);
        let texts = text::tests::odd();
        let mut rows = vec![titles.map(str::to_owned)];
        for (n, first) in texts.iter().enumerate() {
            let next = |by: usize| &texts[(n * by + by) % texts.len()];
            let row = [first, next(5), next(7)];
            table.row(row.map(Cell::new));
            rows.push(row.map(|text| text::escape(text).into_owned()));
        }
        let wide = |n: usize| rows.iter().map(|row| text::width(&row[n])).max();
        let widths = [0, 1, 2].map(|n| wide(n).expect("a row"));
        let mut expected = String::new();
        for row in &rows {
            let last = row.iter().rposition(|text| !text.is_empty());
            for (n, text) in row.iter().enumerate().take(last.map_or(0, |n| n + 1)) {
                expected += if n > 0 { GAP } else { "" };
                let blanks = " ".repeat(widths[n] - text::width(text));
                match (n, Some(n) == last) {
                    (1, _) => expected += &(blanks + text),
                    (_, true) => expected += text,
                    (_, false) => expected += &(text.clone() + &blanks),
                }
            }
            expected += "\n";
        }
        assert_eq!(table.render(&look(None)), expected);
    }

    #[test]
    fn messages_give_way_before_names() {
        assert_eq!(
            table().render(&look(Some(40))),
            "NAME                COUNT  MESSAGE\n\
             short                   7  all is well…\n\
             a-rather-long-name      -\n\
             漢字                12345  \\x1b[2Jgone\\n\n"
        );
        assert_eq!(
            table().render(&look(Some(30))),
            "NAME         COUNT  MESSAGE\n\
             short            7  all is we…\n\
             a-rather-l…      -\n\
             漢字         12345  \\x1b[2Jgo…\n"
        );
    }

    #[test]
    fn columns_give_way_in_their_order_and_prose_is_wrapped() {
        let mut table = Table::new(vec![
            Column::left("A"),
            Column::left("BBBBBBBB").gives_way(1),
            Column::left("CCCCCCCC").gives_way(2),
            Column::left("WHY").wraps(),
        ]);
        table.row(vec![
            Cell::new("a"),
            Cell::new("b"),
            Cell::new("c"),
            Cell::new("one reason that takes more than a line to tell"),
        ]);
        let lines = |width| table.render(&look(Some(width)));
        assert_eq!(
            lines(48),
            "A  BBBBBBBB  CCCCCCCC  WHY\n\
             a  b         c         one reason that takes\n\
             \u{20}                      more than a line to tell\n"
        );
        assert!(lines(38).starts_with("A  BBBBBBBB  WHY\n"));
        assert!(lines(30).starts_with("A  WHY\n"));
        assert!(lines(5).starts_with("A  WHY\n"));
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(vec![Column::left("A"), Column::left("B")]);
        table.row(vec![Cell::new("x").paint(Paint::Bad), Cell::new("y")]);
        let colored = table.render(&Look {
            color: true,
            ..look(None)
        });
        assert!(colored.ends_with("\x1b[1;31mx\x1b[0m  y\n"), "{colored:?}");
    }
}
