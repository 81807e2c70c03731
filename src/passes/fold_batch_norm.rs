//! Folds a batch normalisation into the linear layer before it.
//!
//! `s (W x + b) + t = (s W) x + (s b + t)`, row by row. Only where the linear layer has no other user and
//! is not the output. The layer keeps its name and weight bits, and takes the normalisation's range and
//! bits, which speak of the value that remains.

use super::{FloatModel, Rebuild, RewriteError};
use crate::graph::NodeId;
use crate::layers::{Conv, FloatLayer, Layer, Linear};

pub(super) fn run(model: &mut FloatModel) -> Result<usize, RewriteError> {
    let graph = &model.model.graph;
    let mut rebuilt = Rebuild::new();
    let mut folded = 0;
    for id in graph.ids() {
        match foldable(model, &rebuilt, id) {
            Some((target, layer)) => {
                let node = graph.node(id);
                if model.weights.is_some() {
                    let norm = model.weights.as_ref().and_then(|w| w.0.get(&id));
                    let linear = rebuilt.weights.get_mut(&target);
                    linear
                        .zip(norm)
                        .and_then(|(linear, norm)| scale_rows(linear, norm))
                        .ok_or_else(|| RewriteError::Weights { node: node.name.clone() })?;
                }
                let kept = rebuilt.graph.node_mut(target);
                kept.quant.range = node.quant.range;
                kept.quant.bits = node.quant.bits;
                kept.layer = layer;
                rebuilt.moved.insert(id, target);
                folded += 1;
            }
            None => {
                rebuilt.copy(model, id)?;
            }
        }
    }
    if folded > 0 {
        rebuilt.finish(model);
    }
    Ok(folded)
}

/// The rebuilt node that batch normalisation `id` can be joined with, and its layer with a bias.
fn foldable(model: &FloatModel, rebuilt: &Rebuild, id: NodeId) -> Option<(NodeId, Layer)> {
    let graph = &model.model.graph;
    let Layer::BatchNorm(_) = graph.node(id).layer else { return None };
    let source = *graph.inputs(id).first()?;
    let target = *rebuilt.moved.get(&source)?;
    let bias = Some(true);
    let layer = if let Layer::Conv(l) = rebuilt.graph.node(target).layer {
        Layer::Conv(Conv { bias, ..l })
    } else if let Layer::Linear(l) = rebuilt.graph.node(target).layer {
        Layer::Linear(Linear { bias, ..l })
    } else {
        return None;
    };
    let alone = graph.users(source).len() == 1 && graph.output() != source;
    alone.then_some((target, layer))
}

fn scale_rows(linear: &mut FloatLayer, norm: &FloatLayer) -> Option<()> {
    let (FloatLayer::Linear { weight, bias }, FloatLayer::Norm { scale, shift }) = (linear, norm) else {
        return None;
    };
    let per = (weight.data.len() / scale.len().max(1)).max(1);
    for (row, s) in weight.data.chunks_mut(per).zip(scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    let bias = bias.get_or_insert_with(|| vec![0.0; shift.len()]);
    for ((b, s), t) in bias.iter_mut().zip(scale).zip(shift) {
        *b = *b * s + t;
    }
    Some(())
}
