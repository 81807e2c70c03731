//! Declarations of blocks, and what their calls amount to: recursion, blocks that nothing calls.

use super::Check;
use crate::diag::{Diagnostic, Span};
use crate::resolve::signature::{ACTIVATIONS, FUNCTIONS, Signature, TYPES};
use crate::resolve::suggest::{hint, quoted};
use crate::syntax::ast::{Ast, BlockDecl, Ident, Param, StatementKind};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BTreeMap, BTreeSet};

impl<'a> Check<'a, '_> {
    /// Enters a block's name.
    pub(super) fn declare(&mut self, block: &'a BlockDecl) {
        let name = block.name.text.as_str();
        if Signature::of(name).is_some() || FUNCTIONS.iter().any(|(word, ..)| *word == name) {
            let message = format!("{} is built in, a block cannot have its name", quoted(name));
            self.clash(message, &block.name, None);
        } else if let Some(first) = self.blocks.by_name.get(name) {
            let message = format!("two blocks are named {}", quoted(name));
            self.clash(message, &block.name, Some(first.name.span));
        } else {
            self.blocks.by_name.insert(name, block);
        }
    }

    /// Reports a name that cannot be had, with the place that has it.
    pub(super) fn clash(&mut self, message: String, name: &Ident, first: Option<Span>) {
        let mut found = Diagnostic::error("name-clash", message, name.span, "this name");
        if let Some(first) = first {
            found = found.also(first, "the first");
        }
        self.sink.report(found.hint("choose another name"));
    }

    /// Checks a block's parameters and statements.
    pub(super) fn block(&mut self, block: &'a BlockDecl) {
        self.inside = Some(&block.name.text);
        self.scopes.push(BTreeMap::new());
        block.params.iter().for_each(|param| self.param(param));
        let mut body = block.body.as_slice();
        let mut result = None;
        if let Some((last, before)) = body.split_last()
            && let StatementKind::Return(value) = &last.kind
        {
            (body, result) = (before, Some(value));
        }
        self.statements(body);
        if let Some(value) = result {
            self.value(value, &[]);
        } else {
            let message = format!("block {} does not end with `return`", quoted(&block.name.text));
            self.sink.report(
                Diagnostic::error("missing-return", message, block.name.span, "this block")
                    .hint("end the block with `return value`"),
            );
        }
        self.leave();
    }

    fn param(&mut self, param: &'a Param) {
        let name = &param.name;
        if name.text == "name" {
            self.clash("`name` is an attribute of every call".to_owned(), name, None);
        }
        let first = self.scopes.last().and_then(|scope| scope.get(name.text.as_str()));
        if let Some(first) = first.map(|binding| binding.span) {
            let message = format!("two parameters are named {}", quoted(&name.text));
            self.clash(message, name, Some(first));
            return;
        }
        let mut words: &[&str] = &[];
        if let Some(kind) = &param.kind {
            if kind.text == "activation" {
                words = ACTIVATIONS;
            }
            if !TYPES.contains(&kind.text.as_str()) {
                let message = format!("there is no type {}", quoted(&kind.text));
                self.sink.report(
                    Diagnostic::error("unknown-type", message, kind.span, "not a type")
                        .hint(hint(&kind.text, TYPES.iter().copied(), "types"))
                        .hint("a parameter without a type is a tensor"),
                );
            }
        }
        if let Some(value) = &param.default {
            self.value(value, words);
        }
        self.bind(name, name.span, "parameter");
    }

    /// Finds blocks that reach themselves: one report for each circle.
    pub(super) fn recursion(&mut self) {
        let mut graph: DiGraph<&'a str, Span> = DiGraph::new();
        let nodes: BTreeMap<&'a str, NodeIndex> =
            self.blocks.by_name.keys().map(|name| (*name, graph.add_node(*name))).collect();
        for (caller, callee, span) in &self.calls {
            if let Some(caller) = caller.and_then(|name| nodes.get(name)) {
                graph.add_edge(*caller, nodes[callee], *span);
            }
        }
        for circle in kosaraju_scc(&graph) {
            let inside: BTreeSet<NodeIndex> = circle.iter().copied().collect();
            let mut calls: Vec<(Span, &str, &str)> = circle
                .iter()
                .flat_map(|node| graph.edges(*node))
                .filter(|edge| inside.contains(&petgraph::visit::EdgeRef::target(edge)))
                .map(|edge| {
                    let (from, to) =
                        graph.edge_endpoints(petgraph::visit::EdgeRef::id(&edge)).unwrap_or_default();
                    (*edge.weight(), graph[from], graph[to])
                })
                .collect();
            calls.sort_unstable_by_key(|(span, ..)| (span.start, span.end));
            let Some((span, caller, callee)) = calls.last().copied() else {
                continue;
            };
            self.blocks.recursive.extend(circle.iter().map(|node| graph[*node]));
            let message = if circle.len() == 1 {
                format!("block {} calls itself", quoted(callee))
            } else {
                format!("block {} reaches itself through {}", quoted(callee), quoted(caller))
            };
            self.sink.report(
                Diagnostic::error("recursion", message, span, "called again")
                    .also(self.blocks.by_name[callee].name.span, "declared here")
                    .hint("a network has a fixed depth: use `repeat`"),
            );
        }
    }

    /// Warns of blocks that nothing calls.
    pub(super) fn uncalled(&mut self, ast: &'a Ast) {
        let called: BTreeSet<&str> = self
            .calls
            .iter()
            .filter(|(caller, callee, _)| *caller != Some(*callee))
            .map(|(_, callee, _)| *callee)
            .collect();
        for block in ast.blocks() {
            let name = block.name.text.as_str();
            let builtin = !self.blocks.by_name.contains_key(name);
            if !called.contains(name) && !builtin && !name.starts_with('_') {
                let message = format!("nothing calls the block {}", quoted(name));
                self.sink.report(
                    Diagnostic::warning("unused-name", message, block.name.span, "declared here")
                        .hint("remove it, or call it in the model"),
                );
            }
        }
    }
}
