//! The rows of a bench, as JSON, as a table, and as a chart.

use crate::render::Look;
use crate::render::table::{Cell, Column, Table as Text};
use serde_json::{Map, Value, json};

#[derive(Debug, Default)]
pub struct Table {
    pub bench: &'static str,
    pub cores: usize,
    /// Of all processors of the machine, what other programs took meanwhile.
    pub others_percent: f64,
    /// What was done, in a line or two.
    pub about: String,
    pub rows: Vec<Row>,
    /// The figure of the chart.
    pub chart: &'static str,
    /// Lines of a config to paste, if the bench comes to any.
    pub config: String,
}

/// `name` and what was measured; the unit is in the key.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub figures: Vec<(&'static str, f64)>,
    /// Against the first row of its kind.
    pub speedup: Option<f64>,
}

const BAR: f64 = 40.0;
/// From here on the figures are those of a machine with other work.
const TELLING: f64 = 10.0;

impl Row {
    pub fn new(name: impl Into<String>, figures: &[(&'static str, f64)]) -> Row {
        Row {
            name: name.into(),
            figures: figures.to_vec(),
            speedup: None,
        }
    }

    pub fn figure(&self, key: &str) -> Option<f64> {
        self.figures.iter().find(|(k, _)| *k == key).map(|f| f.1)
    }
}

impl Table {
    /// Each row's `key` against that of the first one: more is better, or less.
    pub fn compare(rows: &mut [Row], key: &str, more_is_better: bool) {
        let Some(first) = rows.first().and_then(|r| r.figure(key)) else {
            return;
        };
        for row in rows {
            row.speedup = row.figure(key).map(|own| match more_is_better {
                true => own / first,
                false => first / own,
            });
        }
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let mut object = Map::new();
            object.insert("name".into(), row.name.clone().into());
            for (key, value) in &row.figures {
                object.insert((*key).into(), json!(rounded(*value)));
            }
            if let Some(speedup) = row.speedup {
                object.insert("speedup".into(), json!(rounded(speedup)));
            }
            Value::Object(object)
        });
        let mut all = json!({
            "bench": self.bench,
            "machine": {"cores": self.cores, "others_percent": rounded(self.others_percent)},
            "rows": rows.collect::<Vec<_>>(),
        });
        if !self.config.is_empty() {
            all["config"] = self.config.clone().into();
        }
        all
    }

    pub fn text(&self, look: &Look) -> String {
        let mut keys: Vec<&'static str> = Vec::new();
        for (key, _) in self.rows.iter().flat_map(|row| &row.figures) {
            if !keys.contains(key) {
                keys.push(key);
            }
        }
        let mut columns = vec![Column::left("NAME")];
        columns.extend(keys.iter().map(|key| Column::right(title(key))));
        let compared = self.rows.iter().any(|row| row.speedup.is_some());
        columns.extend(compared.then(|| Column::right("SPEEDUP")));
        let mut table = Text::new(columns);
        for row in &self.rows {
            let mut cells = vec![Cell::new(&row.name)];
            cells.extend(
                keys.iter()
                    .map(|k| Cell::maybe(row.figure(k).map(|v| shown(k, v)))),
            );
            let speedup = row.speedup.map(|s| format!("{s:.2} x"));
            cells.extend(compared.then(|| Cell::maybe(speedup)));
            table.row(cells);
        }
        let mut text = format!("{}\n\n{}", self.about, table.render(look));
        let most = self.rows.iter().filter_map(|r| r.figure(self.chart));
        let most = most.fold(0.0, f64::max);
        if most > 0.0 {
            let label = |row: &Row| match row.figure("targets") {
                Some(n) => format!("{} {n}", row.name),
                None => row.name.clone(),
            };
            let widest = self.rows.iter().map(|r| label(r).chars().count()).max();
            text += &format!("\n{}\n", title(self.chart));
            for row in &self.rows {
                let value = row.figure(self.chart).unwrap_or(0.0);
                let bar = "#".repeat((value / most * BAR).round() as usize);
                let width = widest.unwrap_or(0);
                text += &format!(
                    "{:width$}  {bar} {}\n",
                    label(row),
                    shown(self.chart, value)
                );
            }
        }
        if self.others_percent >= TELLING {
            text += &format!(
                "\nOther programs took {:.0} % of the processors meanwhile: on a quiet machine the figures are other ones.\n",
                self.others_percent
            );
        }
        if !self.config.is_empty() {
            text += &format!("\nFor healthd.toml:\n\n{}", self.config);
        }
        text
    }
}

/// The unit at the end of a key, for people.
fn title(key: &'static str) -> &'static str {
    match key {
        "targets" => "TARGETS",
        "took_s" => "TOOK s",
        "cpu_s" => "CPU s",
        "memory_bytes" => "MEMORY MB",
        "checks" => "CHECKS",
        "chunk" => "CHUNK",
        "due_per_second" => "DUE/s",
        "checks_per_second" => "CHECKS/s",
        "cpu_ms_per_check" => "CPU ms/CHECK",
        "values" => "VALUES",
        "workers" => "WORKERS",
        "threads" => "THREADS",
        key => key,
    }
}

fn rounded(value: f64) -> f64 {
    let digits = 10f64.powi(4 - value.abs().max(1e-6).log10().floor() as i32);
    (value * digits).round() / digits
}

fn shown(key: &str, value: f64) -> String {
    if key == "memory_bytes" {
        return format!("{:.1}", value / 1e6);
    }
    match value.abs() {
        v if v >= 1000.0 || v.fract() == 0.0 => {
            healthd_core::config::thousands(value.round() as u64)
        }
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::look;

    fn table() -> Table {
        let mut rows = vec![
            Row::new("sequential", &[("targets", 5.0), ("took_s", 5.0)]),
            Row::new("event-loop", &[("targets", 5.0), ("took_s", 1.0)]),
        ];
        Table::compare(&mut rows, "took_s", false);
        Table {
            bench: "io",
            cores: 2,
            others_percent: 9.9,
            about: "About.".into(),
            rows,
            chart: "took_s",
            config: String::new(),
        }
    }

    #[test]
    fn json_and_text() {
        let json = table().json();
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(
            json["rows"][1],
            json!({"name": "event-loop", "targets": 5.0, "took_s": 1.0, "speedup": 5.0})
        );
        let text = table().text(&look(None));
        assert_eq!(
            text,
            "About.\n\nNAME        TARGETS  TOOK s  SPEEDUP\nsequential        5       5   1.00 x\n\
             event-loop        5       1   5.00 x\n\nTOOK s\n\
             sequential 5  ######################################## 5\nevent-loop 5  ######## 1\n"
        );
        let busy = Table {
            others_percent: 87.3,
            ..table()
        };
        assert_eq!(busy.json()["machine"]["others_percent"], 87.3);
        let text = busy.text(&look(None));
        assert!(text.contains("Other programs took 87 % of"), "{text}");
        assert_eq!(
            (rounded(0.123_456_7), rounded(12_345.678)),
            (0.123_46, 12_346.0)
        );
        assert_eq!(
            (shown("took_s", 0.012_345), shown("checks", 1_234.5)),
            ("0.0123".into(), "1,235".into())
        );
    }
}
