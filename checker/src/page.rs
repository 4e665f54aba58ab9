//! The page that shows a run: one self-contained HTML file.

mod chart;
mod scale;
mod svg;
mod tables;

use std::fmt::Write as _;

use crate::report::Report;
use crate::timeline::Timeline;
use crate::world::Window;

pub(crate) use svg::escape;

const STYLE: &str = include_str!("page/style.css");

/// What the page shows in addition to the report.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) timeline: Timeline,
    pub(crate) faults: Vec<Window>,
}

/// The page's text.
pub(crate) fn render(report: &Report, shown: &Shown) -> String {
    let mut page = String::with_capacity(256 * 1024);
    let mut title = match report.steadiness {
        Some(_) => "Run without faults".to_owned(),
        None => "Fault run".to_owned(),
    };
    if let Some(seed) = report.seed {
        let _ = write!(title, ", seed {seed}");
    }
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    tables::head(&mut page, report);
    chart::draw(&mut page, report, shown);
    tables::faults(&mut page, report);
    tables::steadiness(&mut page, report);
    tables::figures(&mut page, report);
    tables::anomalies(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}
