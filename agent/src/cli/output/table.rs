//! Columns that fit the terminal, and lists of named values.

use super::printable;
use std::borrow::Cow;

const GAP: &str = "  ";
/// No column is cut below this.
const MIN_COLUMN: usize = 8;

/// Rows under headings.
#[derive(Debug)]
pub(in crate::cli) struct Table<const N: usize> {
    heads: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(in crate::cli) const fn new(heads: [&'static str; N]) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    pub(in crate::cli) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The table; its widest columns are cut where it is wider than `width`.
    pub(in crate::cli) fn render(&self, width: Option<usize>) -> String {
        let widths = self.fit(width);
        let mut out = String::new();
        line(&mut out, &self.heads, &widths);
        for row in &self.rows {
            line(&mut out, row, &widths);
        }
        out
    }

    fn fit(&self, width: Option<usize>) -> [usize; N] {
        let mut widths = self.heads.map(length);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(cell));
            }
        }
        let room = width.map(|width| width.saturating_sub(GAP.len() * N.saturating_sub(1)));
        while room.is_some_and(|room| widths.iter().sum::<usize>() > room) {
            match widths.iter_mut().max() {
                Some(widest) if *widest > MIN_COLUMN => *widest -= 1,
                _ => break,
            }
        }
        widths
    }
}

fn line(out: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cut(cell.as_ref(), *width);
        text.push_str(&cell);
        text.extend(std::iter::repeat_n(
            ' ',
            width.saturating_sub(length(&cell)),
        ));
        text.push_str(GAP);
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if length(text) <= width {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(kept + "…")
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Named values, one a line, the values under each other.
#[derive(Debug, Default)]
pub(in crate::cli) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(in crate::cli) fn new() -> Self {
        Self::default()
    }

    /// Adds a value; an empty one is left out.
    pub(in crate::cli) fn add(&mut self, name: &'static str, value: impl AsRef<str>) {
        if !value.as_ref().is_empty() {
            self.0.push((name, printable(value.as_ref())));
        }
    }

    /// Adds several values under one name.
    pub(in crate::cli) fn list(&mut self, name: &'static str, values: &[impl AsRef<str>]) {
        let mut name = name;
        for value in values {
            self.add(name, value);
            name = "";
        }
    }

    pub(in crate::cli) fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in &self.0 {
            out.push_str(&format!("{name:width$}{GAP}{value}\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Table};

    fn table() -> Table<3> {
        let mut table = Table::new(["NAME", "PURPOSE", "STATE"]);
        table.row([
            "a".into(),
            "the purpose of this client is long".into(),
            "active".into(),
        ]);
        table.row(["billing".into(), "short".into(), "suspended".into()]);
        table
    }

    #[test]
    fn the_widest_column_is_cut_to_the_terminal() {
        let text = table().render(Some(40));
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert!(text.contains("the purpose of this…  active"), "{text}");
    }

    #[test]
    fn nothing_is_cut_without_a_terminal() {
        assert!(
            table()
                .render(None)
                .contains("the purpose of this client is long  active\n")
        );
    }

    #[test]
    fn a_terminal_too_narrow_still_gets_eight_columns_each() {
        assert!(table().render(Some(3)).contains("the pur…"));
    }

    #[test]
    fn values_stand_under_each_other_and_empty_ones_are_left_out() {
        let mut fields = Fields::new();
        fields.add("Name", "a");
        fields.add("Hint", "");
        fields.list("Audiences", &["x", "y"]);
        assert_eq!(
            fields.render(),
            "Name       a\nAudiences  x\n           y\n"
        );
    }
}
