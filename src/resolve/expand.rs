//! Executes the statements of a model: blocks and repeats are expanded, layers become nodes.
//!
//! The expansion is bounded: by layers, by steps, by the depth of blocks and of expressions. When a
//! bound is passed, that is reported once and everything stops. A mistake gives
//! [`Value::Poison`], about which nothing further is said.

use super::check::Blocks;
use super::names::{Names, Part, Scope};
use super::signature::{FUNCTIONS, Signature};
use super::sink::Sink;
use super::suggest::quoted;
use super::value::Value;
use crate::diag::{Diagnostic, Span};
use crate::graph::{Graph, MAX_LAYERS};
use crate::layers::Layer;
use crate::syntax::ast::{Call, Count, Expr, ExprKind, Statement, StatementKind};
use std::collections::BTreeMap;

/// The longest path of a block, in bytes.
const MAX_PATH: usize = 1024;

/// The most statements and expressions that are executed.
const MAX_STEPS: u32 = 4_000_000;

/// The deepest that expressions and statements are evaluated inside each other, over all blocks. Higher
/// than [`MAX_NESTING`], since each bracket and each block may hold several levels; low enough for the
/// stack of a thread (2 MiB) without optimisation.
const MAX_DEPTH: u32 = 768;

/// Values by name, innermost body last.
pub(super) type Variables<'a> = Vec<BTreeMap<&'a str, Value>>;

/// A value with the place that it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) value: Value,
    pub(super) span: Span,
}

/// The state of an expansion.
pub(super) struct Expander<'a> {
    pub(super) sink: Sink,
    pub(super) blocks: Blocks<'a>,
    /// Ring degree at which `auto` resolves.
    pub(super) ring: u32,
    pub(super) graph: Graph<Layer>,
    pub(super) names: Names,
    /// The scope of names that layers are added to.
    pub(super) scope: Scope,
    /// For each node the outermost block call that it came from.
    pub(super) sites: Vec<Option<Span>>,
    /// Values by name, innermost body last.
    variables: Variables<'a>,
    depth: u32,
    steps: u32,
    stopped: bool,
}

impl<'a> Expander<'a> {
    pub(super) fn new(blocks: Blocks<'a>, sink: Sink) -> Self {
        Self {
            sink,
            blocks,
            ring: super::header::DEFAULT_RING,
            graph: Graph::default(),
            names: Names::default(),
            scope: Scope::MODEL,
            sites: Vec::new(),
            variables: vec![BTreeMap::new()],
            depth: 0,
            steps: 0,
            stopped: false,
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.sink.report(diagnostic);
    }

    /// Reports that a bound is passed, and stops.
    pub(super) fn stop(&mut self, code: &'static str, message: String, span: Span, hint: &str) {
        if !self.stopped {
            self.report(Diagnostic::error(code, message, span, "the limit is passed here").hint(hint));
            self.stopped = true;
        }
    }

    /// Counts a step one level deeper; false if the expansion is over. Pairs with [`Self::exit`].
    pub(super) fn enter(&mut self, span: Span) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            let message = format!("the model takes more than {MAX_STEPS} steps to expand");
            self.stop("limit", message, span, "use fewer or shorter repeats");
        } else if self.depth >= MAX_DEPTH {
            let message = "blocks and expressions are nested too deep".to_owned();
            self.stop("nesting", message, span, "split the expression with `let`");
        }
        if self.stopped {
            return false;
        }
        self.depth += 1;
        true
    }

    /// Leaves the level that [`Self::enter`] entered.
    pub(super) fn exit(&mut self) {
        self.depth -= 1;
    }

    /// The value of a name; poison if there is none, which the check has reported.
    pub(super) fn lookup(&self, name: &str) -> Value {
        self.variables.iter().rev().find_map(|scope| scope.get(name)).copied().unwrap_or(Value::Poison)
    }

    /// Whether a value has this name.
    pub(super) fn is_bound(&self, name: &str) -> bool {
        self.variables.iter().any(|scope| scope.contains_key(name))
    }

    /// Gives a name to a value in the innermost body.
    pub(super) fn bind(&mut self, name: &'a str, value: Value) {
        if let Some(scope) = self.variables.last_mut() {
            scope.insert(name, value);
        }
    }

    /// Enters the scope of names that a call of a block opens; gives back the one around.
    pub(super) fn open(&mut self, part: Part, span: Span) -> Option<Scope> {
        let outer = self.scope;
        self.scope = self.names.scope(outer, part);
        if self.names.length(self.scope) > MAX_PATH {
            let message = format!("the names of nested blocks are longer than {MAX_PATH} bytes together");
            self.stop("limit", message, span, "use shorter names");
        } else if self.names.scopes() > MAX_LAYERS {
            let message = format!("the model calls blocks more than {MAX_LAYERS} times");
            self.stop("limit", message, span, "repeat less often");
        }
        if self.stopped {
            self.scope = outer;
            return None;
        }
        Some(outer)
    }

    /// Whether a bound was passed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Replaces all values that have names; gives back those before.
    pub(super) fn replace_variables(&mut self, with: Variables<'a>) -> Variables<'a> {
        std::mem::replace(&mut self.variables, with)
    }

    /// Executes statements in order.
    pub(super) fn statements(&mut self, body: &'a [Statement]) {
        for statement in body {
            if !self.enter(statement.span) {
                return;
            }
            self.statement(statement);
            self.exit();
        }
    }

    fn statement(&mut self, statement: &'a Statement) {
        match &statement.kind {
            StatementKind::Let { name, value } => {
                let value = self.value(value);
                self.bind(&name.text, value);
            }
            StatementKind::Assign { name, value: expr } => {
                let value = self.value(expr);
                let name = name.text.as_str();
                let Some(slot) = self.variables.iter_mut().rev().find_map(|scope| scope.get_mut(name)) else {
                    return;
                };
                let before = std::mem::replace(slot, value);
                let known = before != Value::Poison && value != Value::Poison;
                if known && std::mem::discriminant(&before) != std::mem::discriminant(&value) {
                    *slot = Value::Poison;
                    let (was, is) = (before.kind(), value.kind());
                    let message = format!("{} holds {was}, it cannot become {is}", quoted(name));
                    self.report(
                        Diagnostic::error("type-mismatch", message, expr.span, is)
                            .hint("declare another name with `let`"),
                    );
                }
            }
            StatementKind::Repeat { count, body } => self.repeat(count, body),
            StatementKind::If { branches, otherwise } => self.branch(branches, otherwise.as_deref()),
            // Out of place: the check has reported it.
            StatementKind::Output(_) | StatementKind::Return(_) => {}
        }
    }

    /// Executes a body whose names end with it.
    fn scoped(&mut self, body: &'a [Statement]) {
        self.variables.push(BTreeMap::new());
        self.statements(body);
        self.variables.pop();
    }

    fn branch(&mut self, branches: &'a [(Expr, Vec<Statement>)], otherwise: Option<&'a [Statement]>) {
        for (condition, body) in branches {
            let value = self.value(condition);
            match self.expect("a truth value", value, condition.span, value.truth()) {
                Some(true) => return self.scoped(body),
                Some(false) => {}
                None => {
                    branches.iter().for_each(|(_, body)| self.forget(body));
                    otherwise.into_iter().for_each(|body| self.forget(body));
                    return;
                }
            }
        }
        if let Some(body) = otherwise {
            self.scoped(body);
        }
    }

    /// Nothing is known any more of what `body` would assign.
    fn forget(&mut self, body: &'a [Statement]) {
        for statement in body {
            match &statement.kind {
                StatementKind::Assign { name, .. } => {
                    let found = self.variables.iter_mut().rev().find_map(|s| s.get_mut(name.text.as_str()));
                    if let Some(slot) = found {
                        *slot = Value::Poison;
                    }
                }
                StatementKind::Repeat { body, .. } => self.forget(body),
                StatementKind::If { branches, otherwise } => {
                    branches.iter().for_each(|(_, body)| self.forget(body));
                    otherwise.iter().for_each(|body| self.forget(body));
                }
                StatementKind::Let { .. } | StatementKind::Output(_) | StatementKind::Return(_) => {}
            }
        }
    }

    fn repeat(&mut self, count: &'a Count, body: &'a [Statement]) {
        let (index, bounds, span) = match count {
            Count::Times(times) => (None, self.integer(times).map(|n| (0, n)), times.span),
            Count::Range { index, from, to } => {
                let from_value = self.integer(from);
                let bounds = from_value.zip(self.integer(to));
                (Some(index.text.as_str()), bounds, from.span.to(to.span))
            }
        };
        let Some((from, to)) = bounds else {
            return self.forget(body);
        };
        let Some(times) = to.checked_sub(from).and_then(|n| u64::try_from(n).ok()) else {
            let message = format!("a repeat cannot run {from}..{to}");
            self.report(
                Diagnostic::error("attribute-value", message, span, "runs backwards")
                    .hint("use a count of 0 or more, or a range that rises"),
            );
            return self.forget(body);
        };
        let layers = (times.saturating_mul(least_layers(body)) as u128) + self.graph.len() as u128;
        if times > MAX_LAYERS as u64 || layers > MAX_LAYERS as u128 {
            let message = format!("{times} repeats expand to more than the limit of {MAX_LAYERS} layers");
            return self.stop("limit", message, span, "repeat less often");
        }
        for i in from..to {
            // An empty body takes a step too.
            if !self.enter(span) {
                return;
            }
            self.variables.push(BTreeMap::new());
            if let Some(index) = index {
                self.bind(index, Value::Int(i));
            }
            self.scoped(body);
            self.variables.pop();
            self.exit();
        }
    }

    /// A call; `piped` is the operand in front of it.
    pub(super) fn call(&mut self, call: &'a Call, piped: Option<Operand>) -> Value {
        let callee = call.callee.text.as_str();
        if let Some(block) = self.blocks.by_name.get(callee).copied() {
            return self.block(call, block, piped);
        }
        let operands = self.operands(call, piped);
        self.applied(call, &operands)
    }

    #[inline(never)]
    fn operands(&mut self, call: &'a Call, piped: Option<Operand>) -> Vec<Operand> {
        let mut operands = Vec::from_iter(piped);
        for operand in &call.operands {
            operands.push(Operand { value: self.value(operand), span: operand.span });
        }
        operands
    }

    /// A call of anything but a block, on its operands. Kept apart from the recursion over operands, whose
    /// frames must stay small.
    #[inline(never)]
    fn applied(&mut self, call: &'a Call, operands: &[Operand]) -> Value {
        let callee = call.callee.text.as_str();
        if let Some(signature) = Signature::of(callee) {
            return self.layer(call, signature, operands);
        }
        if FUNCTIONS.iter().any(|(word, ..)| *word == callee) {
            return self.function(call, operands);
        }
        let value = self.lookup(callee);
        let wanted = "a layer, a block or an activation";
        match self.expect(wanted, value, call.callee.span, value.activation()) {
            Some(function) => self.apply(call, Layer::Activation(function), operands),
            None => Value::Poison,
        }
    }

    /// The own name of a layer or block call: `word` and a counter if none is given.
    pub(super) fn part(&mut self, call: &'a Call, word: &str) -> Part {
        let given = call.attributes.iter().find(|attribute| attribute.name.text == "name");
        let given = given.and_then(|attribute| self.own_name(&attribute.value));
        given.map_or_else(|| Part::Counted(word.to_owned()), Part::Given)
    }
}

/// How many layers a body adds at least.
fn least_layers(body: &[Statement]) -> u64 {
    let is_layer = |call: &Call| u64::from(Signature::of(&call.callee.text).is_some());
    let of = |expr: &Expr| {
        if let ExprKind::Pipe { stages, .. } = &expr.kind {
            stages.iter().map(is_layer).sum()
        } else if let ExprKind::Call(call) = &expr.kind {
            is_layer(call)
        } else {
            0
        }
    };
    body.iter()
        .map(|statement| match &statement.kind {
            StatementKind::Let { value, .. } | StatementKind::Assign { value, .. } => of(value),
            StatementKind::Repeat { count: Count::Times(Expr { kind: ExprKind::Int(n), .. }), body } => {
                least_layers(body).saturating_mul(u64::try_from(*n).unwrap_or(0))
            }
            StatementKind::Repeat { .. }
            | StatementKind::If { .. }
            | StatementKind::Output(_)
            | StatementKind::Return(_) => 0,
        })
        .fold(0, u64::saturating_add)
}
