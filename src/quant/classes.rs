//! Which scales depend on each other.
//!
//! Every channel of every value has a scale; in base-two logarithms it is `mul * x[var] + off + rho`, with
//! one unknown `x` for each class of scales, and one integer `rho` a node that shifts settle later (0 for
//! small values, -k for the accumulator of a layer with shift k). Convolutions open new classes, sums join
//! them, re-indexing permutes them, an average over n pixels moves `off` by `ceil(log2 n) - log2 n` and
//! `rho` by `-ceil(log2 n)`, a square doubles `mul`. Sums that no shift can align are a [`Conflict`].

use super::QuantError;
use super::skeleton::Skeleton;
use crate::graph::{IntLayer, NodeId};
use crate::tensor::Shape;
use std::collections::BTreeMap;

/// The most scales that are held at once, over all nodes.
const MAX_TERMS: usize = 1 << 24;
/// Squares without a linear layer between: beyond this power scales are not tracked.
const MAX_POWER: f64 = 65536.0;
const TOLERANCE: f64 = 1e-9;

/// The logarithm of a scale: `mul * x[var] + off`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) var: usize,
    pub(super) mul: f64,
    pub(super) off: f64,
}

impl Term {
    /// Its value, given all unknowns.
    pub(super) fn at(&self, x: &[f64]) -> f64 {
        self.mul * x[self.var] + self.off
    }

    /// The unknown at which the term has this value.
    pub(super) fn solve(&self, value: f64) -> f64 {
        (value - self.off) / self.mul
    }
}

/// An operand whose scale fits nothing else there: it must pass through a linear layer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Operand `position` of a node of the model.
    Operand {
        /// The model's node.
        user: NodeId,
        /// Which of its operands.
        position: usize,
    },
    /// The network's output.
    Output,
}

/// The scales of every node, in terms of the unknowns.
#[derive(Debug)]
pub(super) struct Classes {
    /// For each node one term a channel; every `var` is a representative.
    pub(super) terms: Vec<Vec<Term>>,
    /// How many unknowns there are.
    pub(super) vars: usize,
    /// For each sum, how far each operand's terms lie above the sum's.
    pub(super) alignment: BTreeMap<NodeId, Vec<i32>>,
}

/// Either the classes, or the first operand that prevents them.
pub(super) fn analyse(skeleton: &Skeleton) -> Result<Result<Classes, Conflict>, QuantError> {
    let mut unions = Unions { parent: Vec::new() };
    let mut terms: Vec<Vec<Term>> = Vec::new();
    let mut alignment = BTreeMap::new();
    let mut held = 0;
    for id in skeleton.graph.ids() {
        let node = skeleton.graph.node(id);
        held += node.shape.channels();
        if held > MAX_TERMS {
            return Err(QuantError::TooLarge { node: node.name.clone() });
        }
        let inputs = skeleton.graph.inputs(id);
        let operands: Vec<&[Term]> = inputs.iter().map(|i| terms[i.0 as usize].as_slice()).collect();
        let note = &skeleton.notes[id.0 as usize];
        let conflict = |position| Conflict::Operand { user: note.source, position };
        let own = if let IntLayer::Add { .. } = node.layer {
            match unions.align(&operands) {
                Ok(offsets) => alignment.insert(id, offsets),
                Err(position) => return Ok(Err(conflict(position))),
            };
            operands.first().map(|t| t.to_vec()).unwrap_or_default()
        } else {
            let uniform = note.quad.is_some() || note.clamp.is_some_and(|c| c.cap.is_some());
            let first = operands.first().copied().unwrap_or_default();
            if uniform && !unions.unify(first) {
                return Ok(Err(conflict(0)));
            }
            let shapes = skeleton.graph.input_shapes(id);
            let x = shapes.first().copied().unwrap_or(&node.shape);
            match unions.propagate(&node.layer, &operands, x, &node.shape) {
                Some(own) => own,
                None => return Ok(Err(conflict(0))),
            }
        };
        terms.push(own);
    }
    let output = skeleton.graph.output().0 as usize;
    if !unions.unify(&terms[output]) {
        return Ok(Err(Conflict::Output));
    }
    for term in terms.iter_mut().flatten() {
        *term = unions.root(*term);
    }
    Ok(Ok(Classes { terms, vars: unions.parent.len(), alignment }))
}

/// A forest of unknowns: each is `a * x[parent] + b`.
struct Unions {
    parent: Vec<(usize, f64, f64)>,
}

impl Unions {
    fn fresh(&mut self) -> Term {
        let var = self.parent.len();
        self.parent.push((var, 1.0, 0.0));
        Term { var, mul: 1.0, off: 0.0 }
    }

    /// The same scale by its class's representative; shortens the path on the way.
    fn root(&mut self, term: Term) -> Term {
        let mut path = Vec::new();
        let mut var = term.var;
        while self.parent[var].0 != var {
            path.push(var);
            var = self.parent[var].0;
        }
        let (mut a, mut b) = (1.0, 0.0);
        for step in path.into_iter().rev() {
            let (_, own_a, own_b) = self.parent[step];
            (a, b) = (own_a * a, own_a * b + own_b);
            self.parent[step] = (var, a, b);
        }
        Term { var, mul: term.mul * a, off: term.mul * b + term.off }
    }

    /// By how much `term` exceeds `base`, if both are of one class and the difference is constant.
    fn difference(&mut self, base: Term, term: Term) -> Difference {
        let (base, term) = (self.root(base), self.root(term));
        if base.var != term.var {
            return Difference::Free;
        }
        let difference = term.off - base.off;
        if same(base.mul, term.mul) && same(difference, difference.round()) {
            #[expect(clippy::cast_possible_truncation, reason = "offsets are small multiples of log2")]
            return Difference::Fixed(difference.round() as i32);
        }
        Difference::Never
    }

    /// Makes `term` exceed `base` by `difference`; false if it cannot.
    fn unite(&mut self, base: Term, term: Term, difference: i32) -> bool {
        match self.difference(base, term) {
            Difference::Fixed(found) => found == difference,
            Difference::Never => false,
            Difference::Free => {
                let (base, term) = (self.root(base), self.root(term));
                let own = (base.off + f64::from(difference) - term.off) / term.mul;
                self.parent[term.var] = (base.var, base.mul / term.mul, own);
                true
            }
        }
    }

    /// Gives all channels one scale; false if they cannot have one.
    fn unify(&mut self, terms: &[Term]) -> bool {
        terms.split_first().is_none_or(|(first, rest)| rest.iter().all(|t| self.unite(*first, *t, 0)))
    }

    /// Joins the operands of a sum channel by channel; gives how far each lies above the first, or the
    /// first operand that cannot be joined.
    fn align(&mut self, operands: &[&[Term]]) -> Result<Vec<i32>, usize> {
        let mut offsets = Vec::with_capacity(operands.len());
        for (position, operand) in operands.iter().enumerate() {
            let base = operands[0];
            let mut offset = 0;
            for (b, t) in base.iter().zip(*operand) {
                match self.difference(*b, *t) {
                    Difference::Free => {}
                    Difference::Never => return Err(position),
                    Difference::Fixed(found) => {
                        offset = found;
                        break;
                    }
                }
            }
            if !base.iter().zip(*operand).all(|(b, t)| self.unite(*b, *t, offset)) {
                return Err(position);
            }
            offsets.push(offset);
        }
        Ok(offsets)
    }

    /// The scales of a layer's output that is no sum; none if they cannot be tracked.
    fn propagate(
        &mut self,
        layer: &IntLayer,
        operands: &[&[Term]],
        x: &Shape,
        out: &Shape,
    ) -> Option<Vec<Term>> {
        let first = operands.first().copied().unwrap_or_default();
        let plane = x.elements() / x.channels().max(1);
        Some(match layer {
            IntLayer::Input(_) => vec![self.fresh(); out.channels()],
            IntLayer::Conv(_) | IntLayer::Linear(_) => (0..out.channels()).map(|_| self.fresh()).collect(),
            IntLayer::Add { .. } | IntLayer::Concat { .. } => operands.concat(),
            IntLayer::Shuffle(l) => (0..first.len()).map(|o| first[l.source(o, first.len())]).collect(),
            IntLayer::PadChannels(l) => {
                let mut own: Vec<_> = (0..l.before).map(|_| self.fresh()).collect();
                own.extend_from_slice(first);
                own.extend((0..l.after).map(|_| self.fresh()));
                own
            }
            IntLayer::SumPool(l) => {
                let n = l.divisor(x);
                let off = f64::from(ceil_log2(n)) - log2(n);
                first.iter().map(|t| Term { off: t.off + off, ..*t }).collect()
            }
            IntLayer::Subsample(_) | IntLayer::MaxPool(_) | IntLayer::Requant(_) => first.to_vec(),
            IntLayer::Poly { a: 1, b: 0, c: 0, requant } => {
                if first.iter().any(|t| self.root(*t).mul > MAX_POWER) {
                    return None;
                }
                let shift = f64::from(requant.shift);
                let square = |t: &Term| Term { mul: 2.0 * t.mul, off: 2.0 * t.off + shift, ..*t };
                first.iter().map(square).collect()
            }
            IntLayer::Poly { .. } => vec![self.fresh(); out.channels()],
            IntLayer::Flatten => first.iter().flat_map(|t| std::iter::repeat_n(*t, plane)).collect(),
        })
    }
}

enum Difference {
    /// The scales are of different classes.
    Free,
    /// They differ by this power of two.
    Fixed(i32),
    /// They depend on each other, but not by a power of two.
    Never,
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
}

/// The least power of two that is not below `n`.
pub(super) fn ceil_log2(n: usize) -> u32 {
    n.max(1).next_power_of_two().trailing_zeros()
}

fn log2(n: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a window has at most 2^31 pixels")]
    let n = n.max(1) as f64;
    n.log2()
}
