//! What can be said of a file without evaluating it: names, layers and attributes that are not known,
//! names that nothing uses, blocks that call themselves, statements out of place.
//!
//! The expansion ([`super::expand`]) sees only what is executed; this check sees every line once. What
//! it reports, the expansion passes over in silence.

mod blocks;
mod calls;

pub(super) use calls::attributes;

use super::signature::{RESERVED, Signature};
use super::sink::Sink;
use super::suggest::{hint, nearest, quoted};
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{
    Ast, BlockDecl, Count, Expr, ExprKind, Ident, ModelDecl, Part, Piece, SettingValue, Statement,
    StatementKind,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the expansion needs to know of the blocks.
pub(super) struct Blocks<'a> {
    /// The blocks by name, the first of each name.
    pub(super) by_name: BTreeMap<&'a str, &'a BlockDecl>,
    /// Those that cannot be expanded: they reach themselves.
    pub(super) recursive: BTreeSet<&'a str>,
    /// Names that nothing reads, with the spans of the statements that bind them.
    pub(super) unused: Vec<Span>,
}

/// A name in scope.
struct Binding {
    span: Span,
    /// All of the statement that binds it.
    statement: Span,
    read: bool,
    what: &'static str,
}

struct Check<'a, 's> {
    sink: &'s mut Sink,
    blocks: Blocks<'a>,
    scopes: Vec<BTreeMap<&'a str, Binding>>,
    /// The block that is being checked; none for the model.
    inside: Option<&'a str>,
    /// Who calls which block, and where.
    calls: Vec<(Option<&'a str>, &'a str, Span)>,
}

/// Checks every line of `ast`.
pub(super) fn check<'a>(ast: &'a Ast, sink: &mut Sink) -> Blocks<'a> {
    let blocks = Blocks { by_name: BTreeMap::new(), recursive: BTreeSet::new(), unused: Vec::new() };
    let mut check = Check { sink, blocks, scopes: Vec::new(), inside: None, calls: Vec::new() };
    for block in ast.blocks() {
        check.declare(block);
    }
    for block in ast.blocks() {
        check.block(block);
    }
    for model in ast.models() {
        check.model(model);
    }
    check.recursion();
    check.uncalled(ast);
    check.blocks
}

impl<'a> Check<'a, '_> {
    fn model(&mut self, model: &'a ModelDecl) {
        self.inside = None;
        self.scopes.push(BTreeMap::new());
        for part in &model.parts {
            match part {
                Part::Input(input) => {
                    input.dims.iter().for_each(|dim| self.value(dim, &[]));
                    input.attributes.iter().for_each(|field| self.value(&field.value, &[]));
                    self.bind(&input.name, input.span, "input");
                }
                Part::Setting(setting) => match &setting.value {
                    SettingValue::Expr(Expr { kind: ExprKind::Call(call), .. })
                        if call.callee.text == "random" =>
                    {
                        call.operands.iter().for_each(|operand| self.value(operand, &[]));
                    }
                    SettingValue::Expr(value) => self.value(value, &[]),
                    SettingValue::Record(fields) => {
                        // How ranges are chosen is a word, which no value is.
                        let values = fields.iter().filter(|field| field.name.text != "ranges");
                        values.for_each(|field| self.value(&field.value, &[]));
                    }
                },
                Part::Statement(_) => {}
            }
        }
        self.outputs(model);
        for part in &model.parts {
            if let Part::Statement(statement) = part {
                match &statement.kind {
                    StatementKind::Output(value) => self.value(value, &[]),
                    StatementKind::Let { .. }
                    | StatementKind::Assign { .. }
                    | StatementKind::Repeat { .. }
                    | StatementKind::If { .. }
                    | StatementKind::Return(_) => self.statements(std::slice::from_ref(statement)),
                }
            }
        }
        self.leave();
    }

    /// A model has one output, at its top level.
    fn outputs(&mut self, model: &'a ModelDecl) {
        let mut outputs = model.parts.iter().filter_map(|part| match part {
            Part::Statement(Statement { kind: StatementKind::Output(_), span }) => Some(*span),
            Part::Statement(_) | Part::Setting(_) | Part::Input(_) => None,
        });
        let Some(first) = outputs.next() else {
            let message = format!("model {} has no output", quoted(&model.name.text));
            self.sink.report(
                Diagnostic::error("missing-output", message, model.name.span, "this model")
                    .hint("end the model with `output value`"),
            );
            return;
        };
        if let Some(second) = outputs.next() {
            self.sink.report(
                Diagnostic::error("misplaced", "a model has one output", second, "the second")
                    .also(first, "the first")
                    .hint("keep one; `concat` joins two tensors into one"),
            );
        }
    }

    fn statements(&mut self, body: &'a [Statement]) {
        for statement in body {
            match &statement.kind {
                StatementKind::Let { name, value } => {
                    self.value(value, &[]);
                    self.bind(name, statement.span, "name");
                }
                StatementKind::Assign { name, value } => {
                    self.value(value, &[]);
                    if !self.scopes.iter().any(|scope| scope.contains_key(name.text.as_str())) {
                        let message = format!("nothing named {} is declared here", quoted(&name.text));
                        self.sink.report(
                            Diagnostic::error("unknown-name", message, name.span, "assigned here")
                                .hint(format!("declare it first: `let {} = ...`", name.text)),
                        );
                    }
                }
                StatementKind::Repeat { count, body } => self.repeat(count, body, statement.span),
                StatementKind::If { branches, otherwise } => {
                    for (condition, body) in branches {
                        self.value(condition, &[]);
                        self.scoped(body);
                    }
                    if let Some(body) = otherwise {
                        self.scoped(body);
                    }
                }
                StatementKind::Output(value) => {
                    self.misplaced(statement.span, "`output` stands at the top level of the model");
                    self.value(value, &[]);
                }
                StatementKind::Return(value) => {
                    self.misplaced(statement.span, "`return` is the last statement of a block");
                    self.value(value, &[]);
                }
            }
        }
    }

    fn misplaced(&mut self, span: Span, message: &str) {
        let advice = "assign to a name that is declared before, and move this statement";
        self.sink.report(Diagnostic::error("misplaced", message, span, "out of place").hint(advice));
    }

    fn scoped(&mut self, body: &'a [Statement]) {
        self.scopes.push(BTreeMap::new());
        self.statements(body);
        self.leave();
    }

    fn repeat(&mut self, count: &'a Count, body: &'a [Statement], span: Span) {
        match count {
            Count::Times(times) => {
                self.value(times, &[]);
                self.scoped(body);
            }
            Count::Range { index, from, to } => {
                self.value(from, &[]);
                self.value(to, &[]);
                self.scopes.push(BTreeMap::new());
                self.bind(index, span, "index");
                self.scoped(body);
                self.leave();
            }
        }
    }

    fn bind(&mut self, name: &'a Ident, statement: Span, what: &'static str) {
        if RESERVED.contains(&name.text.as_str()) {
            self.clash(format!("{} is a word of the language", quoted(&name.text)), name, None);
        }
        let binding = Binding { span: name.span, statement, read: false, what };
        let shadowed = self.scopes.last_mut().and_then(|scope| scope.insert(&name.text, binding));
        if let Some(shadowed) = shadowed {
            self.unused(&name.text, &shadowed);
        }
    }

    fn leave(&mut self) {
        for (name, binding) in self.scopes.pop().unwrap_or_default() {
            self.unused(name, &binding);
        }
    }

    fn unused(&mut self, name: &str, binding: &Binding) {
        if binding.read || name.starts_with('_') {
            return;
        }
        if binding.what == "name" {
            self.blocks.unused.push(binding.statement);
        }
        let message = format!("nothing uses the {} {}", binding.what, quoted(name));
        let advice = match binding.what {
            "input" => "pass it to the first layer",
            "index" => "write `repeat n { ... }`, or use the index in a name: \"layer.{i}\"",
            _ => "remove it, or let its name begin with `_`",
        };
        self.sink
            .report(Diagnostic::warning("unused-name", message, binding.span, "declared here").hint(advice));
    }

    /// Marks a name as read; false if it is not known.
    fn read(&mut self, name: &str) -> bool {
        match self.scopes.iter_mut().rev().find_map(|scope| scope.get_mut(name)) {
            Some(binding) => {
                binding.read = true;
                true
            }
            None => false,
        }
    }

    /// An expression where `words` may stand beside names.
    fn value(&mut self, expr: &'a Expr, words: &[&str]) {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Decimal(_) | ExprKind::Pair(..) | ExprKind::Truth(_) => {}
            ExprKind::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Value(value) = piece {
                        self.value(value, &[]);
                    }
                }
            }
            ExprKind::Name(name) => {
                if !self.read(name) && !words.contains(&name.as_str()) {
                    self.unknown_name(name, expr.span, words);
                }
            }
            ExprKind::List(items) => items.iter().for_each(|item| self.value(item, &[])),
            ExprKind::Paren(inner) => self.value(inner, words),
            ExprKind::Call(call) => self.call(call, false),
            ExprKind::Pipe { first, stages } => {
                self.value(first, &[]);
                stages.iter().for_each(|stage| self.call(stage, true));
            }
            ExprKind::Prefix { operand, .. } => self.value(operand, &[]),
            ExprKind::Chain { first, rest } => {
                self.value(first, &[]);
                rest.iter().for_each(|(_, operand)| self.value(operand, &[]));
            }
        }
    }

    fn unknown_name(&mut self, name: &str, span: Span, words: &[&str]) {
        if self.sink.full() {
            return;
        }
        let known: Vec<&str> =
            self.scopes.iter().flat_map(BTreeMap::keys).copied().chain(words.iter().copied()).collect();
        // Whoever misspells a name has used it.
        if let Some(near) = nearest(name, known.iter().copied()) {
            self.read(near);
        }
        let advice = if Signature::of(name).is_some() || self.blocks.by_name.contains_key(name) {
            format!("a layer needs its operands: `{name}(x)` or `x |> {name}`")
        } else {
            hint(name, known, "known names")
        };
        let message = format!("nothing is named {} here", quoted(name));
        self.sink.report(Diagnostic::error("unknown-name", message, span, "not known").hint(advice));
    }
}
