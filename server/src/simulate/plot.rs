//! A comparison as a picture: for each trace and load the means as bars and the 99th percentiles as ticks, on one logarithmic scale.

use super::table::Comparison;
use std::fmt::Write as _;

const PANEL_W: f64 = 300.0;
const BARS_X: f64 = 150.0;
const ROW_H: f64 = 16.0;
const HEAD_H: f64 = 34.0;

/// The picture as SVG; every text is ours, so nothing needs escaping but names of traces.
pub fn svg(comparison: &Comparison) -> String {
    let groups = comparison.groups();
    let rows = groups.iter().map(|g| g.len()).max().unwrap_or(0);
    let traces = groups.chunk_by(|a, b| a[0].trace == b[0].trace).count().max(1);
    let columns = groups.len().div_ceil(traces).max(1);
    let all = || comparison.cells.iter().flat_map(|c| [c.mean_s, c.p99_s]).filter(|s| s.is_finite() && *s > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(1.0, f64::max));
    let floor = 10f64.powf(least.min(most).log10().floor());
    let scale = |seconds: f64| (seconds.clamp(floor, most) / floor).log10() / (most / floor).log10().max(1e-9) * (PANEL_W - 20.0);
    let panel_h = HEAD_H + ROW_H * rows as f64 + 24.0;
    let (width, height) = ((BARS_X + PANEL_W) * columns as f64, panel_h * traces as f64 + 20.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, cells) in groups.iter().enumerate() {
        let (x, y) = ((index % columns) as f64 * (BARS_X + PANEL_W), (index / columns) as f64 * panel_h);
        let title = cells[0].trace.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" font-weight=\"bold\">{title}, load {}</text>",
            x + 8.0,
            y + 20.0,
            cells[0].load
        );
        for (row, cell) in cells.iter().enumerate() {
            let top = y + HEAD_H + row as f64 * ROW_H;
            let (mean, p99) = (scale(cell.mean_s), scale(cell.p99_s));
            let fill = if row == 0 { "#0b6e4f" } else { "#9aa5b1" };
            let left = x + BARS_X;
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{left:.0}\" y=\"{:.0}\" width=\"{mean:.1}\" height=\"10\" fill=\"{fill}\"/>\
                 <path d=\"M{:.1} {:.0}v12\" stroke=\"#b00020\" stroke-width=\"2\"/>",
                left - 6.0,
                top + 10.0,
                cell.policy,
                top + 1.0,
                left + p99,
                top
            );
        }
        let bottom = y + HEAD_H + ROW_H * rows as f64;
        let mut tick = floor;
        while tick <= most {
            let at = x + BARS_X + scale(tick);
            let _ = writeln!(
                out,
                "<path d=\"M{at:.1} {:.0}V{bottom:.0}\" stroke=\"#dddddd\" stroke-width=\"0.5\"/><text x=\"{at:.1}\" y=\"{:.0}\" \
                 text-anchor=\"middle\" fill=\"#555555\">{tick} s</text>",
                y + HEAD_H - 4.0,
                bottom + 12.0
            );
            tick *= 10.0;
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"{:.0}\" fill=\"#555555\">bar: mean; tick: 99th percentile; {} fleet, {} machines, {} runs each</text>\n</svg>",
        height - 6.0,
        comparison.fleet,
        comparison.nodes,
        comparison.seeds
    );
    out
}
