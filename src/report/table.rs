//! Tables of text: columns as wide as they must be, numbers to the right. What data would say to a terminal is spelt out.

use super::failure::spelt_out;

/// Most characters of a cell, and of the value of a name.
const CELL_MAX: usize = 200;
const VALUE_MAX: usize = 4_000;

/// A table to be filled line by line.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lines: Vec<Vec<String>>,
    right: Vec<bool>,
    head: bool,
}

impl Table {
    /// A table with a heading; a title that begins with `>` stands to the right, as its column does.
    pub fn with_head(titles: &[&str]) -> Table {
        let right = titles.iter().map(|title| title.starts_with('>')).collect();
        let head = titles.iter().map(|title| cut(title.strip_prefix('>').unwrap_or(title), CELL_MAX)).collect();
        Table { lines: vec![head], right, head: true }
    }

    /// A table of names and values, without a heading.
    pub fn of_pairs() -> Table {
        Table { lines: Vec::new(), right: vec![false, false], head: false }
    }

    /// Add a line.
    pub fn line(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.lines.push(cells.into_iter().map(|cell| cut(&cell.into(), CELL_MAX)).collect());
    }

    /// Add a name and its value.
    pub fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.lines.push(vec![cut(name, CELL_MAX), cut(&value.into(), VALUE_MAX)]);
    }

    /// The text, indented by `indent` blanks, without a final line break.
    pub fn text(&self, indent: usize) -> String {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|i| self.lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max())
            .map(|width| width.unwrap_or(0))
            .collect();
        let mut lines: Vec<String> = self.lines.iter().map(|line| self.aligned(line, &widths, indent)).collect();
        if self.head {
            let rule: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            lines.insert(1, format!("{}{}", " ".repeat(indent), "-".repeat(rule)));
        }
        lines.join("\n")
    }

    fn aligned(&self, line: &[String], widths: &[usize], indent: usize) -> String {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .zip(&self.right)
            .map(|((cell, &width), &right)| if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        format!("{}{}", " ".repeat(indent), cells.join("  ").trim_end())
    }
}

/// What data say, spelt out, and cut where it is longer than anyone reads.
fn cut(text: &str, most: usize) -> String {
    let text = spelt_out(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::with_head(&["column", ">rows"]);
        table.line(["a", "1"]);
        table.line(["blue", "1,000"]);
        assert_eq!(table.text(1), " column   rows\n -------------\n a           1\n blue    1,000");
    }

    #[test]
    fn a_cell_stays_in_its_line() {
        let mut table = Table::with_head(&["a\nb", ">\u{1b}[31m"]);
        table.line(["c\r\nd", "1"]);
        assert_eq!(table.text(0).lines().map(str::trim_end).nth(2), Some("c\\r\\nd           1"));
        assert!(table.text(0).starts_with("a\\nb    \\u{1b}[31m\n"), "{}", table.text(0));
    }

    /// A level may be a whole text.
    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::with_head(&["level", ">rows"]);
        table.line([&"x".repeat(70_000), "1"]);
        table.line(["y", "2"]);
        assert_eq!(table.text(0).lines().map(str::len).max(), Some(CELL_MAX + 3 + 2 + 4));
    }
}
