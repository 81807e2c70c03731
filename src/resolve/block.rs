//! Calls of blocks: arguments, defaults, the body in a scope of its own.

use super::expand::{Expander, Operand};
use super::suggest::quoted;
use super::value::{Value, activation};
use crate::syntax::MAX_NESTING;
use crate::syntax::ast::{BlockDecl, Call, Expr, ExprKind, Param, Statement, StatementKind};
use std::collections::BTreeMap;

impl<'a> Expander<'a> {
    /// Expands a call of a block.
    #[inline(never)]
    pub(super) fn block(&mut self, call: &'a Call, block: &'a BlockDecl, piped: Option<Operand>) -> Value {
        let values = self.arguments(call, block, piped);
        let part = self.part(call, &block.name.text);
        if self.blocks.recursive.contains(block.name.text.as_str()) || self.is_stopped() {
            return Value::Poison;
        }
        if self.sink.calls.len() >= MAX_NESTING {
            let message = format!("blocks are nested deeper than the limit of {MAX_NESTING}");
            self.stop("nesting", message, call.span, "let blocks call fewer blocks");
            return Value::Poison;
        }
        let Some(outer_scope) = self.open(part, call.span) else {
            return Value::Poison;
        };
        self.sink.calls.push(call.span);
        let outer = self.replace_variables(vec![BTreeMap::new()]);
        self.bind_parameters(block, values);
        let result = self.block_body(block);
        self.replace_variables(outer);
        self.sink.calls.pop();
        self.scope = outer_scope;
        result
    }

    /// The values of the parameters that a call gives, evaluated where it stands.
    #[inline(never)]
    fn arguments(
        &mut self,
        call: &'a Call,
        block: &'a BlockDecl,
        piped: Option<Operand>,
    ) -> Vec<Option<Value>> {
        let mut values = Vec::new();
        for (i, param) in block.params.iter().enumerate() {
            let by_name = call.attributes.iter().find(|given| given.name.text == param.name.text);
            let position = i.checked_sub(usize::from(piped.is_some()));
            let given = match position {
                None => piped.map(|operand| self.fitting(param, operand)),
                Some(at) => call
                    .operands
                    .get(at)
                    .or(by_name.map(|given| &given.value))
                    .map(|expr| self.argument(param, expr)),
            };
            values.push(given);
        }
        values
    }

    /// Gives the parameters their values or defaults.
    #[inline(never)]
    fn bind_parameters(&mut self, block: &'a BlockDecl, values: Vec<Option<Value>>) {
        for (param, given) in block.params.iter().zip(values) {
            let value = match (given, &param.default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.argument(param, default),
                (None, None) => Value::Poison,
            };
            self.bind(&param.name.text, value);
        }
    }

    fn block_body(&mut self, block: &'a BlockDecl) -> Value {
        self.statements(&block.body);
        let Some(Statement { kind: StatementKind::Return(expr), .. }) = block.body.last() else {
            return Value::Poison;
        };
        let value = self.value(expr);
        let result = self.expect("a tensor as the block's result", value, expr.span, value.tensor());
        result.map_or(Value::Poison, Value::Tensor)
    }

    /// The value of a block's argument, of its parameter's type.
    fn argument(&mut self, param: &'a Param, expr: &'a Expr) -> Value {
        let is_activation = param.kind.as_ref().is_some_and(|kind| kind.text == "activation");
        if let ExprKind::Name(word) = &expr.kind
            && is_activation
            && !self.is_bound(word)
        {
            return activation(word).map_or(Value::Poison, Value::Activation);
        }
        let value = self.value(expr);
        self.fitting(param, Operand { value, span: expr.span })
    }

    /// The operand's value if it is of the parameter's type.
    fn fitting(&mut self, param: &'a Param, operand: Operand) -> Value {
        let kind = param.kind.as_ref().map_or("tensor", |kind| kind.text.as_str());
        let (wanted, fits) = match (kind, operand.value) {
            (_, Value::Poison) => return Value::Poison,
            ("tensor", value) => ("a tensor", matches!(value, Value::Tensor(_))),
            ("int", value) => ("an integer", matches!(value, Value::Int(_))),
            ("bool", value) => ("`true` or `false`", matches!(value, Value::Truth(_))),
            ("activation", value) => ("`relu`, `relu6` or `square`", matches!(value, Value::Activation(_))),
            ("kernel", value) => {
                ("a kernel such as 3x3", matches!(value, Value::Int(_) | Value::Pair(..) | Value::Kernel(..)))
            }
            _ => return Value::Poison,
        };
        if fits {
            return operand.value;
        }
        let name = quoted(&param.name.text);
        self.mismatch(&format!("{wanted} for {name}"), operand.value, operand.span);
        Value::Poison
    }
}
