//! Tables.

/// A row of text cells.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A value, or `-` if it is unknown.
pub(crate) fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Rows of equal length as columns, aligned to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    laid_out(rows, |cell, width| format!("  {cell:>width$}"))
}

/// Rows of equal length as columns, aligned to the left, for names.
pub(crate) fn listed(rows: &[Vec<String>]) -> String {
    laid_out(rows, |cell, width| format!("{cell:<width$}  "))
}

fn laid_out(rows: &[Vec<String>], cell: impl Fn(&str, usize) -> String) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(text, width)| cell(text, *width)).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}
