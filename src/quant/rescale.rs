//! Resolves conflicts of scales: an operand that no shift can align with its sum passes through a linear
//! layer that multiplies by one, whose weights can take up any factor.
//!
//! That costs a layer, so it happens only in networks such as `add(x, avg_pool(x))` over nine pixels.

use super::QuantError;
use super::classes::{Classes, Conflict, analyse};
use super::float::FloatWeights;
use super::skeleton::Skeleton;
use crate::graph::{Graph, Model, Node, NodeId, QuantAttributes};
use crate::layers::{FloatLayer, Layer};
use std::collections::{BTreeMap, BTreeSet};

/// The most layers that are added.
const MAX_RESCALES: usize = 256;

/// A model whose scales fit together.
pub(super) struct Fitted {
    pub(super) model: Model,
    pub(super) weights: Option<FloatWeights>,
    pub(super) skeleton: Skeleton,
    pub(super) classes: Classes,
}

/// Inserts scaling layers until no conflict is left.
pub(super) fn fit(model: &Model, weights: Option<&FloatWeights>) -> Result<Fitted, QuantError> {
    let (mut model, mut weights) = (model.clone(), weights.cloned());
    for _ in 0..=MAX_RESCALES {
        let skeleton = Skeleton::build(&model)?;
        match analyse(&skeleton)? {
            Ok(classes) => return Ok(Fitted { model, weights, skeleton, classes }),
            Err(conflict) => (model, weights) = insert(&model, weights.as_ref(), conflict)?,
        }
    }
    let node = model.graph.node(model.graph.output()).name.clone();
    Err(QuantError::Conflicts { node, limit: MAX_RESCALES })
}

fn insert(
    model: &Model,
    weights: Option<&FloatWeights>,
    conflict: Conflict,
) -> Result<(Model, Option<FloatWeights>), QuantError> {
    let old = &model.graph;
    let mut names: BTreeSet<_> = old.ids().map(|id| old.node(id).name.clone()).collect();
    let mut graph = Graph::default();
    let mut moved: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut table = BTreeMap::new();
    let mut rescale = |graph: &mut Graph<Layer>, table: &mut BTreeMap<_, _>, source: NodeId| {
        let node = rescaling(graph.node(source), &mut names)?;
        let ones = vec![1.0; node.shape.channels()];
        let layer = FloatLayer::scaling(&node.shape, &ones, &vec![0.0; ones.len()]);
        let id = graph.add(node, &[source]).map_err(|n| QuantError::Full { node: n.name })?;
        table.insert(id, layer);
        Ok::<_, QuantError>(id)
    };
    for id in old.ids() {
        let mut inputs: Vec<_> = old.inputs(id).iter().filter_map(|i| moved.get(i).copied()).collect();
        if let Conflict::Operand { user, position } = conflict
            && let Some(input) = inputs.get_mut(position).filter(|_| user == id)
        {
            *input = rescale(&mut graph, &mut table, *input)?;
        }
        let new = graph.add(old.node(id).clone(), &inputs).map_err(|n| QuantError::Full { node: n.name })?;
        moved.insert(id, new);
        if let Some(layer) = weights.and_then(|w| w.0.get(&id)) {
            table.insert(new, layer.clone());
        }
    }
    let mut output = moved.get(&old.output()).copied().unwrap_or(NodeId(0));
    if conflict == Conflict::Output {
        output = rescale(&mut graph, &mut table, output)?;
    }
    graph.set_output(output);
    Ok((Model { header: model.header.clone(), graph }, weights.map(|_| FloatWeights(table))))
}

fn rescaling(source: &Node<Layer>, names: &mut BTreeSet<String>) -> Result<Node<Layer>, QuantError> {
    let layer = Layer::scaling(&source.shape)
        .ok_or_else(|| QuantError::Conflicts { node: source.name.clone(), limit: 0 })?;
    let mut name = format!("{}.rescale", source.name);
    while !names.insert(name.clone()) {
        name.push('_');
    }
    Ok(Node {
        name,
        block: source.block.clone(),
        layer,
        shape: source.shape.clone(),
        span: source.span,
        quant: QuantAttributes::default(),
    })
}
