//! Evaluation of expressions: integers, truth values, kernels, texts; calls are handed on.

use super::attributes::{mismatch, unreadable};
use super::expand::{Expander, Operand};
use super::suggest::quoted;
use super::value::Value;
use crate::diag::{Diagnostic, Span};
use crate::syntax::ast::{Call, Expr, ExprKind, InfixOp, Piece, PrefixOp};
use crate::tensor::Support;

/// The longest name of a layer, without those of the blocks around.
const MAX_NAME: usize = 512;

impl<'a> Expander<'a> {
    /// The value of an expression; poison if there was a mistake, which is reported.
    pub(super) fn value(&mut self, expr: &'a Expr) -> Value {
        if !self.enter(expr.span) {
            return Value::Poison;
        }
        let value = self.value_of(expr);
        self.exit();
        value
    }

    fn value_of(&mut self, expr: &'a Expr) -> Value {
        match &expr.kind {
            ExprKind::Int(n) => Value::Int(*n),
            ExprKind::Pair(a, b) => Value::Pair(*a, *b),
            ExprKind::Truth(t) => Value::Truth(*t),
            ExprKind::Name(name) => self.lookup(name),
            ExprKind::Paren(inner) => self.value(inner),
            ExprKind::Decimal(_) | ExprKind::Text(_) | ExprKind::List(_) => self.no_value(expr),
            ExprKind::Call(call) => self.call(call, None),
            ExprKind::Pipe { first, stages } => {
                let mut operand = Operand { value: self.value(first), span: first.span };
                for stage in stages {
                    operand = Operand { value: self.call(stage, Some(operand)), span: stage.span };
                }
                operand.value
            }
            ExprKind::Prefix { operators, operand } => self.prefix(operators, operand),
            ExprKind::Chain { first, rest } => self.chain(first, rest),
        }
    }

    #[inline(never)]
    fn no_value(&mut self, expr: &Expr) -> Value {
        let found = unreadable(expr).unwrap_or("something else");
        let message = format!("expected an integer, a kernel or a tensor, found {found}");
        self.report(
            Diagnostic::error("type-mismatch", message, expr.span, found)
                .hint("write it at the attribute that takes it, such as `scale:`, `mean:` or `name:`"),
        );
        Value::Poison
    }

    /// Reports that `found` is not what is wanted here.
    pub(super) fn mismatch(&mut self, wanted: &str, found: Value, span: Span) {
        if found != Value::Poison {
            self.report(mismatch(wanted, found.kind(), span));
        }
    }

    #[inline(never)]
    fn prefix(&mut self, operators: &[PrefixOp], operand: &'a Expr) -> Value {
        let mut value = self.value(operand);
        for operator in operators.iter().rev() {
            value = match (operator, value) {
                (_, Value::Poison) => return Value::Poison,
                (PrefixOp::Minus, Value::Int(n)) => self.checked(n.checked_neg(), operand.span),
                (PrefixOp::Not, Value::Truth(t)) => Value::Truth(!t),
                (PrefixOp::Minus, other) => {
                    self.mismatch("an integer after `-`", other, operand.span);
                    return Value::Poison;
                }
                (PrefixOp::Not, other) => {
                    self.mismatch("a truth value after `!`", other, operand.span);
                    return Value::Poison;
                }
            };
        }
        value
    }

    /// A result that may have overflowed.
    fn checked(&mut self, result: Option<i64>, span: Span) -> Value {
        if let Some(n) = result {
            return Value::Int(n);
        }
        self.report(
            Diagnostic::error("overflow", "an integer leaves the range of 64 bits", span, "too large")
                .hint("use smaller numbers"),
        );
        Value::Poison
    }

    #[inline(never)]
    fn chain(&mut self, first: &'a Expr, rest: &'a [(InfixOp, Expr)]) -> Value {
        let mut left = self.value(first);
        let mut span = first.span;
        for (op, operand) in rest {
            // `&&` and `||` look at their right side only if it decides.
            match (op, left) {
                (InfixOp::And, Value::Truth(false)) | (InfixOp::Or, Value::Truth(true)) => return left,
                _ => {}
            }
            let right = self.value(operand);
            left = self.infix(*op, (left, span), (right, operand.span));
            span = span.to(operand.span);
            if left == Value::Poison {
                return Value::Poison;
            }
        }
        left
    }

    fn infix(&mut self, op: InfixOp, (left, at): (Value, Span), (right, to): (Value, Span)) -> Value {
        let whole = at.to(to);
        match (op, left, right) {
            (_, Value::Poison, _) | (_, _, Value::Poison) => Value::Poison,
            (InfixOp::And | InfixOp::Or, Value::Truth(_), Value::Truth(b)) => Value::Truth(b),
            (InfixOp::And | InfixOp::Or, Value::Truth(_), other) => {
                self.operand_mismatch("a truth value", op, other, to)
            }
            (InfixOp::And | InfixOp::Or, other, _) => self.operand_mismatch("a truth value", op, other, at),
            (InfixOp::Equal, Value::Truth(a), Value::Truth(b)) => Value::Truth(a == b),
            (InfixOp::NotEqual, Value::Truth(a), Value::Truth(b)) => Value::Truth(a != b),
            (_, Value::Int(a), Value::Int(b)) => self.arithmetic(op, a, b, whole, to),
            (_, Value::Int(_), other) => self.operand_mismatch("an integer", op, other, to),
            (_, other, _) => self.operand_mismatch("an integer", op, other, at),
        }
    }

    fn operand_mismatch(&mut self, wanted: &str, op: InfixOp, found: Value, span: Span) -> Value {
        let symbol = op.symbol();
        let message = format!("`{symbol}` takes {wanted}, found {}", found.kind());
        let advice = match found {
            Value::Tensor(_) => "add tensors by `add(a, b)`; their sizes are `channels(x)`, `height(x)`",
            Value::Poison
            | Value::Int(_)
            | Value::Truth(_)
            | Value::Pair(..)
            | Value::Kernel(..)
            | Value::Activation(_) => "compare or compute with integers, join conditions by `&&` and `||`",
        };
        self.report(Diagnostic::error("type-mismatch", message, span, found.kind()).hint(advice));
        Value::Poison
    }

    fn arithmetic(&mut self, op: InfixOp, a: i64, b: i64, whole: Span, divisor: Span) -> Value {
        if matches!(op, InfixOp::Over | InfixOp::Remainder) && b == 0 {
            self.report(
                Diagnostic::error("division-by-zero", "division by zero", divisor, "this is 0")
                    .hint("use another divisor, or guard it by `if`"),
            );
            return Value::Poison;
        }
        match op {
            InfixOp::Equal => Value::Truth(a == b),
            InfixOp::NotEqual => Value::Truth(a != b),
            InfixOp::Less => Value::Truth(a < b),
            InfixOp::LessEqual => Value::Truth(a <= b),
            InfixOp::Greater => Value::Truth(a > b),
            InfixOp::GreaterEqual => Value::Truth(a >= b),
            InfixOp::Plus => self.checked(a.checked_add(b), whole),
            InfixOp::Minus => self.checked(a.checked_sub(b), whole),
            InfixOp::Times => self.checked(a.checked_mul(b), whole),
            InfixOp::Over => self.checked(floor_div(a, b), whole),
            InfixOp::Remainder => {
                let remainder = floor_div(a, b).and_then(|q| q.checked_mul(b)).and_then(|p| a.checked_sub(p));
                self.checked(remainder, whole)
            }
            InfixOp::Or | InfixOp::And => Value::Poison,
        }
    }

    /// A call of one of [`super::signature::FUNCTIONS`] with its operands.
    #[inline(never)]
    pub(super) fn function(&mut self, call: &'a Call, operands: &[Operand]) -> Value {
        if operands.iter().any(|operand| operand.value == Value::Poison) {
            return Value::Poison;
        }
        match (call.callee.text.as_str(), operands) {
            ("min" | "max", [_, _, ..]) => {
                let mut numbers = Vec::new();
                for operand in operands {
                    numbers.extend(self.expect(
                        "an integer",
                        operand.value,
                        operand.span,
                        operand.value.int(),
                    ));
                }
                if numbers.len() < operands.len() {
                    return Value::Poison;
                }
                let best =
                    if call.callee.text == "min" { numbers.iter().min() } else { numbers.iter().max() };
                best.map_or(Value::Poison, |n| Value::Int(*n))
            }
            ("cross", [size]) => self.odd_kernel(*size, Support::Cross),
            ("strips", [size]) => self.odd_kernel(*size, Support::Strips),
            (name, [operand]) => {
                let Some(id) = self.expect("a tensor", operand.value, operand.span, operand.value.tensor())
                else {
                    return Value::Poison;
                };
                let shape = &self.graph.node(id).shape;
                let (c, h, w) = shape.chw();
                let size = match name {
                    "channels" => c,
                    "height" => h,
                    "width" => w,
                    "features" => shape.elements(),
                    _ => super::capacity(self.ring, h, w),
                };
                i64::try_from(size).map_or(Value::Poison, Value::Int)
            }
            _ => Value::Poison,
        }
    }

    fn odd_kernel(&mut self, size: Operand, support: Support) -> Value {
        let Some(k) = self.expect("an odd integer", size.value, size.span, size.value.int()) else {
            return Value::Poison;
        };
        if k >= 1 && k % 2 == 1 {
            return Value::Kernel(k, support);
        }
        let message = format!("this kernel has a middle, so its size must be odd, found {k}");
        self.report(
            Diagnostic::error("attribute-value", message, size.span, "not odd").hint("use 3, 5 or 7"),
        );
        Value::Poison
    }

    /// A text with its values filled in; of one that is too long for a name, the beginning.
    fn text(&mut self, expr: &'a Expr) -> Option<String> {
        let ExprKind::Text(pieces) = &expr.kind else {
            // Anything else was reported by the check.
            return None;
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => text.extend(plain.chars().take(MAX_NAME + 1)),
                Piece::Value(expr) => {
                    let value = self.value(expr);
                    let number = self.expect("an integer in a text", value, expr.span, value.int())?;
                    text.push_str(&number.to_string());
                }
            }
            if text.len() > MAX_NAME {
                break;
            }
        }
        Some(text)
    }

    /// A real number: here `/` is exact.
    pub(super) fn real(&mut self, expr: &'a Expr) -> Option<f64> {
        if !self.enter(expr.span) {
            return None;
        }
        let real = self.real_of(expr);
        self.exit();
        if real.is_some_and(|r| !r.is_finite()) {
            self.report(
                Diagnostic::error("overflow", "expected a finite number", expr.span, "not finite")
                    .hint("check the divisor"),
            );
            return None;
        }
        real
    }

    #[expect(clippy::cast_precision_loss, reason = "an integer that stands for a real number")]
    fn real_of(&mut self, expr: &'a Expr) -> Option<f64> {
        match &expr.kind {
            ExprKind::Decimal(decimal) => Some(decimal.value),
            ExprKind::Paren(inner) => self.real(inner),
            ExprKind::Prefix { operators, operand } if operators.iter().all(|op| *op == PrefixOp::Minus) => {
                let value = self.real(operand)?;
                Some(if operators.len() % 2 == 1 { -value } else { value })
            }
            ExprKind::Chain { first, rest } => {
                let mut left = self.real(first)?;
                for (op, operand) in rest {
                    let right = self.real(operand)?;
                    left = match op {
                        InfixOp::Plus => left + right,
                        InfixOp::Minus => left - right,
                        InfixOp::Times => left * right,
                        InfixOp::Over if right == 0.0 => {
                            self.arithmetic(InfixOp::Over, 0, 0, expr.span, operand.span);
                            return None;
                        }
                        InfixOp::Over => left / right,
                        InfixOp::Or
                        | InfixOp::And
                        | InfixOp::Equal
                        | InfixOp::NotEqual
                        | InfixOp::Less
                        | InfixOp::LessEqual
                        | InfixOp::Greater
                        | InfixOp::GreaterEqual
                        | InfixOp::Remainder => {
                            let message = format!("expected a number, found a result of `{}`", op.symbol());
                            self.report(
                                Diagnostic::error("type-mismatch", message, expr.span, "not a number")
                                    .hint("use `+`, `-`, `*` and `/`"),
                            );
                            return None;
                        }
                    };
                }
                Some(left)
            }
            ExprKind::Int(_)
            | ExprKind::Pair(..)
            | ExprKind::Text(_)
            | ExprKind::Truth(_)
            | ExprKind::Name(_)
            | ExprKind::List(_)
            | ExprKind::Call(_)
            | ExprKind::Pipe { .. }
            | ExprKind::Prefix { .. } => {
                let value = self.value(expr);
                self.expect("a number", value, expr.span, value.int()).map(|n| n as f64)
            }
        }
    }

    /// The name of a layer or block call, if it is given and valid.
    pub(super) fn own_name(&mut self, expr: &'a Expr) -> Option<String> {
        let name = self.text(expr)?;
        let odd = |c: char| c.is_control() || c.is_whitespace();
        let reason = if name.is_empty() {
            "a name cannot be empty"
        } else if name.len() > MAX_NAME {
            "a name has at most 512 bytes"
        } else if name.contains(odd) {
            "a name has no spaces"
        } else if name.split('.').any(str::is_empty) {
            "the parts of a name between its dots cannot be empty"
        } else {
            return Some(name);
        };
        self.report(
            Diagnostic::error("attribute-value", reason, expr.span, format!("found {}", quoted(&name)))
                .hint("name layers as in PyTorch's state_dict: `layer1.0.conv1`"),
        );
        None
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

#[cfg(test)]
mod tests {
    use super::floor_div;

    #[test]
    fn division_rounds_down() {
        assert_eq!(floor_div(7, 2), Some(3));
        assert_eq!(floor_div(-7, 2), Some(-4));
        assert_eq!(floor_div(7, -2), Some(-4));
        assert_eq!(floor_div(-8, 2), Some(-4));
        assert_eq!(floor_div(i64::MIN, -1), None);
    }
}
