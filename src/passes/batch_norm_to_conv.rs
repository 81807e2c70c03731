//! Turns the batch normalisations that are left into depthwise 1x1 convolutions with a bias.
//!
//! So they are linear layers like others and have an exact integer meaning. On features the matrix is
//! diagonal, which is why their number is limited.

use super::{FloatModel, Rebuild, RewriteError};
use crate::layers::{FloatLayer, Layer};

pub(super) fn run(model: &mut FloatModel) -> Result<usize, RewriteError> {
    let graph = &model.model.graph;
    let mut rebuilt = Rebuild::new();
    let mut changed = 0;
    for id in graph.ids() {
        let node = graph.node(id);
        let Layer::BatchNorm(_) = node.layer else {
            rebuilt.copy(model, id)?;
            continue;
        };
        let layer = Layer::scaling(&node.shape).ok_or_else(|| RewriteError::TooLarge {
            node: node.name.clone(),
            features: node.shape.channels(),
        })?;
        let weights = match &model.weights {
            None => None,
            Some(table) => match table.0.get(&id) {
                Some(FloatLayer::Norm { scale, shift }) => {
                    Some(FloatLayer::scaling(&node.shape, scale, shift))
                }
                _ => return Err(RewriteError::Weights { node: node.name.clone() }),
            },
        };
        rebuilt.replace(model, id, layer, weights)?;
        changed += 1;
    }
    if changed > 0 {
        rebuilt.finish(model);
    }
    Ok(changed)
}
