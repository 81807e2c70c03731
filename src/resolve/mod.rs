//! From tree to typed graph: names, values, shapes, weights, and every error a user can make.
//!
//! First a check of every line (`check`), then the expansion of blocks and repeats (`expand`), then
//! names (`names`), unreachable layers and weights (`weights`). All stages report into one sink, so
//! that several mistakes are shown at once and each only once. Files are opened by the caller: see
//! [`declared`]. Nothing here knows of packing or encryption.

mod attributes;
mod block;
mod check;
mod eval;
mod expand;
mod header;
mod layer;
mod names;
mod signature;
mod sink;
mod stria;
mod suggest;
mod value;
mod weights;

use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::graph::{Graph, Header, Model, Node, NodeId, WeightsDecl};
use crate::layers::Layer;
use crate::syntax::Ast;
use crate::syntax::ast::{ModelDecl, Part, StatementKind};
use crate::weights::WeightSource;
use expand::Expander;
use sink::Sink;
use suggest::quoted;

/// The files that a model names, relative to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its weights.
    pub weights: WeightsDecl,
    /// Where they are named.
    pub weights_span: Span,
    /// Images for calibration.
    pub calibration: Option<String>,
    /// Where they are named.
    pub calibration_span: Span,
}

/// What files a model needs, before it is resolved. What is not well formed is left out here and
/// reported by [`resolve`].
#[must_use]
pub fn declared(ast: &Ast) -> Declared {
    let mut declared = Declared {
        weights: WeightsDecl::None,
        weights_span: Span::default(),
        calibration: None,
        calibration_span: Span::default(),
    };
    for part in ast.models().flat_map(|model| &model.parts) {
        if let Part::Setting(setting) = part {
            match setting.name.text.as_str() {
                "weights" if declared.weights == WeightsDecl::None => {
                    declared.weights = header::weights(&setting.value).unwrap_or(WeightsDecl::None);
                    declared.weights_span = setting.span;
                }
                "calibration" if declared.calibration.is_none() => {
                    declared.calibration = header::plain(&setting.value);
                    declared.calibration_span = setting.span;
                }
                _ => {}
            }
        }
    }
    declared
}

/// Resolves a file: the model, unless there is an error, and all diagnostics.
///
/// With `weights`, every tensor that a layer reads is checked; without, only the graph is.
#[must_use]
pub fn resolve(ast: &Ast, weights: Option<&dyn WeightSource>) -> (Option<Model>, Diagnostics) {
    let mut sink = Sink::default();
    let blocks = check::check(ast, &mut sink);
    let Some(model) = only_model(ast, &mut sink) else {
        return (None, sink.finish());
    };
    let mut expander = Expander::new(blocks, sink);
    let settings = expander.settings(model);
    expander.ring = settings.ring;
    let input = expander.input(model);
    let output = expander.model(model);
    let unused = std::mem::take(&mut expander.blocks.unused);
    let Expander { mut sink, mut graph, names, sites, .. } = expander;
    let (Some(input), Some(output)) = (input, output) else {
        return (None, sink.finish());
    };
    name_nodes(&mut graph, &names, &sites, &mut sink);
    let graph = reached(graph, output, &sites, &unused, &mut sink);
    if let Some(source) = weights {
        weights::check(&graph, source, settings.weights_span.unwrap_or(model.name.span), &mut sink);
    }
    let failed = sink.failed();
    let header = Header {
        name: model.name.text.clone(),
        ring: settings.ring,
        weights: settings.weights,
        calibration: settings.calibration,
        weight_bits: settings.weight_bits,
        activation_bits: settings.activation_bits,
        ranges: settings.ranges,
        input,
    };
    ((!failed).then_some(Model { header, graph }), sink.finish())
}

/// How many channels of an `h x w` map a ciphertext of degree `ring` holds, at least 1: each channel
/// takes a power of two of slots in one of two rows.
fn capacity(ring: u32, h: usize, w: usize) -> usize {
    let row = ring as usize / 2;
    let block = h.saturating_mul(w).checked_next_power_of_two().unwrap_or(usize::MAX);
    (2 * (row / block)).max(1)
}

/// The file's model; there must be one.
fn only_model<'a>(ast: &'a Ast, sink: &mut Sink) -> Option<&'a ModelDecl> {
    let mut models = ast.models();
    let Some(first) = models.next() else {
        let first = ast.blocks().next().map(|block| block.name.span);
        let label = if first.is_some() { "only blocks" } else { "nothing here" };
        sink.report(
            Diagnostic::error("missing-model", "the file has no model", first.unwrap_or_default(), label)
                .hint("declare it: `model name { input x: tensor[3, 32, 32] ... output y }`"),
        );
        return None;
    };
    if let Some(second) = models.next() {
        sink.report(
            Diagnostic::error("misplaced", "a file has one model", second.name.span, "the second")
                .also(first.name.span, "the first")
                .hint("put the other into its own file"),
        );
    }
    Some(first)
}

impl<'a> Expander<'a> {
    /// Executes a model; its output.
    fn model(&mut self, model: &'a ModelDecl) -> Option<NodeId> {
        let mut output = None;
        for part in &model.parts {
            let Part::Statement(statement) = part else {
                continue;
            };
            let StatementKind::Output(value) = &statement.kind else {
                self.statements(std::slice::from_ref(statement));
                continue;
            };
            let found = self.value(value);
            let id = self.expect("a tensor as the model's output", found, value.span, found.tensor());
            output = output.or(id);
        }
        output
    }
}

/// Gives every node its full name and the path of its block; reports names that clash.
fn name_nodes(graph: &mut Graph<Layer>, names: &names::Names, sites: &[Option<Span>], sink: &mut Sink) {
    let settled = names.settle();
    let ids: Vec<NodeId> = graph.ids().collect();
    for (id, (name, block)) in ids.iter().zip(settled.layers) {
        let node = graph.node_mut(*id);
        node.name = name;
        node.block = block;
    }
    for (first, again) in settled.clashes {
        let (first, second) = (graph.node(ids[first]), graph.node(ids[again]));
        let message = format!("two layers with weights are named {}", quoted(&second.name));
        let mut found = Diagnostic::error("name-clash", message, second.span, "they would share weights");
        if first.span != second.span {
            found = found.also(first.span, "the first of the name");
        } else if let Some(site) = sites[again] {
            found = found.also(site, "reached again from here");
        }
        sink.report(found.hint("name each call: in a repeat, put its index into the name: \"layer1.{i}\""));
    }
}

/// The graph without the layers that do not reach the output, of which it warns.
fn reached(
    graph: Graph<Layer>,
    output: NodeId,
    sites: &[Option<Span>],
    unused: &[Span],
    sink: &mut Sink,
) -> Graph<Layer> {
    let mut live = vec![false; graph.len()];
    if let Some(input) = live.first_mut() {
        *input = true;
    }
    live[output.0 as usize] = true;
    for id in graph.ids().rev().filter(|id| id.0 <= output.0) {
        if live[id.0 as usize] {
            graph.inputs(id).iter().for_each(|operand| live[operand.0 as usize] = true);
        }
    }
    let mut outer: Vec<(u32, u32)> = unused.iter().map(|span| (span.start, span.end)).collect();
    outer.sort_unstable();
    // Statements that bind a name do not contain each other.
    let within = |span: Span| {
        let before = outer.partition_point(|(start, _)| *start <= span.start);
        before > 0 && span.end <= outer[before - 1].1
    };
    let dead: Vec<&Node<Layer>> = graph
        .ids()
        .filter(|id| !live[id.0 as usize])
        .filter(|id| !within(graph.node(*id).span) && !sites[id.0 as usize].is_some_and(within))
        .map(|id| graph.node(id))
        .collect();
    if let Some(first) = dead.first() {
        let shown: Vec<_> = dead.iter().take(4).map(|node| quoted(&node.name)).collect();
        let more = if dead.len() > 4 { format!(" and {} more", dead.len() - 4) } else { String::new() };
        let message = format!("layers that do not reach the output are left out: {}{more}", shown.join(", "));
        sink.report(
            Diagnostic::warning("unreachable-layer", message, first.span, "this layer")
                .hint("remove them, or use their result"),
        );
    }
    if live.iter().all(|alive| *alive) {
        let mut graph = graph;
        graph.set_output(output);
        return graph;
    }
    let mut kept = Graph::default();
    let mut moved = vec![NodeId(0); graph.len()];
    for id in graph.ids().filter(|id| live[id.0 as usize]) {
        let operands: Vec<_> = graph.inputs(id).iter().map(|operand| moved[operand.0 as usize]).collect();
        // The graph is smaller than one that was not full, and operands come first.
        if let Ok(new) = kept.add(graph.node(id).clone(), &operands) {
            moved[id.0 as usize] = new;
        }
    }
    kept.set_output(moved[output.0 as usize]);
    kept
}

#[cfg(test)]
mod tests {
    use super::capacity;

    #[test]
    fn capacities_are_those_of_the_cost_model() {
        assert_eq!(capacity(8192, 32, 32), 8);
        assert_eq!(capacity(8192, 28, 28), 8);
        assert_eq!(capacity(4096, 8, 8), 64);
        assert_eq!(capacity(16384, 56, 56), 4);
        assert_eq!(capacity(8192, 112, 112), 1, "a map larger than a row spans ciphertexts");
    }
}
