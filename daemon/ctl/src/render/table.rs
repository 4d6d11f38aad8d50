//! A table of aligned columns. Cells are escaped when they are made, so no table can carry a raw byte
//! of a peer to the terminal. In a pipe nothing is cut. On a terminal a table fits its width: first the columns
//! that may be cut become narrower, then those that give way are left out, and a column of prose is wrapped.

use super::Look;
use super::paint::Paint;
use super::text::{self, cut};
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
pub struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell {
            text: text::escape(text.as_ref()).into_owned(),
            paint: Paint::Plain,
        }
    }

    /// `-` stands for what is not known.
    pub fn maybe(text: Option<impl ToString>) -> Cell {
        match text {
            Some(text) => Cell::new(text.to_string()),
            None => Cell::new("-").paint(Paint::Dim),
        }
    }

    pub fn paint(self, paint: Paint) -> Cell {
        Cell { paint, ..self }
    }
}

#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        Table {
            columns,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
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
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|c| Cell::new(c.title).paint(Paint::Dim))
            .collect();
        let wraps = |n: &usize| self.columns[*n].wraps && width.is_some();
        for row in std::iter::once(&titles).chain(&self.rows) {
            if !shown.iter().any(wraps) {
                let cells = shown.iter().map(|n| (&*row[*n].text, row[*n].paint));
                self.line(&mut out, cells, &shown, &widths, color);
                continue;
            }
            let wrapped: Vec<Vec<String>> = shown
                .iter()
                .map(|n| match wraps(n) {
                    true => text::wrap(&row[*n].text, widths[*n]),
                    false => vec![row[*n].text.clone()],
                })
                .collect();
            let lines = wrapped.iter().map(Vec::len).max().unwrap_or(1);
            for line in 0..lines {
                let cells = shown.iter().zip(&wrapped).map(|(n, parts)| {
                    let text = parts.get(line).map_or("", String::as_str);
                    (text, row[*n].paint)
                });
                self.line(&mut out, cells, &shown, &widths, color);
            }
        }
        out
    }

    fn line<'t>(
        &self,
        out: &mut String,
        cells: impl Iterator<Item = (&'t str, Paint)>,
        shown: &[usize],
        widths: &[usize],
        color: bool,
    ) {
        let mut pending_blanks = 0;
        for (place, ((text, paint), n)) in cells.zip(shown).enumerate() {
            let (column, width) = (&self.columns[*n], &widths[*n]);
            let shown = if column.shrink_to.is_some() {
                cut(text, *width)
            } else {
                Cow::Borrowed(text)
            };
            let blanks = width.saturating_sub(text::width(&shown));
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
                out.extend(std::iter::repeat_n(' ', pending_blanks));
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
        let mut widths: Vec<usize> = self.columns.iter().map(|c| c.title.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text::width(&cell.text));
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
