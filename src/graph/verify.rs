//! The verifier of both graphs: run after the resolver, the quantiser and every pass.
//!
//! Checks, in this order, for each node:
//! - node 0 is the only input, every other node has operands, all of them earlier (ids are topological);
//! - names are unique, the output exists;
//! - the number of operands and their shapes fit the layer, and its shape is the inferred one;
//! - quantised only: one shift an operand, shifts at most 62, bounds in order and within 2^62;
//! - quantised only: one interval a node, in order, and no wider than a clamp allows.
//!
//! A failure after a pass is that pass's fault: the error names the node, not the user's mistake.

use super::{Graph, IntLayer, IntNetwork, Interval, MAX_VALUE, Model, Node, NodeId, Requant};
use crate::layers::{Layer, Pool, PoolKind, ShapeError};
use crate::tensor::{MAX_ELEMENTS, Shape};
use std::collections::BTreeSet;

/// What is wrong with a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// There is no node at all.
    #[error("the graph is empty")]
    Empty,
    /// Node 0 is not an input, or another node is.
    #[error("node `{node}`: the one input of a graph is its first node")]
    Input {
        /// The node.
        node: String,
    },
    /// An operand does not come before its user.
    #[error("node `{node}`: operand {operand} does not come before it")]
    Order {
        /// The node.
        node: String,
        /// The operand's id.
        operand: u32,
    },
    /// Two nodes share a name.
    #[error("two nodes are named `{node}`")]
    Name {
        /// The name.
        node: String,
    },
    /// The output is no node of the graph.
    #[error("the output {output} is no node of the graph")]
    Output {
        /// Its id.
        output: u32,
    },
    /// The operands do not fit the layer.
    #[error("node `{node}`: {error}")]
    Operands {
        /// The node.
        node: String,
        /// What inference says.
        error: ShapeError,
    },
    /// The node's shape is not the inferred one.
    #[error("node `{node}` has shape {found}, its operands make {inferred}")]
    Shape {
        /// The node.
        node: String,
        /// The shape it carries.
        found: Shape,
        /// The shape that follows from its operands.
        inferred: Shape,
    },
    /// A shift is out of range, or there is not one for each operand.
    #[error("node `{node}`: shifts {shifts:?} for {operands} operands; want one each, at most 62")]
    Shifts {
        /// The node.
        node: String,
        /// Its shifts.
        shifts: Vec<u32>,
        /// How many operands it has.
        operands: usize,
    },
    /// Bounds out of order or too large.
    #[error("node `{node}`: bounds {lo}..{hi} are out of order or exceed 2^62")]
    Bounds {
        /// The node.
        node: String,
        /// Least value.
        lo: i64,
        /// Greatest value.
        hi: i64,
    },
    /// A pool of another kind than the layer.
    #[error("node `{node}`: the pool is of the wrong kind")]
    PoolKind {
        /// The node.
        node: String,
    },
    /// Not one interval a node.
    #[error("{found} intervals for {nodes} nodes")]
    Intervals {
        /// How many intervals.
        found: usize,
        /// How many nodes.
        nodes: usize,
    },
    /// A step of the input or output is not a positive number.
    #[error("the scales of input ({input}) and output ({output}) must be positive and finite")]
    Scales {
        /// One step of the input.
        input: String,
        /// One step of the output.
        output: String,
    },
}

/// Verifies a quantised network.
///
/// # Errors
/// The first fault found, with its node.
pub fn verify(network: &IntNetwork) -> Result<(), GraphError> {
    verify_graph(&network.graph, |l| matches!(l, IntLayer::Input(_)), infer)?;
    let (found, nodes) = (network.intervals.len(), network.graph.len());
    if found != nodes {
        return Err(GraphError::Intervals { found, nodes });
    }
    let (input, output) = (network.input_scale, network.output_scale);
    if ![input, output].iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(GraphError::Scales { input: input.to_string(), output: output.to_string() });
    }
    for (id, interval) in network.graph.ids().zip(&network.intervals) {
        let node = network.graph.node(id);
        check_interval(node, *interval)?;
        check_integers(node, network.graph.inputs(id).len(), *interval)?;
    }
    Ok(())
}

/// Verifies a model.
///
/// # Errors
/// The first fault found, with its node.
pub fn verify_model(model: &Model) -> Result<(), GraphError> {
    verify_graph(&model.graph, |l| matches!(l, Layer::Input), |l, shapes| l.infer(shapes))
}

fn verify_graph<L>(
    graph: &Graph<L>,
    is_input: impl Fn(&L) -> bool,
    infer: impl Fn(&L, &[&Shape]) -> Result<Shape, ShapeError>,
) -> Result<(), GraphError> {
    if graph.is_empty() {
        return Err(GraphError::Empty);
    }
    if graph.output().0 as usize >= graph.len() {
        return Err(GraphError::Output { output: graph.output().0 });
    }
    let mut names = BTreeSet::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let name = || node.name.clone();
        if !names.insert(node.name.as_str()) {
            return Err(GraphError::Name { node: name() });
        }
        if node.shape.elements() > MAX_ELEMENTS {
            let error = ShapeError::new("limit", format!("{} has more than 2^31 elements", node.shape), "");
            return Err(GraphError::Operands { node: name(), error });
        }
        let inputs = graph.inputs(id);
        if let Some(late) = inputs.iter().find(|i| **i >= id) {
            return Err(GraphError::Order { node: name(), operand: late.0 });
        }
        if is_input(&node.layer) != (id == NodeId(0)) || inputs.is_empty() != (id == NodeId(0)) {
            return Err(GraphError::Input { node: name() });
        }
        if id == NodeId(0) {
            continue;
        }
        let inferred = infer(&node.layer, &graph.input_shapes(id))
            .map_err(|error| GraphError::Operands { node: name(), error })?;
        if inferred != node.shape {
            return Err(GraphError::Shape { node: name(), found: node.shape.clone(), inferred });
        }
    }
    Ok(())
}

/// Shape inference of a quantised layer: that of the layer it came from.
fn infer(layer: &IntLayer, shapes: &[&Shape]) -> Result<Shape, ShapeError> {
    match layer {
        IntLayer::Input(_) => Layer::Input.infer(shapes),
        IntLayer::Conv(l) => Layer::Conv(*l).infer(shapes),
        IntLayer::Linear(l) => Layer::Linear(*l).infer(shapes),
        IntLayer::Add { .. } => Layer::Add.infer(shapes),
        IntLayer::Concat { .. } => Layer::Concat.infer(shapes),
        IntLayer::Shuffle(l) => Layer::Shuffle(*l).infer(shapes),
        IntLayer::Subsample(l) => Layer::Subsample(*l).infer(shapes),
        IntLayer::PadChannels(l) => Layer::PadChannels(*l).infer(shapes),
        IntLayer::SumPool(l) | IntLayer::MaxPool(l) => Layer::Pool(*l).infer(shapes),
        IntLayer::Requant(_) | IntLayer::Poly { .. } => {
            Layer::Activation(crate::layers::Activation::Relu).infer(shapes)
        }
        IntLayer::Flatten => Layer::Flatten.infer(shapes),
    }
}

fn check_interval(node: &Node<IntLayer>, Interval { lo, hi }: Interval) -> Result<(), GraphError> {
    let limit = -MAX_VALUE..=MAX_VALUE;
    if lo > hi || !limit.contains(&lo) || !limit.contains(&hi) {
        return Err(GraphError::Bounds { node: node.name.clone(), lo, hi });
    }
    Ok(())
}

fn check_integers(node: &Node<IntLayer>, operands: usize, interval: Interval) -> Result<(), GraphError> {
    let name = || node.name.clone();
    let check_requant = |r: Requant| {
        check_interval(node, Interval { lo: r.lo, hi: r.hi })?;
        if r.shift > 62 {
            return Err(GraphError::Shifts { node: name(), shifts: vec![r.shift], operands });
        }
        if r.lo > interval.lo {
            return Err(GraphError::Bounds { node: name(), lo: interval.lo, hi: interval.hi });
        }
        Ok(())
    };
    let check_pool = |pool: &Pool, max: bool| {
        if (pool.kind == PoolKind::Max) == max { Ok(()) } else { Err(GraphError::PoolKind { node: name() }) }
    };
    match &node.layer {
        IntLayer::Add { shifts } | IntLayer::Concat { shifts } => {
            if shifts.len() != operands || shifts.iter().any(|s| *s > 62) {
                return Err(GraphError::Shifts { node: name(), shifts: shifts.clone(), operands });
            }
            Ok(())
        }
        IntLayer::Requant(r) | IntLayer::Poly { requant: r, .. } => check_requant(*r),
        IntLayer::SumPool(pool) => check_pool(pool, false),
        IntLayer::MaxPool(pool) => check_pool(pool, true),
        IntLayer::Input(declared) => check_interval(node, *declared),
        IntLayer::Conv(_)
        | IntLayer::Linear(_)
        | IntLayer::Shuffle(_)
        | IntLayer::Subsample(_)
        | IntLayer::PadChannels(_)
        | IntLayer::Flatten => Ok(()),
    }
}
