//! Values that keep few of their bits: their scale is shared with one that reaches much further.
//!
//! All values of a residual stream have one scale per channel, up to powers of two that shifts can align.
//! A clamp whose range is far below what its step allows uses only some of its integers.

use super::rescale::Fitted;
use super::solve::{Solution, steps, top};
use crate::diag::Span;
use crate::graph::NodeId;
use std::collections::BTreeMap;

/// Bits that a value may lose before it is worth a word.
const TOLERATED: f64 = 3.0;

/// A value that is stored with much coarser steps than its own range asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct LostBits {
    /// The layer whose value it is.
    pub node: String,
    /// Where it was written.
    pub span: Span,
    /// Bits that it has.
    pub bits: u32,
    /// Bits of them that its step does not use, on average over the channels.
    pub lost: f64,
    /// The layer of the same scale that reaches furthest, if it is another.
    pub widest: Option<String>,
}

/// All values that lose more than is tolerable.
pub(super) fn lost_bits(
    fitted: &Fitted,
    solution: &Solution,
    rho: &[i32],
    ranges: &BTreeMap<NodeId, Vec<f64>>,
) -> Vec<LostBits> {
    let name = |id: NodeId| {
        let source = fitted.skeleton.notes[id.0 as usize].source;
        fitted.model.graph.node(source)
    };
    let mut found = Vec::new();
    for (id, range) in ranges {
        let (Some(top), Some(clamp)) = (top(fitted, *id), fitted.skeleton.notes[id.0 as usize].clamp) else {
            continue;
        };
        let steps = steps(fitted, *id, &solution.x, rho[id.0 as usize]);
        let steps: f64 = steps.iter().map(|step| (2.0 * step).exp2()).sum();
        let own: f64 = range.iter().map(|r| (r / top).powi(2)).sum();
        let lost = (steps / own).log2() / 2.0;
        if !lost.is_finite() || lost < TOLERATED {
            continue;
        }
        let node = name(*id);
        found.push(LostBits {
            node: node.name.clone(),
            span: node.span,
            bits: clamp.bits,
            lost,
            widest: widest(fitted, *id, ranges).map(|id| name(id).name.clone()),
        });
    }
    found
}

/// The clamp that shares the scale of one of the channels of `id` and reaches furthest beyond it.
fn widest(fitted: &Fitted, id: NodeId, ranges: &BTreeMap<NodeId, Vec<f64>>) -> Option<NodeId> {
    let own: BTreeMap<usize, f64> = fitted.classes.terms[id.0 as usize]
        .iter()
        .zip(ranges.get(&id)?)
        .map(|(term, range)| (term.var, *range))
        .collect();
    let excess = |other: &NodeId| {
        let terms = fitted.classes.terms[other.0 as usize].iter().zip(&ranges[other]);
        terms.filter_map(|(term, range)| own.get(&term.var).map(|own| range / own)).fold(0.0, f64::max)
    };
    let others = ranges.keys().filter(|other| **other != id);
    let furthest = others.max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
    (excess(furthest) > 1.0).then_some(*furthest)
}
