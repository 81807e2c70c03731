//! The real range that each clamp must hold: from the file, else from calibration, else an error.

use super::QuantError;
use super::calibrate::Spread;
use super::rescale::Fitted;
use super::site::is_linear;
use super::skeleton::{Clamp, Note};
use crate::graph::{InputSpec, IntLayer, NodeId, RangeChoice};
use std::collections::{BTreeMap, BTreeSet};

/// Channels whose range is smaller than this part of the largest one are treated as if they had it: a
/// dead channel needs no precision.
const DEAD: f64 = 1.0 / 1024.0;

/// The model's values that calibration has to look at.
pub(super) fn measured(fitted: &Fitted) -> BTreeSet<NodeId> {
    let skeleton = &fitted.skeleton;
    let linear = |id: &NodeId| is_linear(&skeleton.graph.node(*id).layer);
    let operands = skeleton.graph.ids().filter(linear).flat_map(|id| skeleton.graph.inputs(id));
    let clamped = skeleton.graph.ids().filter(|id| skeleton.notes[id.0 as usize].clamp.is_some());
    operands.chain(clamped).map(|id| skeleton.notes[id.0 as usize].source).collect()
}

/// For every clamp the largest magnitude of each channel, in real units.
pub(super) fn ranges(
    fitted: &Fitted,
    spreads: Option<&BTreeMap<NodeId, Spread>>,
) -> Result<BTreeMap<NodeId, Vec<f64>>, QuantError> {
    let graph = &fitted.skeleton.graph;
    let mut table = BTreeMap::new();
    for (id, note) in graph.ids().zip(&fitted.skeleton.notes) {
        let Some(clamp) = note.clamp else { continue };
        let channels = graph.node(id).shape.channels();
        let declared = if matches!(graph.node(id).layer, IntLayer::Input(_)) {
            Some(input_range(clamp.range, &fitted.model.header.input))
        } else {
            declared(&clamp)
        };
        let range = match declared {
            Some(range) => vec![range; channels],
            None => observed(note, &clamp, spreads, fitted.model.header.ranges).ok_or_else(|| {
                QuantError::NoRange { node: fitted.model.graph.node(note.source).name.clone() }
            })?,
        };
        if range.iter().any(|r| !r.is_finite()) {
            return Err(QuantError::Range { node: fitted.model.graph.node(note.source).name.clone() });
        }
        table.insert(id, revived(range));
    }
    Ok(table)
}

/// What the file says, or the value at which the activation saturates.
fn declared(clamp: &Clamp) -> Option<f64> {
    let written = clamp.range.map(|(lo, hi)| if clamp.unsigned { hi.max(0.0) } else { hi.max(-lo) });
    match (written, clamp.cap) {
        (Some(range), Some(cap)) => Some(range.min(cap)),
        (written, cap) => written.or(cap),
    }
}

/// The largest magnitude that the quantised input holds: the file's, else all that a pixel can be.
pub(super) fn input_range(written: Option<(f64, f64)>, input: &InputSpec) -> f64 {
    written.map_or_else(|| pixel_range(input), |(lo, hi)| hi.max(-lo))
}

/// The largest magnitude that a normalised pixel can have.
fn pixel_range(input: &InputSpec) -> f64 {
    let ends = input
        .mean
        .iter()
        .zip(&input.std)
        .flat_map(|(mean, std)| [0.0, 255.0].map(|pixel| ((pixel * input.scale - mean) / std).abs()));
    ends.fold(0.0, f64::max)
}

fn observed(
    note: &Note,
    clamp: &Clamp,
    spreads: Option<&BTreeMap<NodeId, Spread>>,
    choice: RangeChoice,
) -> Option<Vec<f64>> {
    spreads?.get(&note.source).map(|s| s.ranges(choice, clamp.top()))
}

fn revived(mut range: Vec<f64>) -> Vec<f64> {
    let largest = range.iter().copied().fold(0.0, f64::max);
    range.iter_mut().for_each(|r| *r = r.max(largest * DEAD));
    range
}
