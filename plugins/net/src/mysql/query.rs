//! One statement and its answer, as text.

use super::packet::{Bytes, Packets};
use super::{Trouble, server_error};

const COLUMNS_MAX: u64 = 4096;
const ROWS_MAX: usize = 10_000;
const ANSWER_MAX: usize = 4 << 20;
/// A value takes more than its byte on the wire.
const VALUES_MAX: usize = 100_000;
const VALUE: usize = 48;
/// All of one answer, as it is kept.
pub const TABLE_MAX: usize = ANSWER_MAX + VALUES_MAX * VALUE;
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// Rows under the names of their columns. A statement without rows has no columns.
#[derive(Debug, Default)]
pub struct Table {
    names: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The first cell: None if there is no row, Some(None) if it is NULL.
    pub fn first(&self) -> Option<Option<String>> {
        self.rows.first()?.first().cloned()
    }

    /// The cell of a row under the first of these names that there is, if it is not NULL.
    pub fn cell<'t>(&self, row: &'t [Option<String>], names: &[&str]) -> Option<&'t str> {
        let at = names.iter().find_map(|wanted| {
            let mut names = self.names.iter();
            names.position(|n| n.eq_ignore_ascii_case(wanted))
        })?;
        row.get(at)?.as_deref()
    }

    /// Of a table of names and values.
    pub fn value(&self, name: &str) -> Option<&str> {
        let is = |row: &&Vec<Option<String>>| {
            let cell = row.first().and_then(Option::as_deref);
            cell.is_some_and(|n| n.eq_ignore_ascii_case(name))
        };
        self.rows.iter().find(is)?.get(1)?.as_deref()
    }
}

impl Packets<'_> {
    pub async fn ask(&mut self, statement: &str) -> Result<Table, Trouble> {
        self.command(&[&[COM_QUERY], statement.as_bytes()].concat())
            .await?;
        let head = self.read().await?;
        let columns = match head.first() {
            Some(0) => return Ok(Table::default()),
            Some(0xFF) => return Err(server_error(&head)),
            Some(0xFB) => {
                return Err(Trouble::odd(
                    "it asks for a file of this machine (LOCAL INFILE); refused",
                ));
            }
            _ => Bytes(&head)
                .length()
                .filter(|n| (1..=COLUMNS_MAX).contains(n)),
        };
        let columns = columns.ok_or_else(|| Trouble::odd("its answer has no number of columns"))?;
        let mut table = Table::default();
        for _ in 0..columns {
            let column = self.read().await?;
            let name = name(&column).ok_or_else(cut)?;
            self.keep(name.len() + VALUE);
            table.names.push(name);
        }
        if !is_end(&self.read().await?) {
            return Err(Trouble::odd("its columns have no end"));
        }
        let mut size = 0;
        loop {
            let row = self.read().await?;
            if is_end(&row) {
                return Ok(table);
            }
            if row.first() == Some(&0xFF) {
                return Err(server_error(&row));
            }
            size += row.len();
            let values = (table.rows.len() + 1).saturating_mul(table.names.len());
            if table.rows.len() == ROWS_MAX || values > VALUES_MAX || size > ANSWER_MAX {
                return Err(Trouble::Ours(format!(
                    "the query has more than {ROWS_MAX} rows or {} MiB, or {VALUES_MAX} values; let it count, or end it with LIMIT",
                    ANSWER_MAX >> 20
                )));
            }
            let mut b = Bytes(&row);
            let cells = (0..columns).map(|_| {
                let cell = b.cell()?;
                Some(cell.map(|c| String::from_utf8_lossy(c).into_owned()))
            });
            let cells: Option<Vec<_>> = cells.collect();
            table.rows.push(cells.ok_or_else(cut)?);
            self.keep(row.len() + table.names.len() * VALUE);
        }
    }

    /// A server logs who leaves without a word.
    pub async fn quit(&mut self) {
        let _ = self.command(&[COM_QUIT]).await;
    }
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xFE) && packet.len() < 9
}

/// Of a column: catalog, schema, table, its table, name, ...
fn name(column: &[u8]) -> Option<String> {
    let mut b = Bytes(column);
    for _ in 0..4 {
        b.sized()?;
    }
    Some(String::from_utf8_lossy(b.sized()?).into_owned())
}

fn cut() -> Trouble {
    Trouble::odd("its answer is cut short")
}
