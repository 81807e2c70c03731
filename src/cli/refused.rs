//! What the stages after resolution refuse or warn of, at the layer that it is about.

use crate::compile::CompileError;
use crate::compiled::{Compiled, CompiledError};
use crate::diag::{Diagnostic, Span};
use crate::graph::Model;
use crate::params::{Encoding, Scheme};
use crate::passes::PassError;
use crate::quant::{LostBits, QuantError};
use crate::select::Encodings;
use crate::tfhe::TfheError;

/// The diagnostic of a refusal; none for an error of ours, or one that is about no layer.
pub(super) fn refusal(error: &CompileError, model: &Model) -> Option<Diagnostic> {
    let span = place(model, error.layer()?)?;
    let (code, label) = match error {
        CompileError::TooLarge { .. } => ("too-large", "this layer"),
        CompileError::Params { .. } => ("accumulator", "the largest accumulator of the network"),
        CompileError::Quant(QuantError::NoRange { .. } | QuantError::Range { .. }) => ("range", "this value"),
        CompileError::Quant(_) => ("quantisation", "this layer"),
        CompileError::Compiled(error) => return Some(unfit(error, span)),
        CompileError::Pass(PassError::Refused { .. }) => ("rewrite", "this layer"),
        CompileError::Pass(PassError::Broken { .. }) => return None,
    };
    Some(parted(code, &error.to_string(), span, label))
}

/// The warning, or the error, that no secure moduli hold a layer, or that it has no kernel.
pub(super) fn unfit(error: &CompiledError, span: Span) -> Diagnostic {
    parted("does-not-fit", &error.to_string(), span, "this layer")
}

/// What else to do about layers that no secure moduli hold: coefficients, if they fit at this ring.
pub(super) fn other_encoding(compiled: &Compiled) -> Option<&'static str> {
    let sizes = (compiled.params.ring, compiled.params.plain_modulus);
    let slots = compiled.params.workload.encoding == Encoding::Slots;
    if compiled.scheme != Scheme::Bfv || !slots {
        return None;
    }
    let (network, weights) = (compiled.network.clone(), compiled.weights.clone());
    let other = Compiled::encoded(network, weights, sizes, Encodings::All(Encoding::Coefficients)).ok()?;
    other.fits().ok()?;
    Some("`--encoding auto` and `--encoding coefficients` fit this ring")
}

/// The error that a layer does not run in the mode `tfhe`.
pub(super) fn beyond_tfhe(error: &TfheError, model: &Model) -> Option<Diagnostic> {
    let span = place(model, error.layer()?)?;
    Some(parted("does-not-fit", &error.to_string(), span, "this layer"))
}

/// The warning that a value keeps few of its bits.
pub(super) fn few_bits(lost: &LostBits) -> Diagnostic {
    let LostBits { node, span, bits, lost, widest } = lost;
    let kept = (f64::from(*bits) - lost).max(0.0);
    let message =
        format!("`{node}` keeps {kept:.1} of its {bits} bits: its scale is shared with a wider value");
    let found = Diagnostic::warning("few-bits", message, *span, "this value is cut coarsely");
    let widest = widest.as_ref().map_or_else(String::new, |widest| format!(" with `{widest}`"));
    found.hint(format!(
        "a residual stream has one scale{widest}; put a convolution on the skip, or a smaller `range:` on what \
         reaches furthest"
    ))
}

/// Where a layer was written; names of requantised and rescaled values are their layer's and a suffix.
pub(super) fn place(model: &Model, layer: &str) -> Option<Span> {
    let graph = &model.graph;
    let names = [".requant", ".rescale"].iter().filter_map(|suffix| {
        let layer = layer.trim_end_matches('_');
        layer.strip_suffix(suffix)
    });
    let find = |name: &str| graph.ids().find(|id| graph.node(*id).name == name);
    let id = find(layer).or_else(|| names.into_iter().find_map(find))?;
    Some(graph.node(id).span)
}

/// Messages end with what to do, behind a semicolon.
fn parted(code: &'static str, text: &str, span: Span, label: &str) -> Diagnostic {
    match text.rsplit_once("; ") {
        Some((message, advice)) => Diagnostic::error(code, message, span, label).hint(advice),
        None => Diagnostic::error(code, text, span, label),
    }
}
