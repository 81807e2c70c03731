//! Reports as one page of HTML, several models side by side: without script, network or file beside it, in the
//! reader's colours, on a telephone too.
//!
//! Every text goes through [`Escaped`], names of models and layers above all. The page says what the JSON says.

mod tfhe;

pub use tfhe::tfhe_html;

use super::prices::COLUMNS;
use super::{Accounting, LayerReport, Missing, Report, megabytes};
use std::fmt::{self, Display, Write};

/// The page's style: widths of bars are all that elements set themselves.
const STYLE: &str = include_str!("html/style.css");

/// A text that cannot leave the place it is put in.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                c => f.write_char(c),
            }?;
        }
        Ok(())
    }
}

/// The page of `reports`, in their order.
#[must_use]
pub fn html(reports: &[Report]) -> String {
    Page { reports, name: |report| &report.model, side_by_side, model }.to_string()
}

/// A page about several models, whatever is reported of them.
struct Page<'a, R> {
    reports: &'a [R],
    name: fn(&R) -> &str,
    side_by_side: fn(&mut fmt::Formatter<'_>, &[R]) -> fmt::Result,
    model: fn(&mut fmt::Formatter<'_>, usize, &R) -> fmt::Result,
}

/// The head of a page about the models of such names.
fn head(f: &mut fmt::Formatter<'_>, names: &[&str]) -> fmt::Result {
    writeln!(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(f, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(f, "<meta name=\"color-scheme\" content=\"light dark\">")?;
    writeln!(f, "<title>{}: cost</title>", Escaped(names.join(", ")))?;
    writeln!(f, "<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>What encrypted inference costs</h1>")
}

impl<R> Display for Page<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.reports.iter().map(self.name).collect();
        head(f, &names)?;
        if self.reports.len() > 1 {
            (self.side_by_side)(f, self.reports)?;
        }
        for (index, report) in self.reports.iter().enumerate() {
            (self.model)(f, index, report)?;
        }
        writeln!(f, "</body>\n</html>")
    }
}

/// A quantity of a whole network.
type Row = (&'static str, fn(&Report) -> String);

/// What is said of a whole network.
const ROWS: [Row; 17] = [
    ("rotations", |r| r.totals.rotations.total.to_string()),
    ("of them internal", |r| r.totals.rotations.internal.to_string()),
    ("of them external", |r| r.totals.rotations.external.to_string()),
    ("hoisted groups", |r| r.totals.hoisted_groups.to_string()),
    ("key switches", |r| r.totals.key_switches.to_string()),
    ("divisions by the special primes", |r| r.totals.divisions.to_string()),
    ("plaintext products", |r| r.totals.plain_mults.to_string()),
    ("additions", |r| r.totals.adds.to_string()),
    ("ciphertexts up, down", |r| format!("{}, {}", r.totals.ciphertexts_in, r.totals.ciphertexts_out)),
    ("bytes up, down", |r| format!("{}, {}", megabytes(r.totals.bytes_up), megabytes(r.totals.bytes_down))),
    ("Galois keys", |r| format!("{} ({}, sent once)", r.totals.galois_keys, megabytes(r.galois_key_bytes))),
    ("ReLUs", |r| r.totals.relu.to_string()),
    ("other shifts and clamps, comparisons", |r| format!("{}, {}", r.totals.requant, r.totals.comparisons)),
    ("two-party bytes: online, ahead", |r| {
        format!("{}, {}", megabytes(r.totals.bytes_nonlinear), megabytes(r.totals.bytes_preprocess))
    }),
    ("seconds: linear part, two-party part", |r| {
        format!("{:.3}, {:.3}", r.totals.estimated_seconds, r.estimated_nonlinear_seconds)
    }),
    ("seconds of an image: LAN, WAN", |r| {
        format!("{:.2}, {:.1}", r.estimated_lan_seconds, r.estimated_wan_seconds)
    }),
    ("memory predicted", |r| megabytes(r.peak_memory_estimate)),
];

/// Those that another system's accounting has too.
const COUNTED: [usize; 7] = [0, 1, 2, 4, 6, 7, 8];

fn side_by_side(f: &mut fmt::Formatter<'_>, reports: &[Report]) -> fmt::Result {
    writeln!(f, "<div class=\"wide\"><table class=\"compare\">\n<thead><tr><th></th>")?;
    for (index, report) in reports.iter().enumerate() {
        writeln!(f, "<th><a href=\"#m{index}\">{}</a></th>", Escaped(&report.model))?;
    }
    writeln!(f, "</tr></thead>\n<tbody>")?;
    let most = reports.iter().map(|report| report.totals.rotations.total).max();
    write!(f, "<tr><th>rotations</th>")?;
    for report in reports {
        write!(f, "<td>{}</td>", bar(report.totals.rotations.total, most.unwrap_or(0), "rotations"))?;
    }
    writeln!(f, "</tr>")?;
    let stria = reports.iter().all(|report| report.accounting == Accounting::Stria);
    for (row, (what, of)) in ROWS.iter().enumerate() {
        if stria || COUNTED.contains(&row) {
            write!(f, "<tr><th>{}</th>", Escaped(what))?;
            for report in reports {
                write!(f, "<td>{}</td>", Escaped(of(report)))?;
            }
            writeln!(f, "</tr>")?;
        }
    }
    writeln!(f, "</tbody></table></div>")
}

/// One model.
fn model(f: &mut fmt::Formatter<'_>, index: usize, report: &Report) -> fmt::Result {
    writeln!(f, "<section id=\"m{index}\">\n<h2>{}</h2>", Escaped(&report.model))?;
    if report.accounting == Accounting::Cryptflow2 {
        writeln!(f, "<p>Counted as CrypTFlow2 would run it.</p>")?;
    }
    writeln!(f, "<dl>")?;
    for (row, (what, of)) in ROWS.iter().enumerate() {
        if report.accounting == Accounting::Stria || COUNTED.contains(&row) {
            entry(f, what, of(report))?;
        }
    }
    writeln!(f, "</dl>\n<h3>Layers</h3>")?;
    layers(f, report)?;
    if report.accounting == Accounting::Stria {
        plans(f, report)?;
        hints(f, report)?;
    }
    parameters(f, report)?;
    writeln!(f, "</section>")
}

fn entry(f: &mut fmt::Formatter<'_>, what: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "<dt>{}</dt><dd>{}</dd>", Escaped(what), Escaped(value))
}

fn layers(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let all = || report.layers.iter();
    let seconds = |layer: &LayerReport| layer.predicted.map_or(0.0, |predicted| predicted.seconds);
    let slowest = all().map(seconds).fold(0.0, f64::max);
    let most = all().map(|layer| layer.counters.rotations.total).max().unwrap_or(0);
    writeln!(
        f,
        "<div class=\"wide\"><table>\n<thead><tr><th>layer</th><th>shape</th><th>kernel and layout</th>"
    )?;
    writeln!(f, "<th>seconds</th><th>rotations</th><th>int</th><th>ext</th><th>products</th>")?;
    writeln!(f, "<th>ciphertexts</th><th>activations</th><th>next best</th></tr></thead>\n<tbody>")?;
    for layer in all() {
        let c = &layer.counters;
        let shape = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join("\u{d7}");
        let within = layer.block.as_ref().map_or(String::new(), |block| format!(" in {block}"));
        write!(f, "<tr><th>{}<small>{}{}</small></th>", Escaped(&layer.name), layer.kind, Escaped(within))?;
        write!(f, "<td>{} \u{2192} {}</td>", shape(&layer.shape_in), shape(&layer.shape_out))?;
        kernel(f, layer)?;
        if layer.kernel.is_some() {
            write!(f, "<td>{}</td>", time(seconds(layer), slowest, report.predicted.seconds))?;
            let rotations = c.rotations;
            write!(f, "<td>{}</td>", bar(rotations.total, most, "rotations"))?;
            let numbers = [rotations.internal, rotations.external, c.plain_mults];
            numbers.iter().try_for_each(|n| write!(f, "<td class=\"n\">{n}</td>"))?;
            write!(f, "<td class=\"n\">{} + {}</td>", c.ciphertexts_in, c.ciphertexts_out)?;
        } else {
            write!(f, "<td></td><td></td><td></td><td></td><td></td><td></td>")?;
        }
        let values = c.relu + c.requant + c.comparisons;
        write!(f, "<td class=\"n\">{}</td>", if values > 0 { values.to_string() } else { String::new() })?;
        let next = layer.runner_up.as_ref().map_or(String::new(), |second| second.beside(layer.kernel));
        writeln!(f, "<td>{}</td></tr>", Escaped(next))?;
    }
    writeln!(f, "</tbody></table></div>")
}

/// Kernel, encoding, split and layouts of a layer.
fn kernel(f: &mut fmt::Formatter<'_>, layer: &LayerReport) -> fmt::Result {
    let Some(kernel) = layer.kernel else { return write!(f, "<td></td>") };
    write!(f, "<td>{}", Escaped(kernel))?;
    let encoding = layer.encoding.map(|encoding| encoding.to_string()).filter(|encoding| encoding != kernel);
    let capacity = layer.channel_capacity.map(|n| format!("{n} channels a ciphertext"));
    let both = [&layer.layout_in, &layer.layout_out].map(|layout| layout.as_deref().unwrap_or_default());
    let layouts = layer.layout_in.is_some().then(|| format!("in: {}; out: {}", both[0], both[1]));
    let details = [encoding, layer.split.clone(), capacity, layouts];
    for detail in details.into_iter().flatten() {
        write!(f, "<small>{}</small>", Escaped(detail))?;
    }
    write!(f, "</td>")
}

fn plans(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    writeln!(f, "<h3>What it was chosen from</h3>\n<ul>")?;
    for plan in &report.plans {
        writeln!(f, "<li>{}</li>", Escaped(plan))?;
    }
    writeln!(f, "<li>passes: {}</li>", Escaped(report.passes))?;
    writeln!(f, "<li>linear layers: {}</li>\n</ul>", Escaped(report.predicted))
}

fn hints(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    if report.hints.is_empty() {
        return Ok(());
    }
    writeln!(f, "<h3>Small changes that would save</h3>\n<ul>")?;
    for hint in &report.hints {
        writeln!(f, "<li>{}</li>", Escaped(hint))?;
    }
    writeln!(f, "</ul>")
}

/// Ring, moduli and why; where predictions come from.
fn parameters(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let joined = |bits: &[u32]| bits.iter().map(u32::to_string).collect::<Vec<_>>().join(" + ");
    writeln!(f, "<h3>Parameters</h3>\n<dl>")?;
    entry(f, "ring degree", report.ring)?;
    let bits = u64::BITS - report.plain_modulus.leading_zeros();
    let assumed = Missing::words(report.assumed_without);
    entry(f, "plaintext prime", format!("{} ({bits} bits{assumed})", report.plain_modulus))?;
    entry(f, "modulus bits", joined(&report.modulus_bits))?;
    if report.security_bits > 0 {
        entry(f, "security", format!("{} bits", report.security_bits))?;
    }
    entry(f, "moduli", &report.moduli)?;
    if let Some(set) = &report.coefficients {
        let bits = joined(&set.modulus_bits);
        entry(
            f,
            "layers in coefficients",
            format!("ring {}, {bits} bits, {}-bit security, no Galois keys", set.ring, set.security_bits),
        )?;
    }
    if report.accounting == Accounting::Stria {
        entry(f, "quantisation", &report.quantisation)?;
        let needs = report.quantisation.needs();
        if !needs.is_empty() {
            entry(f, "layers need a plaintext prime of", needs)?;
        }
        entry(f, "seconds are predicted", format!("on one core, {} costs", report.cost_table))?;
    }
    if let Some(leak) = &report.sparsity {
        entry(f, "shown to the client", leak)?;
    }
    writeln!(f, "</dl>")?;
    if report.accounting == Accounting::Stria { prices(f, report) } else { Ok(()) }
}

/// What each bit of the plaintext prime costs.
fn prices(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    writeln!(f, "<h3>What a bit of the plaintext prime costs</h3>\n<div class=\"wide\"><table>")?;
    write!(f, "<thead><tr><th>bits of t</th>")?;
    COLUMNS.iter().try_for_each(|column| write!(f, "<th>{}</th>", Escaped(column)))?;
    writeln!(f, "</tr></thead>\n<tbody>")?;
    for (bits, price) in report.quantisation.table().rows() {
        write!(f, "<tr><th>{bits}</th>")?;
        match price {
            Some(price) => {
                let cells = price.cells();
                cells.iter().try_for_each(|cell| write!(f, "<td class=\"n\">{}</td>", Escaped(cell)))?;
            }
            None => write!(f, "<td colspan=\"{}\">no prime at ring {}</td>", COLUMNS.len(), report.ring)?,
        }
        writeln!(f, "</tr>")?;
    }
    writeln!(f, "</tbody></table></div>")
}

/// A number with a bar of its part of `most`.
fn bar(value: u64, most: u64, what: &str) -> String {
    // Per mille, so that no float decides a digit.
    let part = value.saturating_mul(1000) / most.max(1);
    let (whole, tenth) = (part / 10, part % 10);
    format!("{value}<div class=\"bar {what}\"><i style=\"width:{whole}.{tenth}%\"></i></div>")
}

/// Seconds with their share of the network and a bar of their part of the slowest layer.
fn time(seconds: f64, slowest: f64, whole: f64) -> String {
    if slowest <= 0.0 {
        return String::new();
    }
    let (part, share) = (100.0 * seconds / slowest, 100.0 * seconds / whole.max(slowest));
    let milliseconds = seconds * 1e3;
    format!(
        "{milliseconds:.2} ms, {share:.1} %<div class=\"bar seconds\"><i style=\"width:{part:.1}%\"></i></div>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_texts() {
        let text = Escaped("</td><script>alert('&\"')").to_string();
        assert_eq!(text, "&lt;/td&gt;&lt;script&gt;alert(&#39;&amp;&quot;&#39;)");
    }
}
