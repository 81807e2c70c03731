//! The page of networks in the non-interactive mode.

use super::{Escaped, Page, entry, megabytes, time};
use crate::tfhe::report::{LayerReport, Report};
use std::fmt;

/// The page of `reports`, in their order.
#[must_use]
pub fn tfhe_html(reports: &[Report]) -> String {
    Page { reports, name: |report| &report.model, side_by_side, model }.to_string()
}

/// A quantity of a whole network.
type Row = (&'static str, fn(&Report) -> String);

/// What is said of a whole network.
const ROWS: [Row; 11] = [
    ("bootstraps, each with a key switch", |r| r.totals.bootstraps.to_string()),
    ("products with polynomials", |r| r.totals.products.to_string()),
    ("terms of samples", |r| r.totals.terms.to_string()),
    ("seconds of an image, one core", |r| format!("{:.2}", r.totals.estimated_seconds)),
    ("seconds of keys, once", |r| format!("{:.2}", r.totals.estimated_setup_seconds)),
    ("ciphertexts up, down", |r| format!("{}, {}", r.totals.ciphertexts_in, r.totals.ciphertexts_out)),
    ("bytes up, down", |r| format!("{}, {}", megabytes(r.totals.bytes_up), megabytes(r.totals.bytes_down))),
    ("evaluation key", |r| format!("{}, sent once", megabytes(r.totals.evaluation_key_bytes))),
    ("memory predicted", |r| megabytes(r.peak_memory_estimate)),
    ("activations of an image that noise changes", |r| {
        format!("{:.1} to a neighbour; any further with probability {:.1e}", r.totals.changed, r.totals.far)
    }),
    ("image beyond what is answered right", |r| match r.seen {
        true => format!("probability {:.0e}", r.totals.beyond),
        false => "never".into(),
    }),
];

fn side_by_side(f: &mut fmt::Formatter<'_>, reports: &[Report]) -> fmt::Result {
    writeln!(f, "<div class=\"wide\"><table class=\"compare\">\n<thead><tr><th></th>")?;
    for (index, report) in reports.iter().enumerate() {
        writeln!(f, "<th><a href=\"#m{index}\">{}</a></th>", Escaped(&report.model))?;
    }
    writeln!(f, "</tr></thead>\n<tbody>")?;
    for (what, of) in ROWS {
        write!(f, "<tr><th>{}</th>", Escaped(what))?;
        reports.iter().try_for_each(|report| write!(f, "<td>{}</td>", Escaped(of(report))))?;
        writeln!(f, "</tr>")?;
    }
    writeln!(f, "</tbody></table></div>")
}

/// One model.
fn model(f: &mut fmt::Formatter<'_>, index: usize, report: &Report) -> fmt::Result {
    writeln!(f, "<section id=\"m{index}\">\n<h2>{}</h2>", Escaped(&report.model))?;
    writeln!(f, "<p>Non-interactive: the client encrypts once, the server computes alone.</p>\n<dl>")?;
    ROWS.iter().try_for_each(|(what, of)| entry(f, what, of(report)))?;
    writeln!(f, "</dl>\n<h3>Layers</h3>")?;
    layers(f, report)?;
    writeln!(f, "<h3>Parameters</h3>\n<dl>")?;
    entry(f, "ring degree, LWE dimension", format!("{}, {}", report.ring, report.lwe_dimension))?;
    entry(f, "modulus", "2^64")?;
    entry(f, "security", format!("{} bits", report.security_bits))?;
    entry(f, "reach of accumulators", report.reach())?;
    entry(f, "seconds are predicted", format!("on one core, {} costs", report.cost_table))?;
    writeln!(f, "</dl>\n</section>")
}

fn layers(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let slowest = report.layers.iter().map(|layer| layer.estimated_seconds).fold(0.0, f64::max);
    writeln!(f, "<div class=\"wide\"><table>\n<thead><tr><th>layer</th><th>result</th><th>kernel</th>")?;
    writeln!(f, "<th>seconds</th><th>bootstraps</th><th>terms</th><th>|w|\u{2082}</th><th>reach</th>")?;
    writeln!(f, "<th>beyond</th><th>noise</th><th>changed</th></tr></thead>\n<tbody>")?;
    for layer in &report.layers {
        let shape = layer.shape_out.iter().map(usize::to_string).collect::<Vec<_>>().join("\u{d7}");
        write!(f, "<tr><th>{}</th><td>{shape}</td><td>{}</td>", Escaped(&layer.name), layer.kernel)?;
        write!(f, "<td>{}</td>", time(layer.estimated_seconds, slowest, report.totals.estimated_seconds))?;
        columns(layer).iter().try_for_each(|text| write!(f, "<td class=\"n\">{}</td>", Escaped(text)))?;
        writeln!(f, "</tr>")?;
    }
    writeln!(f, "</tbody></table></div>")?;
    writeln!(
        f,
        "<p>Noise: standard deviation, in steps of the result. Beyond: probability of an image to go beyond \
         what is answered right. ~: seen on calibration images, not proven.</p>"
    )
}

/// What is said of a layer in numbers.
fn columns(layer: &LayerReport) -> [String; 7] {
    let bootstrapped = layer.bootstraps > 0;
    let changed = format!("{:.2} %", 100.0 * layer.changed);
    [
        layer.bootstraps.to_string(),
        layer.terms.to_string(),
        format!("{:.1}", layer.norm),
        format!("{}{} to {}", if layer.proven { "" } else { "~" }, layer.reach.0, layer.reach.1),
        if layer.proven { "never".into() } else { format!("{:.0e}", layer.beyond) },
        format!("{:.3}", layer.noise),
        if bootstrapped { changed } else { String::new() },
    ]
}
