//! Shapes.

use std::fmt::Write as _;

/// Text escaped for HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A drawing under construction, in pixels from the top left.
#[derive(Debug, Default)]
pub(super) struct Svg {
    shapes: String,
}

impl Svg {
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escape(text);
        let _ = writeln!(
            self.shapes,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.shapes,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A box from its top left corner, with a tooltip.
    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), tip: &str) {
        let ((x, y), (width, height)) = (at, size);
        let _ = write!(
            self.shapes,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}""#
        );
        self.end("rect", tip);
    }

    /// A triangle with its tip at a point, above or below it.
    pub(super) fn triangle(&mut self, class: &str, at: (f64, f64), up: bool, tip: &str) {
        let (x, y) = at;
        let base = if up { y + 7.0 } else { y - 7.0 };
        let (left, right) = (x - 4.0, x + 4.0);
        let _ = write!(
            self.shapes,
            r#"<polygon class="{class}" points="{x:.1},{y:.1} {left:.1},{base:.1} {right:.1},{base:.1}""#
        );
        self.end("polygon", tip);
    }

    fn end(&mut self, element: &str, tip: &str) {
        let _ = if tip.is_empty() {
            writeln!(self.shapes, "/>")
        } else {
            writeln!(self.shapes, "><title>{}</title></{element}>", escape(tip))
        };
    }

    pub(super) fn polyline(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let _ = write!(self.shapes, r#"<polyline class="{class}" points=""#);
        for (x, y) in points {
            let _ = write!(self.shapes, "{x:.1},{y:.1} ");
        }
        self.shapes.push_str("\"/>\n");
    }

    /// The drawing.
    pub(super) fn finish(self, width: f64, height: f64, label: &str) -> String {
        let (shapes, label) = (self.shapes, escape(label));
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n{shapes}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let mut svg = Svg::default();
        svg.rect("a", (0.0, 0.0), (1.0, 1.0), "<script>\"&");
        let text = svg.finish(10.0, 10.0, "x");
        assert!(text.contains("&lt;script&gt;&quot;&amp;"), "{text}");
        assert!(!text.contains("<script>"), "{text}");
    }
}
