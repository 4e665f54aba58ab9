//! Records as table rows, printed as they arrive: the widths are fixed beforehand.

use std::borrow::Cow;

use eventstream::{Context, Event};

use super::fields::{Fields, Path};
use crate::escape;
use crate::json_text::{push_line, push_string};

const USUAL: &[&str] = &["timestamp", "partition", "offset", "key", "name", "payload"];

/// The requested columns, or the usual ones.
pub(crate) fn columns(asked: &[Path]) -> Cow<'_, [Path]> {
    if asked.is_empty() {
        Cow::Owned(USUAL.iter().copied().filter_map(Path::parse).collect())
    } else {
        Cow::Borrowed(asked)
    }
}

pub(crate) fn head(columns: &[Path]) -> Vec<u8> {
    let names = columns.iter().map(|column| column.text().into_bytes());
    laid_out(columns, names)
}

pub(crate) fn line(columns: &[Path], context: &Context, event: Option<&Event>) -> Vec<u8> {
    let fields = Fields { context, event };
    let cells = columns.iter().map(|column| cell(fields.get(column)));
    laid_out(columns, cells)
}

/// Only the fields, as one object.
pub(crate) fn object(columns: &[Path], context: &Context, event: Option<&Event>) -> Vec<u8> {
    let fields = Fields { context, event };
    let mut out = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        push_string(&column.text(), &mut out);
        out.push(b':');
        push_line(fields.get(column).as_deref().unwrap_or("null"), &mut out);
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Strings without quotes, everything else as JSON.
fn cell(json: Option<Cow<'_, str>>) -> Vec<u8> {
    let mut out = Vec::new();
    match json.as_deref() {
        None | Some("null") => out.push(b'-'),
        Some(json) => match serde_json::from_str::<String>(json) {
            Ok(text) => escape::push_text(&text, &mut out),
            Err(_) => {
                let mut line = Vec::new();
                push_line(json, &mut line);
                escape::push_bytes(&line, &mut out);
            }
        },
    }
    out
}

fn laid_out(columns: &[Path], cells: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let text = String::from_utf8_lossy(&cell);
        if i + 1 == columns.len() {
            out.extend_from_slice(text.as_bytes());
        } else {
            let width = width(&column.text());
            out.extend_from_slice(format!("{text:<width$}  ").as_bytes());
        }
    }
    out.push(b'\n');
    out
}

fn width(column: &str) -> usize {
    let usual = match column {
        "timestamp" => 24,
        "partition" => 9,
        "offset" => 8,
        _ => 16,
    };
    usual.max(column.len())
}
