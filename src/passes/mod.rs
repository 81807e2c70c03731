//! Ordered lists of rewrites: float passes of the model, which end before quantisation, one pass of the quantised
//! network (`pool_first`), and circuit passes of each segment (in `circuit`).
//!
//! A float pass rebuilds graph and weights together and says how many changes it made; the verifier runs after
//! each and blames the pass. Without weights the structure changes in the same way. Passes keep the float
//! function (up to rounding); they know no backends.

mod batch_norm_to_conv;
mod circuit;
mod drop_dead;
mod fold_batch_norm;
mod pool_first;

pub use circuit::{CIRCUIT_PASSES, CircuitPass, CircuitPassError, drop_zeros, run_circuit};
pub use pool_first::{POOL_FIRST, pool_first};

use crate::graph::{Graph, GraphError, Model, NodeId, verify_model};
use crate::layers::{FloatLayer, Layer};
use crate::quant::FloatWeights;
use std::collections::BTreeMap;

/// A model with its float weights, if it has any.
#[derive(Clone, Debug)]
pub struct FloatModel {
    /// The model.
    pub model: Model,
    /// Its weights, keyed by the model's nodes.
    pub weights: Option<FloatWeights>,
}

/// A rewrite of a model.
#[derive(Clone, Copy, Debug)]
pub struct FloatPass {
    /// A stable name, as `--print-after` takes it.
    pub name: &'static str,
    /// Applies it; gives the number of changes.
    pub run: fn(&mut FloatModel) -> Result<usize, RewriteError>,
}

/// The passes in order.
pub const FLOAT_PASSES: &[FloatPass] = &[
    FloatPass { name: "drop-dead", run: drop_dead::run },
    FloatPass { name: "fold-batch-norm", run: fold_batch_norm::run },
    FloatPass { name: "batch-norm-to-conv", run: batch_norm_to_conv::run },
];

/// Why a rewrite cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// A layer's weights are missing or of the wrong kind.
    #[error("layer `{node}` has no weights that fit it")]
    Weights {
        /// The layer.
        node: String,
    },
    /// A batch normalisation of features would need too large a matrix.
    #[error("batch_norm `{node}` on {features} features cannot be folded; put it right after a linear layer")]
    TooLarge {
        /// The layer.
        node: String,
        /// How many features.
        features: usize,
    },
    /// The rewritten graph has too many nodes.
    #[error("the graph has no room for layer `{node}`")]
    Full {
        /// The layer.
        node: String,
    },
}

impl RewriteError {
    /// The layer that it is about.
    #[must_use]
    pub fn layer(&self) -> &str {
        match self {
            Self::Weights { node } | Self::TooLarge { node, .. } | Self::Full { node } => node,
        }
    }
}

/// What went wrong in which pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// The pass refused the model.
    #[error("{error}")]
    Refused {
        /// The pass.
        pass: &'static str,
        /// Why.
        error: RewriteError,
    },
    /// The pass broke the graph: a fault of this program.
    #[error("internal error after pass {pass}: {error}")]
    Broken {
        /// The pass.
        pass: &'static str,
        /// What the verifier says.
        error: GraphError,
    },
}

/// Runs all float passes; `after` sees the model after each, with the pass's name and changes.
///
/// # Errors
/// If a pass refuses the model or breaks it.
pub fn run_float(
    model: &mut FloatModel,
    after: &mut dyn FnMut(&'static str, usize, &FloatModel),
) -> Result<(), PassError> {
    for pass in FLOAT_PASSES {
        let refused = |error| PassError::Refused { pass: pass.name, error };
        let changes = (pass.run)(model).map_err(refused)?;
        verify_model(&model.model).map_err(|error| PassError::Broken { pass: pass.name, error })?;
        after(pass.name, changes, model);
    }
    Ok(())
}

/// A model being rebuilt in topological order: where each old node went, and the new weights.
struct Rebuild {
    graph: Graph<Layer>,
    weights: BTreeMap<NodeId, FloatLayer>,
    moved: BTreeMap<NodeId, NodeId>,
}

impl Rebuild {
    fn new() -> Self {
        Self { graph: Graph::default(), weights: BTreeMap::new(), moved: BTreeMap::new() }
    }

    /// Copies node `id` as it is, or with another layer and other weights.
    fn copy(&mut self, from: &FloatModel, id: NodeId) -> Result<NodeId, RewriteError> {
        let weights = from.weights.as_ref().and_then(|w| w.0.get(&id)).cloned();
        self.replace(from, id, from.model.graph.node(id).layer.clone(), weights)
    }

    fn replace(
        &mut self,
        from: &FloatModel,
        id: NodeId,
        layer: Layer,
        weights: Option<FloatLayer>,
    ) -> Result<NodeId, RewriteError> {
        let mut node = from.model.graph.node(id).clone();
        node.layer = layer;
        let inputs = from.model.graph.inputs(id);
        let inputs: Vec<_> = inputs.iter().filter_map(|i| self.moved.get(i).copied()).collect();
        let new = self.graph.add(node, &inputs).map_err(|n| RewriteError::Full { node: n.name })?;
        if let Some(weights) = weights {
            self.weights.insert(new, weights);
        }
        self.moved.insert(id, new);
        Ok(new)
    }

    /// Puts the rebuilt graph in the model's place.
    fn finish(mut self, model: &mut FloatModel) {
        if let Some(&output) = self.moved.get(&model.model.graph.output()) {
            self.graph.set_output(output);
        }
        model.model.graph = self.graph;
        if let Some(weights) = &mut model.weights {
            weights.0 = self.weights;
        }
    }
}
