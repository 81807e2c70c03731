//! Calls of layers, blocks and functions: what is called, and with which operands and attributes.

use super::Check;
use crate::diag::{Diagnostic, Span};
use crate::resolve::signature::{
    ACTIVATIONS, Attribute, COMMON, FUNCTIONS, LAYERS, Operands, RESERVED, Signature,
};
use crate::resolve::sink::Sink;
use crate::resolve::suggest::{hint, quoted};
use crate::syntax::ast::{BlockDecl, Call, ExprKind, Ident, Named};
use std::collections::BTreeMap;

impl<'a> Check<'a, '_> {
    /// A call; a piped one has one operand more than it shows.
    pub(super) fn call(&mut self, call: &'a Call, piped: bool) {
        let callee = call.callee.text.as_str();
        let local = self.scopes.iter().any(|scope| scope.contains_key(callee));
        if let Some(block) = self.blocks.by_name.get(callee).copied() {
            self.calls.push((self.inside, &block.name.text, call.span));
            self.block_call(call, block, piped);
        } else if let Some(signature) = Signature::of(callee) {
            self.layer_call(call, signature, piped);
        } else if let Some((_, least, most)) = FUNCTIONS.iter().find(|(word, ..)| *word == callee) {
            let given = call.operands.len() + usize::from(piped);
            if given < *least || given > *most {
                let wanted = if least == most { format!("{least}") } else { format!("at least {least}") };
                self.operand_count(
                    call,
                    &format!("takes {wanted} operand{}", if *least == 1 { "" } else { "s" }),
                    given,
                );
            }
            self.unknown_attributes(call, &[]);
            call.operands.iter().for_each(|operand| self.value(operand, &[]));
        } else if local {
            self.read(callee);
            self.unknown_attributes(call, &COMMON.iter().map(|a| a.name).collect::<Vec<_>>());
            call.operands.iter().for_each(|operand| self.value(operand, &[]));
            call.attributes.iter().for_each(|attribute| self.attribute(attribute, &[]));
        } else {
            self.unknown_callee(call);
            call.operands.iter().for_each(|operand| self.value(operand, &[]));
            call.attributes.iter().for_each(|attribute| self.value(&attribute.value, RESERVED));
        }
    }

    /// An attribute's value, which for `name` is a text.
    fn attribute(&mut self, attribute: &'a Named, words: &[&str]) {
        if attribute.name.text == "name" && !matches!(attribute.value.kind, ExprKind::Text(_)) {
            let span = attribute.value.span;
            self.sink.report(
                Diagnostic::error("type-mismatch", "expected a text in quotes", span, "not a text")
                    .hint("write it in double quotes: \"layer1.0\""),
            );
        } else {
            self.value(&attribute.value, words);
        }
    }

    fn unknown_callee(&mut self, call: &'a Call) {
        if self.sink.full() {
            return;
        }
        let name = call.callee.text.as_str();
        let layers = LAYERS.iter().map(|signature| signature.word);
        let known = layers.chain(self.blocks.by_name.keys().copied()).chain(FUNCTIONS.iter().map(|f| f.0));
        let advice = hint(name, known, "layers and blocks");
        let message = format!("there is no layer or block {}", quoted(name));
        self.sink.report(
            Diagnostic::error("unknown-layer", message, call.callee.span, "not known")
                .hint(advice)
                .hint("a block of your own is declared by `block name(x) { ... }`"),
        );
    }

    fn operand_count(&mut self, call: &'a Call, wanted: &str, given: usize) {
        let message = format!("{} {wanted}, found {given}", quoted(&call.callee.text));
        self.sink.report(
            Diagnostic::error("operand-count", message, call.span, format!("{given} given"))
                .hint("`x |> f(...)` passes x as the first operand; attributes are written `name: value`"),
        );
    }

    fn layer_call(&mut self, call: &'a Call, signature: &'static Signature, piped: bool) {
        let given = call.operands.len() + usize::from(piped);
        let fits = match signature.operands {
            Operands::One => given == 1,
            Operands::Several => given >= 2,
        };
        if !fits {
            let wanted = match signature.operands {
                Operands::One => "takes one tensor",
                Operands::Several => "takes two or more tensors",
            };
            self.operand_count(call, wanted, given);
        }
        call.operands.iter().for_each(|operand| self.value(operand, &[]));
        let known: Vec<_> = signature.attributes().map(|attribute| attribute.name).collect();
        self.unknown_attributes(call, &known);
        for attribute in &call.attributes {
            let found = signature.attributes().find(|known| known.name == attribute.name.text);
            self.attribute(attribute, found.map_or(RESERVED, |known| known.words));
        }
        let depthwise = call
            .attributes
            .iter()
            .any(|attribute| matches!(&attribute.value.kind, ExprKind::Name(word) if word == "depthwise"));
        let missing: Vec<_> = signature
            .attributes()
            .filter(|wanted| wanted.required && !(wanted.name == "out" && depthwise))
            .map(|wanted: &Attribute| wanted.name)
            .filter(|wanted| !call.attributes.iter().any(|given| given.name.text == *wanted))
            .collect();
        self.missing(call, &missing);
    }

    fn block_call(&mut self, call: &'a Call, block: &'a BlockDecl, piped: bool) {
        let given = call.operands.len() + usize::from(piped);
        if given > block.params.len() {
            let wanted = format!("takes at most {} values", block.params.len());
            self.operand_count(call, &wanted, given);
        }
        let words = |name: Option<&Ident>| match name {
            Some(kind) if kind.text == "activation" => ACTIVATIONS,
            _ => &[],
        };
        for (i, operand) in call.operands.iter().enumerate() {
            let param = block.params.get(i + usize::from(piped));
            self.value(operand, words(param.and_then(|param| param.kind.as_ref())));
        }
        let mut known: Vec<_> = block.params.iter().map(|param| param.name.text.as_str()).collect();
        known.push("name");
        self.unknown_attributes(call, &known);
        for attribute in &call.attributes {
            let position = block.params.iter().position(|param| param.name.text == attribute.name.text);
            let kind = position.and_then(|i| block.params[i].kind.as_ref());
            self.attribute(attribute, words(kind));
            if position.is_some_and(|i| i < given) {
                let message = format!("{} is given by position and by name", quoted(&attribute.name.text));
                self.sink.report(
                    Diagnostic::error("duplicate-attribute", message, attribute.name.span, "again")
                        .also(call.callee.span, "already an operand of this call")
                        .hint("give it once"),
                );
            }
        }
        let missing: Vec<_> = block
            .params
            .iter()
            .enumerate()
            .filter(|(i, param)| *i >= given && param.default.is_none())
            .map(|(_, param)| param.name.text.as_str())
            .filter(|wanted| !call.attributes.iter().any(|given| given.name.text == *wanted))
            .collect();
        self.missing(call, &missing);
    }

    fn missing(&mut self, call: &'a Call, missing: &[&str]) {
        if missing.is_empty() {
            return;
        }
        let listed: Vec<_> = missing.iter().map(|name| quoted(name)).collect();
        let message = format!("{} needs {}", quoted(&call.callee.text), listed.join(" and "));
        let example: Vec<_> = missing.iter().map(|name| format!("{name}: ...")).collect();
        self.sink.report(
            Diagnostic::error("missing-attribute", message, call.span, "not given here")
                .hint(format!("add `{}`", example.join(", "))),
        );
    }

    /// Reports attributes that are not among `known`, and those that are given twice.
    fn unknown_attributes(&mut self, call: &'a Call, known: &[&str]) {
        attributes(&call.attributes, known, &call.callee.text, self.sink);
    }
}

/// Reports what stands in `given` but is not `known`, and what stands there twice.
pub(in crate::resolve) fn attributes(given: &[Named], known: &[&str], of: &str, sink: &mut Sink) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for attribute in given {
        let name = attribute.name.text.as_str();
        if !known.contains(&name) {
            let message = format!("{} has no attribute {}", quoted(of), quoted(name));
            sink.report(
                Diagnostic::error("unknown-attribute", message, attribute.name.span, "not known").hint(hint(
                    name,
                    known.iter().copied(),
                    "attributes",
                )),
            );
        } else if let Some(span) = first.get(name) {
            let message = format!("{} is given twice", quoted(name));
            sink.report(
                Diagnostic::error("duplicate-attribute", message, attribute.name.span, "again")
                    .also(*span, "first given here")
                    .hint("keep one of them"),
            );
        } else {
            first.insert(name, attribute.name.span);
        }
    }
}
