//! The built-in block of striped convolutions.
//!
//! ```text
//! x [C, H, W] -> expand 1x1 (C -> M) -> activation -> shuffle
//!             -> cross (M -> M, stride) -> activation -> shuffle
//!             -> project 1x1 (M -> O) -> add(., skip) -> [O, H', W']
//! ```
//! `skip` is x itself if nothing changes size, else a 1x1 convolution with the stride. With
//! `stripes: auto`, they divide all channel counts at a depth and the capacity `c` of a ciphertext
//! there: without stride, expand, cross and project have `gcd(c, C, M, O)`; with stride, expand has
//! `gcd(c, C, M)` with c at the input's size, cross and project have `gcd(c, M, O)` with c at the
//! output's. The skip has `gcd(c, C, O)` with c at the output's. A shuffle has as many groups as the convolution behind it has stripes, and is
//! left out where it would change nothing.

use super::attributes::{Pair, find};
use super::capacity;
use super::expand::Expander;
use super::layer::{Adding, Input, gcd, stripes};
use super::names::Part;
use super::value::{Value, activation};
use crate::diag::Span;
use crate::graph::QuantAttributes;
use crate::layers::{Activation, Conv, Layer, Shuffle};
use crate::syntax::ast::{Call, Expr, Named};
use crate::tensor::{MAX_ELEMENTS, Pad, Shape, Support};

/// What a call of the block says, and what follows from it.
struct Design<'a> {
    call: &'a Call,
    out: usize,
    inner: usize,
    kernel: Pair,
    support: Support,
    stride: Pair,
    activation: Activation,
    shuffle: bool,
    /// Stripes of expand, of cross and project, of skip.
    stripes: (usize, usize, usize),
    weight_bits: Option<u32>,
}

impl<'a> Expander<'a> {
    /// Expands a call of `stria_block`; `x` is its operand, none if that is poison.
    pub(super) fn stria_block(&mut self, call: &'a Call, x: Option<(Input, Shape)>) -> Value {
        let design = self.design(call, x.as_ref().map(|(_, shape)| shape));
        let part = self.part(call, "stria_block");
        // Of the sum; the bits of the weights are those of its convolutions.
        let quant = QuantAttributes { weight_bits: None, ..self.quantisation(&call.attributes, &Layer::Add) };
        let (Some(design), Some((input, shape))) = (design, x) else {
            return Value::Poison;
        };
        let Some(outer) = self.open(part, call.span) else {
            return Value::Poison;
        };
        let result = self.build(&design, input, &shape, quant);
        self.scope = outer;
        result
    }

    fn design(&mut self, call: &'a Call, x: Option<&Shape>) -> Option<Design<'a>> {
        let given = call.attributes.as_slice();
        let kernel = match find(given, "kernel") {
            Some(expr) => self.centred_kernel(expr),
            None => Some(((3, 3), Support::Cross)),
        };
        let stride = self.pair_or(given, "stride", 1, Some((1, 1)));
        let shuffle = self.truth(given, "shuffle");
        let activation = match find(given, "activation") {
            Some(expr) => self.activation(expr),
            None => Some(Activation::Relu),
        };
        let weight_bits = self.bits(given, "weight_bits");
        let out = find(given, "out").map(|expr| self.bounded(expr, 1, MAX_ELEMENTS));
        let inner = self.unless_auto(given, "inner");
        let fixed = self.unless_auto(given, "stripes");
        let (x, stride, (kernel, support)) = (x?, stride?, kernel?);
        let out = out.unwrap_or(Some(x.channels()))?;
        let (h, w) = resized(x, kernel, stride);
        let behind = capacity(self.ring, h, w);
        let inner = inner?.unwrap_or_else(|| inner_width(out, behind));
        let stripes = match fixed? {
            Some(g) => (g, g, g),
            None => self.automatic(x, (inner, out), behind, stride),
        };
        let (activation, shuffle) = (activation?, shuffle?.unwrap_or(true));
        Some(Design { call, out, inner, kernel, support, stride, activation, shuffle, stripes, weight_bits })
    }

    /// A number of at least 1, none for `auto` or if absent.
    fn unless_auto(&mut self, given: &'a [Named], name: &str) -> Option<Option<usize>> {
        match find(given, name) {
            None => Some(None),
            Some(expr) => match self.word(expr) {
                Some("auto") => Some(None),
                Some(_) => None,
                None => self.bounded(expr, 1, MAX_ELEMENTS).map(Some),
            },
        }
    }

    fn activation(&mut self, expr: &'a Expr) -> Option<Activation> {
        if let Some(word) = self.word(expr) {
            return activation(word);
        }
        let value = self.value(expr);
        self.expect("`relu`, `relu6` or `square`", value, expr.span, value.activation())
    }

    /// The stripes of expand, of cross and project, of skip.
    fn automatic(
        &self,
        x: &Shape,
        (inner, out): (usize, usize),
        behind: usize,
        stride: Pair,
    ) -> (usize, usize, usize) {
        let (c, h, w) = x.chw();
        let skip = gcd(behind, gcd(c, out));
        if stride == (1, 1) {
            let g = gcd(skip, inner);
            return (g, g, skip);
        }
        (gcd(capacity(self.ring, h, w), gcd(c, inner)), gcd(behind, gcd(inner, out)), skip)
    }

    fn build(&mut self, d: &Design<'a>, x: Input, shape: &Shape, quant: QuantAttributes) -> Value {
        let at = d.call.span;
        let same = Pad { h: d.kernel.0 / 2, w: d.kernel.1 / 2 };
        let none = Pad { h: 0, w: 0 };
        let conv = |out, kernel, support, stride, pad, g| Conv {
            out,
            kernel,
            support,
            stride,
            pad,
            groups: stripes(g),
            bias: None,
        };
        let (front, back, aside) = d.stripes;
        let expand = conv(d.inner, (1, 1), Support::Full, (1, 1), none, front);
        let cross = conv(d.inner, d.kernel, d.support, d.stride, same, back);
        let project = conv(d.out, (1, 1), Support::Full, (1, 1), none, back);
        let skip = conv(d.out, (1, 1), Support::Full, d.stride, none, aside);
        let mut y = Value::Tensor(x.0);
        for (conv, name) in [(expand, "expand"), (cross, "cross"), (project, "project")] {
            let operand = if name == "expand" { x.1 } else { at };
            y = self.inside(d, Layer::Conv(conv), Some(name), &[(y, operand)]);
            if name != "project" {
                y = self.inside(d, Layer::Activation(d.activation), None, &[(y, at)]);
                if d.shuffle && back != 1 && back != d.inner {
                    y = self.inside(d, Layer::Shuffle(Shuffle { groups: back }), None, &[(y, at)]);
                }
            }
        }
        let mut around = Value::Tensor(x.0);
        if d.stride != (1, 1) || shape.channels() != d.out {
            around = self.inside(d, Layer::Conv(skip), Some("skip"), &[(around, x.1)]);
        }
        let (Value::Tensor(y), Value::Tensor(around)) = (y, around) else {
            return Value::Poison;
        };
        let part = Part::Counted("add".to_owned());
        let adding = Adding { layer: Layer::Add, part, quant, span: at, attributes: &d.call.attributes };
        self.add(adding, &[(y, at), (around, at)])
    }

    /// Adds a layer of the block.
    fn inside(
        &mut self,
        d: &Design<'a>,
        layer: Layer,
        name: Option<&str>,
        operands: &[(Value, Span)],
    ) -> Value {
        let mut inputs = Vec::new();
        for (value, span) in operands {
            let Value::Tensor(id) = value else {
                return Value::Poison;
            };
            inputs.push((*id, *span));
        }
        let part = match name {
            Some(name) => Part::Given(name.to_owned()),
            None => Part::Counted(layer.kind().to_owned()),
        };
        let weight_bits = d.weight_bits.filter(|_| matches!(layer, Layer::Conv(_)));
        let quant = QuantAttributes { weight_bits, ..QuantAttributes::default() };
        let adding = Adding { layer, part, quant, span: d.call.span, attributes: &d.call.attributes };
        self.add(adding, &inputs)
    }
}

/// Rows and columns behind the cross convolution, whose padding is half its kernel.
fn resized(x: &Shape, kernel: Pair, stride: Pair) -> Pair {
    let (_, h, w) = x.chw();
    let side = |n: usize, k: usize, s: usize| (n + 2 * (k / 2)).saturating_sub(k) / s + 1;
    (side(h, kernel.0, stride.0), side(w, kernel.1, stride.1))
}

/// `inner: auto`: 3/4 of `out`, rounded to a multiple of the capacity `c_n`, at least one and at most
/// `out`.
fn inner_width(out: usize, c_n: usize) -> usize {
    if c_n > out {
        return out;
    }
    let multiples = (3 * out + 2 * c_n) / (4 * c_n);
    (multiples.max(1) * c_n).min(out)
}

#[cfg(test)]
mod tests {
    use super::inner_width;

    #[test]
    fn the_inner_width_is_three_quarters_in_whole_ciphertexts() {
        assert_eq!(inner_width(128, 8), 96);
        assert_eq!(inner_width(64, 32), 64, "48 is 1.5 ciphertexts: rounded up");
        assert_eq!(inner_width(16, 32), 16);
        assert_eq!(inner_width(32, 32), 32);
        assert_eq!(inner_width(96, 32), 64, "72 is 2.25 ciphertexts");
    }
}
