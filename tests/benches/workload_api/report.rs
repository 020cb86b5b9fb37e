//! The table that the benchmark prints.

use crate::samples::Samples;
use std::{fmt, time::Duration};

/// A measured quantity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// How long.
    Time(Duration),
    /// How many in a second: more is better.
    Rate(f64),
    /// How much memory.
    Bytes(f64),
}

/// What a row is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// Nothing: the row explains others.
    None,
    /// At most so many times the floor.
    Ratio(f64),
    /// At least as good as this.
    Absolute(Figure),
}

/// One line of a table.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    figure: Figure,
    p99: Option<Figure>,
    floor: Option<Figure>,
    aim: Aim,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, figure: Figure) -> Self {
        Self {
            name: name.into(),
            figure,
            p99: None,
            floor: None,
            aim: Aim::None,
        }
    }

    /// The median with the 99th percentile beside it.
    pub(crate) fn of(name: impl Into<String>, samples: &Samples) -> Self {
        Self {
            p99: Some(Figure::Time(samples.p99())),
            ..Self::new(name, Figure::Time(samples.p50()))
        }
    }

    pub(crate) const fn floor(mut self, floor: Figure) -> Self {
        self.floor = Some(floor);
        self
    }

    pub(crate) const fn aim(mut self, aim: Aim) -> Self {
        self.aim = aim;
        self
    }

    /// Figure to floor; for rates the other way round, so that less is better.
    fn ratio(&self) -> Option<f64> {
        Some(self.figure.cost_against(self.floor?))
    }

    fn is_met(&self) -> Option<bool> {
        match self.aim {
            Aim::None => None,
            Aim::Ratio(aim) => Some(self.ratio()? <= aim),
            Aim::Absolute(aim) => Some(self.figure.cost_against(aim) <= 1.0),
        }
    }

    fn cells(&self) -> [String; 7] {
        let text = |figure: Option<Figure>| figure.map(|f| f.to_string()).unwrap_or_default();
        let aim = match self.aim {
            Aim::None => String::new(),
            Aim::Ratio(ratio) => format!("{ratio:.1} x"),
            Aim::Absolute(figure) => figure.to_string(),
        };
        let verdict = self
            .is_met()
            .map_or("", |met| if met { "met" } else { "MISSED" });
        [
            self.name.clone(),
            self.figure.to_string(),
            text(self.p99),
            text(self.floor),
            self.ratio()
                .map(|r| format!("{r:.2} x"))
                .unwrap_or_default(),
            aim,
            verdict.to_owned(),
        ]
    }
}

impl Figure {
    /// How many times worse this is than `other`.
    pub(crate) fn cost_against(self, other: Self) -> f64 {
        match self {
            Self::Rate(_) => other.number() / self.number(),
            Self::Time(_) | Self::Bytes(_) => self.number() / other.number(),
        }
    }

    const fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Rate(number) | Self::Bytes(number) => number,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match *self {
            Self::Time(time) if time < Duration::from_millis(1) => (time.as_secs_f64() * 1e6, "us"),
            Self::Time(time) if time < Duration::from_secs(10) => (time.as_secs_f64() * 1e3, "ms"),
            Self::Time(time) => (time.as_secs_f64(), "s"),
            Self::Rate(number) => return write!(f, "{number:.0} /s"),
            Self::Bytes(number) if number < 1e6 => (number / 1e3, "KB"),
            Self::Bytes(number) => (number / 1e6, "MB"),
        };
        let digits = if number < 100.0 { 1 } else { 0 };
        write!(f, "{number:.digits$} {unit}")
    }
}

/// Prints the rows under a title, in aligned columns.
pub(crate) fn print(title: &str, rows: &[Row]) {
    let headings = ["", "p50", "p99", "floor", "ratio", "aim", ""].map(str::to_owned);
    let lines: Vec<_> = rows.iter().map(Row::cells).collect();
    print_cells(title, &headings, &lines);
}

/// Prints any cells in aligned columns, the first to the left and the others to the right.
pub(crate) fn print_cells<const N: usize>(
    title: &str,
    headings: &[String; N],
    lines: &[[String; N]],
) {
    let width = |column: usize| {
        let cells = std::iter::once(headings).chain(lines);
        cells
            .map(|cells| cells[column].len())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    println!("\n{title}");
    for cells in std::iter::once(headings).chain(lines) {
        let mut line = format!("  {:<1$}", cells[0], widths[0]);
        for (cell, width) in std::iter::zip(cells, &widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        println!("{}", line.trim_end());
    }
}
