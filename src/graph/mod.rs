//! The layer graph: typed nodes in topological order, shapes known, each with the span it came from.
//!
//! Two stages share the container: [`Model`] holds the language's layers ([`Layer`]) as written;
//! [`IntNetwork`] holds the quantised network whose integer semantics is *the* meaning of the model.
//! A node's operands always have smaller ids. Weights are kept apart, so that a graph may be shown to
//! both parties. Nothing here knows syntax or backends.

mod int;
mod print;
mod reference;
mod verify;

pub use int::{Affine, IntLayer, IntNetwork, IntWeights, Interval, LayerWeights, NonLinearWork, Requant};
pub(crate) use reference::walk;
pub use reference::{
    MAX_VALUE, ReferenceError, evaluate, evaluate_all, evaluate_node, evaluate_with, quantise_input,
};
pub use verify::{GraphError, verify, verify_model};

use crate::diag::Span;
use crate::layers::Layer;
use crate::tensor::Shape;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

/// The most nodes that a graph may have.
pub const MAX_LAYERS: usize = 100_000;

/// A node of a graph; ids are dense and in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// Quantisation attributes written at a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantAttributes {
    /// Range of the layer's quantised output, in real units.
    pub range: Option<(f64, f64)>,
    /// Bits of the layer's quantised output.
    pub bits: Option<u32>,
    /// Bits of the layer's weights.
    pub weight_bits: Option<u32>,
}

/// One layer in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node<L> {
    /// Full path, unique in the graph; a layer's weights are `<name>.weight` and so on.
    pub name: String,
    /// Path of the block it came from, if any.
    pub block: Option<String>,
    /// The layer.
    pub layer: L,
    /// Its output's shape.
    pub shape: Shape,
    /// Where it was written.
    pub span: Span,
    /// What the file says of its quantisation.
    pub quant: QuantAttributes,
}

/// A graph of layers with one input (node 0) and one output.
#[derive(Clone, Debug)]
pub struct Graph<L> {
    /// Edges point from operand to user and carry the operand's position.
    inner: DiGraph<Node<L>, u32>,
    output: NodeId,
}

impl<L> Default for Graph<L> {
    fn default() -> Self {
        Self { inner: DiGraph::new(), output: NodeId(0) }
    }
}

impl<L> Graph<L> {
    /// Adds a node whose operands are already there.
    ///
    /// # Errors
    /// Gives the node back if an operand is unknown or the graph is full.
    pub fn add(&mut self, node: Node<L>, inputs: &[NodeId]) -> Result<NodeId, Box<Node<L>>> {
        let count = self.inner.node_count();
        if count >= MAX_LAYERS || inputs.iter().any(|i| i.0 as usize >= count) {
            return Err(Box::new(node));
        }
        let index = self.inner.add_node(node);
        for (position, input) in inputs.iter().enumerate() {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            self.inner.add_edge(NodeIndex::new(input.0 as usize), index, position);
        }
        Ok(NodeId(u32::try_from(index.index()).unwrap_or(u32::MAX)))
    }

    /// Declares the network's output.
    pub fn set_output(&mut self, output: NodeId) {
        self.output = output;
    }

    /// The network's output.
    #[must_use]
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// How many nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node `id`.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node<L> {
        &self.inner[NodeIndex::new(id.0 as usize)]
    }

    /// The node `id`, to change.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node<L> {
        &mut self.inner[NodeIndex::new(id.0 as usize)]
    }

    /// Ids in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<L> {
        (0..u32::try_from(self.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// Operands of `id` in order.
    #[must_use]
    pub fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        let index = NodeIndex::new(id.0 as usize);
        let mut edges: Vec<_> = self
            .inner
            .edges_directed(index, Direction::Incoming)
            .map(|e| (*e.weight(), e.source().index()))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, i)| NodeId(u32::try_from(i).unwrap_or(u32::MAX))).collect()
    }

    /// Users of `id`, ascending, once for each use.
    #[must_use]
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let index = NodeIndex::new(id.0 as usize);
        let mut users: Vec<_> = self
            .inner
            .edges_directed(index, Direction::Outgoing)
            .map(|e| NodeId(u32::try_from(e.target().index()).unwrap_or(u32::MAX)))
            .collect();
        users.sort_unstable();
        users
    }

    /// Shapes of the operands of `id`.
    #[must_use]
    pub fn input_shapes(&self, id: NodeId) -> Vec<&Shape> {
        self.inputs(id).into_iter().map(|i| &self.node(i).shape).collect()
    }
}

/// How raw pixels become the network's input: `x = (pixel * scale - mean[c]) / std[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Applied to a raw pixel of 0..255.
    pub scale: f64,
    /// Per channel.
    pub mean: Vec<f64>,
    /// Per channel, positive.
    pub std: Vec<f64>,
    /// Raw images are smaller than the declared tensor by this many pixels on each side, and are
    /// framed with pixels of 0 before normalisation.
    pub pad: usize,
}

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightsDecl {
    /// None: the network compiles to plans and reports only.
    None,
    /// A safetensors file beside the model.
    File(String),
    /// Random weights from a seed, for measurements.
    Random(u64),
}

/// What stands in the model's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The model's name.
    pub name: String,
    /// Ring degree at which `auto` resolves.
    pub ring: u32,
    /// Its weights.
    pub weights: WeightsDecl,
    /// A safetensors file of images for ranges that the file does not give.
    pub calibration: Option<String>,
    /// Bits of weights, 2 to 8.
    pub weight_bits: u32,
    /// Bits of activations, 2 to 8.
    pub activation_bits: u32,
    /// How ranges are chosen that the file does not give.
    pub ranges: RangeChoice,
    /// Normalisation of the input.
    pub input: InputSpec,
}

/// How the range of a value follows from the magnitudes that calibration has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum RangeChoice {
    /// The largest: nothing saturates on the calibration images.
    MinMax,
    /// A percentile of them, 99 to 100: what lies above saturates.
    Percentile(f64),
    /// The one at which saturation and rounding together have the least mean squared error.
    #[default]
    MeanSquare,
}

/// A resolved model as written: float layers, shapes known.
#[derive(Clone, Debug)]
pub struct Model {
    /// The header.
    pub header: Header,
    /// The layers.
    pub graph: Graph<Layer>,
}
