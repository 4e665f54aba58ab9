//! The picture: a line chart for each panel, three in a row.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::panels::Chart;

const WIDTH: u32 = 1080;
const HEIGHT: u32 = 190;
const COLUMNS: usize = 3;
/// The library takes these for something else than pixels: letters are by a quarter smaller.
const TITLE_SIZE: u32 = 17;
const LABEL_SIZE: u32 = 14;
/// About as wide is a letter of a label, in most fonts for screens.
const LETTER: i32 = 6;
/// The room left of a chart for its labels.
const LABELS: u32 = 56;
const GROUND: RGBColor = RGBColor(22, 25, 29);
const TEXT: RGBColor = RGBColor(214, 219, 224);
const GRID: RGBColor = RGBColor(52, 58, 66);
const OUTAGE: RGBColor = RGBColor(240, 163, 107);
const LINES: [RGBColor; 6] = [
    RGBColor(143, 209, 143),
    RGBColor(143, 184, 255),
    RGBColor(240, 163, 107),
    RGBColor(222, 150, 222),
    RGBColor(230, 214, 110),
    RGBColor(120, 214, 214),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the charts of a run of so many seconds; in the `outage`, from and to, the ground has another colour.
pub(super) fn draw(path: &Path, charts: &[Chart], outage: (f64, f64), seconds: f64) -> Result<()> {
    let rows = charts.len().div_ceil(COLUMNS);
    let height = HEIGHT * u32::try_from(rows)?;
    let picture = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    picture.fill(&GROUND)?;
    for (area, chart) in picture.split_evenly((rows, COLUMNS)).iter().zip(charts) {
        panel(area, chart, outage, seconds)?;
    }
    picture.present()?;
    Ok(())
}

fn panel(area: &Area<'_>, chart: &Chart, outage: (f64, f64), seconds: f64) -> Result<()> {
    let values = chart.series.iter().flat_map(|(_, points)| points);
    let most = values.map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if most > 0.0 { most * 1.1 } else { 1.0 };
    let title = ("sans-serif", TITLE_SIZE).into_font().color(&TEXT);
    let small = ("sans-serif", LABEL_SIZE).into_font().color(&TEXT);
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, title)
        .margin(8)
        .margin_bottom(26)
        .x_label_area_size(20)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..seconds, 0.0..top)?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(4)
        .y_labels(4)
        .x_label_formatter(&|time| format!("{time:.0} s"))
        .y_label_formatter(&|value| with_unit(*value, &chart.unit))
        .label_style(small.clone())
        .draw()?;
    let band = Rectangle::new(
        [(outage.0, 0.0), (outage.1, top)],
        OUTAGE.mix(0.12).filled(),
    );
    context.draw_series([band])?;
    for ((_, points), color) in chart.series.iter().zip(LINES.iter().cycle()) {
        context.draw_series(LineSeries::new(points.iter().copied(), color))?;
    }
    legend(area, chart)
}

/// The names of the series below the chart, as many as fit, and how many more there are.
fn legend(area: &Area<'_>, chart: &Chart) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let width = i32::try_from(width)?;
    let font = ("sans-serif", LABEL_SIZE).into_font();
    let y = i32::try_from(height)? - 20;
    let mut x = i32::try_from(LABELS)? + 8;
    let mut write = |text: String, color: &RGBColor, room: i32| -> Result<bool> {
        let end = x + i32::try_from(text.chars().count())? * LETTER;
        let fits = end + room <= width;
        if fits {
            area.draw(&Text::new(text, (x, y), font.color(color)))?;
            x = end + 2 * LETTER;
        }
        Ok(fits)
    };
    if chart.series.is_empty() {
        write("No data".to_owned(), &TEXT, 0)?;
    }
    let named = chart.series.iter().zip(LINES.iter().cycle());
    for (at, ((name, _), color)) in named.enumerate() {
        let others = chart.series.len() - at - 1;
        // Room to say that there are more.
        let room = if others == 0 { 0 } else { 5 * LETTER };
        if !write(name.clone(), color, room)? {
            write(format!("+ {}", others + 1), &TEXT, 0)?;
            break;
        }
    }
    Ok(())
}

fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "cps" => format!("{}/s", short(value)),
        "Bps" => format!("{}B/s", short(value)),
        "bytes" => format!("{}B", short(value)),
        "percentunit" => format!("{} %", digits(value * 100.0)),
        "s" if value > 0.0 && value < 1.0 => format!("{} ms", digits(value * 1000.0)),
        "s" => format!("{} s", digits(value)),
        _ => short(value),
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", digits(value / 1e6)),
        value if value >= 1e3 => format!("{}k", digits(value / 1e3)),
        value => digits(value),
    }
}

/// Two digits, or as many as there are before the point.
fn digits(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 10.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
