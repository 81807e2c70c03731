//! Reading attributes: each reader gives a value of the wanted kind, or reports what it found.

use super::expand::Expander;
use super::suggest::quoted;
use super::value::Value;
use crate::diag::{Diagnostic, Span};
use crate::graph::QuantAttributes;
use crate::layers::{Activation, Layer};
use crate::syntax::ast::{Expr, ExprKind, Named};
use crate::tensor::{MAX_ELEMENTS, Pad, Support};

/// Rows and columns.
pub(super) type Pair = (usize, usize);

/// The attribute `name`, the first if there are several.
pub(super) fn find<'a>(attributes: &'a [Named], name: &str) -> Option<&'a Expr> {
    attributes.iter().find(|attribute| attribute.name.text == name).map(|attribute| &attribute.value)
}

/// What an expression is in words, if it has no value of its own.
pub(super) fn unreadable(expr: &Expr) -> Option<&'static str> {
    match &expr.kind {
        ExprKind::Decimal(_) => Some("a decimal number"),
        ExprKind::Text(_) => Some("a text"),
        ExprKind::List(_) => Some("a list"),
        ExprKind::Paren(inner) => unreadable(inner),
        ExprKind::Int(_)
        | ExprKind::Pair(..)
        | ExprKind::Truth(_)
        | ExprKind::Name(_)
        | ExprKind::Call(_)
        | ExprKind::Pipe { .. }
        | ExprKind::Prefix { .. }
        | ExprKind::Chain { .. } => None,
    }
}

/// The diagnostic for something else than what is wanted.
pub(super) fn mismatch(wanted: &str, found: &str, span: Span) -> Diagnostic {
    Diagnostic::error("type-mismatch", format!("expected {wanted}, found {found}"), span, found)
        .hint(format!("write {wanted} here"))
}

impl<'a> Expander<'a> {
    /// What was read of `value`, or a report that `wanted` was expected.
    pub(super) fn expect<T>(&mut self, wanted: &str, value: Value, span: Span, read: Option<T>) -> Option<T> {
        if read.is_none() {
            self.mismatch(wanted, value, span);
        }
        read
    }

    /// The value of `expr` as `read` sees it, or a report that `wanted` was expected.
    pub(super) fn read<T>(
        &mut self,
        wanted: &str,
        expr: &'a Expr,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        if let Some(found) = unreadable(expr) {
            self.report(mismatch(wanted, found, expr.span));
            return None;
        }
        let value = self.value(expr);
        self.expect(wanted, value, expr.span, read(value))
    }

    /// An integer.
    pub(super) fn integer(&mut self, expr: &'a Expr) -> Option<i64> {
        self.read("an integer", expr, Value::int)
    }

    /// An integer of `least..=most`.
    pub(super) fn bounded(&mut self, expr: &'a Expr, least: usize, most: usize) -> Option<usize> {
        let n = self.integer(expr)?;
        self.in_bounds(n, expr.span, least, most)
    }

    fn in_bounds(&mut self, n: i64, span: Span, least: usize, most: usize) -> Option<usize> {
        if let Some(n) = usize::try_from(n).ok().filter(|n| (least..=most).contains(n)) {
            return Some(n);
        }
        let bound = if most == MAX_ELEMENTS { "2^31".to_owned() } else { most.to_string() };
        let message = format!("expected an integer from {least} to {bound}, found {n}");
        self.report(
            Diagnostic::error("attribute-value", message, span, "out of range")
                .hint(format!("use {least} to {bound}")),
        );
        None
    }

    /// An integer attribute of `least` or more, or its default.
    pub(super) fn size_or(
        &mut self,
        attributes: &'a [Named],
        name: &str,
        least: usize,
        default: usize,
    ) -> Option<usize> {
        match find(attributes, name) {
            Some(expr) => self.bounded(expr, least, MAX_ELEMENTS),
            None => Some(default),
        }
    }

    /// A number of rows and columns, each `least` or more: `2x1`, or one number for both.
    pub(super) fn pair(&mut self, expr: &'a Expr, least: usize) -> Option<Pair> {
        let (rows, columns) = self.read("an integer or a size such as 3x3", expr, Value::pair)?;
        let rows = self.in_bounds(rows, expr.span, least, MAX_ELEMENTS)?;
        Some((rows, self.in_bounds(columns, expr.span, least, MAX_ELEMENTS)?))
    }

    /// The attribute `name` as [`Self::pair`], or its default.
    pub(super) fn pair_or(
        &mut self,
        attributes: &'a [Named],
        name: &str,
        least: usize,
        default: Option<Pair>,
    ) -> Option<Pair> {
        match find(attributes, name) {
            Some(expr) => self.pair(expr, least),
            None => default,
        }
    }

    /// A convolution's kernel: `3x3`, `3`, `cross(3)`, `strips(3)`.
    pub(super) fn kernel(&mut self, expr: &'a Expr) -> Option<(Pair, Support)> {
        let (rows, columns, support) = self.read("a kernel such as 3x3 or cross(3)", expr, Value::kernel)?;
        let rows = self.in_bounds(rows, expr.span, 1, MAX_ELEMENTS)?;
        Some(((rows, self.in_bounds(columns, expr.span, 1, MAX_ELEMENTS)?), support))
    }

    /// A kernel that padding by half its size keeps in the middle.
    pub(super) fn centred_kernel(&mut self, expr: &'a Expr) -> Option<(Pair, Support)> {
        let ((rows, columns), support) = self.kernel(expr)?;
        if rows % 2 == 1 && columns % 2 == 1 {
            return Some(((rows, columns), support));
        }
        let message = format!("this kernel has a middle, so its sizes must be odd, found {rows}x{columns}");
        self.report(
            Diagnostic::error("attribute-value", message, expr.span, "not odd").hint("use 3x3, 5x5 or 7x7"),
        );
        None
    }

    /// Padding: a number, rows x columns, `same` or `valid`; 0 if absent.
    pub(super) fn pad(&mut self, attributes: &'a [Named], kernel: Option<Pair>) -> Option<Pad> {
        let Some(expr) = find(attributes, "pad") else {
            return Some(Pad { h: 0, w: 0 });
        };
        match self.word(expr) {
            Some("valid") => Some(Pad { h: 0, w: 0 }),
            Some("same") => {
                let (kh, kw) = kernel?;
                if kh % 2 == 1 && kw % 2 == 1 {
                    return Some(Pad { h: kh / 2, w: kw / 2 });
                }
                let message = format!("`same` pads by (k - 1) / 2, which a {kh}x{kw} kernel does not allow");
                self.report(
                    Diagnostic::error("attribute-value", message, expr.span, "the kernel is even")
                        .hint("use an odd kernel, or give the padding as a number"),
                );
                None
            }
            Some(_) => None,
            None => self.pair(expr, 0).map(|(h, w)| Pad { h, w }),
        }
    }

    /// A word such as `same`, unless a value has that name.
    pub(super) fn word(&self, expr: &'a Expr) -> Option<&'a str> {
        if let ExprKind::Paren(inner) = &expr.kind {
            return self.word(inner);
        }
        if let ExprKind::Name(word) = &expr.kind {
            return Some(word.as_str()).filter(|word| !self.is_bound(word));
        }
        None
    }

    /// A truth value, or none if the attribute is absent.
    pub(super) fn truth(&mut self, attributes: &'a [Named], name: &str) -> Option<Option<bool>> {
        let Some(expr) = find(attributes, name) else {
            return Some(None);
        };
        self.read("`true` or `false`", expr, Value::truth).map(Some)
    }

    /// A number, or the default.
    pub(super) fn real_or(&mut self, attributes: &'a [Named], name: &str, default: f64) -> Option<f64> {
        match find(attributes, name) {
            Some(expr) => self.real(expr),
            None => Some(default),
        }
    }

    /// A bit width of 2 to 8.
    pub(super) fn bits(&mut self, attributes: &'a [Named], name: &str) -> Option<u32> {
        let expr = find(attributes, name)?;
        self.bounded(expr, 2, 8).and_then(|bits| u32::try_from(bits).ok())
    }

    /// What a call says of quantisation. After `layer`, a range of one number is `[0, R]` if the layer
    /// is a ReLU and `[-R, R]` otherwise.
    pub(super) fn quantisation(&mut self, attributes: &'a [Named], layer: &Layer) -> QuantAttributes {
        let clipped =
            matches!(layer, Layer::Activation(Activation::Relu) | Layer::Activation(Activation::Relu6));
        QuantAttributes {
            range: find(attributes, "range").and_then(|expr| self.range(expr, clipped)),
            bits: self.bits(attributes, "bits"),
            weight_bits: self.bits(attributes, "weight_bits"),
        }
    }

    fn range(&mut self, expr: &'a Expr, clipped: bool) -> Option<(f64, f64)> {
        let (low, high) = if let ExprKind::List(ends) = &expr.kind {
            let ends: Vec<f64> = ends.iter().map(|end| self.real(end)).collect::<Option<_>>()?;
            if let [low, high] = ends.as_slice() { (*low, *high) } else { (0.0, 0.0) }
        } else {
            let high = self.real(expr)?;
            (if clipped { 0.0 } else { -high }, high)
        };
        if low < high {
            return Some((low, high));
        }
        let message = "a range is one positive number R, or a list [lo, hi] with lo < hi";
        let found = quoted(&expr.to_string());
        self.report(
            Diagnostic::error("attribute-value", message, expr.span, format!("found {found}"))
                .hint("give the real values between which the layer's output lies, such as `range: 4.0`"),
        );
        None
    }
}
