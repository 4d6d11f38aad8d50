//! A table of aligned columns. Cells are escaped when they are made, so no table can carry a raw byte
//! of a peer to the terminal. On a terminal lines are cut to its width, in a pipe never.

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
}

impl Column {
    pub fn left(title: &'static str) -> Column {
        Column {
            title,
            right: false,
            shrink_to: None,
        }
    }

    pub fn right(title: &'static str) -> Column {
        Column {
            title,
            right: true,
            shrink_to: None,
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
        let widths = self.widths(width);
        let mut out = String::new();
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|c| Cell::new(c.title).paint(Paint::Dim))
            .collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            self.line(&mut out, row, &widths, color);
        }
        out
    }

    fn line(&self, out: &mut String, row: &[Cell], widths: &[usize], color: bool) {
        let start = out.len();
        let mut pending_blanks = 0;
        for ((cell, column), width) in row.iter().zip(&self.columns).zip(widths) {
            let shown = if column.shrink_to.is_some() {
                cut(&cell.text, *width)
            } else {
                Cow::Borrowed(&*cell.text)
            };
            let blanks = width.saturating_sub(text::width(&shown));
            let (before, after) = if column.right {
                (blanks, 0)
            } else {
                (0, blanks)
            };
            if out.len() > start {
                pending_blanks += GAP.len();
            }
            pending_blanks += before;
            if !shown.is_empty() {
                out.extend(std::iter::repeat_n(' ', pending_blanks));
                pending_blanks = 0;
                out.push_str(&cell.paint.on(&shown, color));
            }
            // Kept back, so that no line ends in blanks.
            pending_blanks += after;
        }
        out.push('\n');
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| c.title.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text::width(&cell.text));
            }
        }
        let Some(limit) = limit else { return widths };
        let total = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let mut excess = total.saturating_sub(limit);
        // From the right: messages give way before names.
        for (width, column) in widths.iter_mut().zip(&self.columns).rev() {
            if let Some(least) = column.shrink_to {
                let given = excess.min(width.saturating_sub(least.max(column.title.len())));
                *width -= given;
                excess -= given;
            }
        }
        widths
    }
}

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
