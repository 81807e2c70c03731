//! How far each quantised value lies from the float it stands for.

use super::float::{FloatWeights, float_eval_with};
use super::{Meaning, QuantError};
use crate::graph::{IntLayer, IntNetwork, IntWeights, Model, NodeId, evaluate_with, quantise_input};
use crate::tensor::Tensor;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

/// The error of one node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerError {
    /// The node of the quantised network.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The mean of `|integer * step - float|` over the mean of `|float|`; 0 where all floats are 0.
    pub error: f64,
}

/// The errors of all nodes that compute something, over `images` (normalised), in order. Re-indexing layers
/// have the error of what they read and are left out.
///
/// # Errors
/// If the images, the float weights or the integer ones do not fit.
pub fn layer_errors(
    (model, float): (&Model, &FloatWeights),
    (network, weights): (&IntNetwork, &IntWeights),
    meaning: &[Meaning],
    images: &[Tensor<f32>],
) -> Result<Vec<LayerError>, QuantError> {
    let ids: BTreeMap<&str, NodeId> =
        model.graph.ids().map(|id| (model.graph.node(id).name.as_str(), id)).collect();
    let sources: Vec<Option<NodeId>> = meaning.iter().map(|m| ids.get(m.layer.as_str()).copied()).collect();
    let one = |image: &Tensor<f32>| {
        let mut floats = Vec::with_capacity(model.graph.len());
        float_eval_with(model, float, image, &mut |_, value| floats.push(value.clone()))?;
        let mut sums = vec![(0.0, 0.0); network.graph.len()];
        let input = quantise_input(network, image)?;
        evaluate_with(network, weights, &input, &mut |id, value| {
            let at = id.0 as usize;
            let wanted = sources.get(at).copied().flatten().and_then(|source| floats.get(source.0 as usize));
            if let (Some(wanted), Some(meaning)) = (wanted, meaning.get(at)) {
                sums[at] = distance(value, &meaning.steps, wanted);
            }
        })?;
        Ok::<_, QuantError>(sums)
    };
    let sums: Vec<_> = images.par_iter().map(one).collect::<Result<_, _>>()?;
    let total = |id: NodeId| {
        let (error, power) = sums.iter().fold((0.0, 0.0), |(error, power), sums| {
            let (e, p) = sums[id.0 as usize];
            (error + e, power + p)
        });
        let node = network.graph.node(id);
        let error = if power > 0.0 { error / power } else { 0.0 };
        LayerError { name: node.name.clone(), kind: node.layer.kind(), error }
    };
    Ok(network.graph.ids().filter(|id| computes(&network.graph.node(*id).layer)).map(total).collect())
}

fn computes(layer: &IntLayer) -> bool {
    match layer {
        IntLayer::Input(_)
        | IntLayer::Conv(_)
        | IntLayer::Linear(_)
        | IntLayer::Add { .. }
        | IntLayer::SumPool(_)
        | IntLayer::Requant(_)
        | IntLayer::Poly { .. } => true,
        IntLayer::Concat { .. }
        | IntLayer::Shuffle(_)
        | IntLayer::Subsample(_)
        | IntLayer::PadChannels(_)
        | IntLayer::MaxPool(_)
        | IntLayer::Flatten => false,
    }
}

/// The sums of `|integer * step - float|` and of `|float|`.
fn distance(found: &Tensor<i64>, steps: &[f64], wanted: &Tensor<f32>) -> (f64, f64) {
    let plane = (found.data.len() / steps.len().max(1)).max(1);
    let values = found.data.chunks(plane).zip(wanted.data.chunks(plane)).zip(steps);
    values.fold((0.0, 0.0), |sums, ((found, wanted), step)| {
        found.iter().zip(wanted).fold(sums, |(error, power), (f, w)| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "an error is a figure, accumulators are below 2^53"
            )]
            let f = *f as f64 * step;
            let w = f64::from(*w);
            (error + (f - w).abs(), power + w.abs())
        })
    })
}
