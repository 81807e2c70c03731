//! Fully connected layers by hybrid diagonals (GAZELLE).
//!
//! With `i = np2(in)` and `d = ceil(i * np2(out) / N)` the input is repeated every `i` slots; segment `q`
//! of `i` slots computes outputs `q*d .. q*d + d`:
//! ```text
//! p_k[u] = W[out(u - k), u mod i] * x[u mod i],   out(u) = q*d + (u mod d),   k < d
//! y = fold_{d, 2d, .. i/2}( sum_k rot_k(p_k) )    output q*d + r at slot q*i + r
//! ```
//! That is d products, `d - 1 + log2(i / d)` rotations. More than N/2 inputs are split over ciphertexts
//! whose products are summed before the rotations; more than N outputs take further ciphertexts. A block
//! is one slot: every rotation is external.

use super::chain::{rotated_sum, signed};
use super::{KernelError, MAX_TERMS, check_features, check_ring, narrow};
use crate::circuit::{BlockGeometry, Builder, PlainId, Segment};
use crate::layout::{Features, Packing};
use crate::tensor::Shape;

/// The hybrid kernel of one fully connected layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    ring: usize,
    inputs: usize,
    outputs: usize,
    /// Slots of a segment: `i`.
    period: usize,
    /// Outputs of a segment: `d`.
    diagonals: usize,
    input: Packing,
    output: Packing,
    /// The products, output by output, in it by falling `k`; a plaintext's id is its place here.
    terms: Vec<Term>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    output: u32,
    diagonal: u32,
    input: u32,
}

impl Linear {
    pub(super) fn new(inputs: usize, outputs: usize, ring: usize) -> Result<Self, KernelError> {
        check_ring(ring)?;
        check_features(inputs, outputs)?;
        let period = inputs.next_power_of_two().min(ring / 2);
        let diagonals = (period * outputs.next_power_of_two().min(ring)).div_ceil(ring);
        let per_output = diagonals * (ring / period);
        let input = Features {
            ring,
            len: inputs,
            pitch: period,
            width: period.min(inputs),
            advance: 0,
            per_ciphertext: period,
        };
        let output = Features {
            ring,
            len: outputs,
            pitch: period,
            width: diagonals,
            advance: diagonals,
            per_ciphertext: per_output,
        };
        let (input, output) = (Packing::Features(input), Packing::Features(output));
        let mut linear = Self { ring, inputs, outputs, period, diagonals, input, output, terms: Vec::new() };
        linear.list_terms()?;
        Ok(linear)
    }

    pub(super) fn input(&self) -> &Packing {
        &self.input
    }

    pub(super) fn output(&self) -> &Packing {
        &self.output
    }

    /// How many it takes.
    pub(super) fn rotations(&self) -> u64 {
        let folds = u64::from((self.period / self.diagonals).ilog2());
        self.output.ciphertexts() as u64 * (self.diagonals as u64 - 1 + folds)
    }

    pub(super) fn weight_shape(&self) -> Shape {
        Shape::of(&[self.outputs, self.inputs])
    }

    pub(super) fn emit(&self, layer: &str) -> Segment {
        let geometry = BlockGeometry { block: 1, reach: 0 };
        let inputs = narrow(self.input.ciphertexts());
        let mut builder = Builder::new(layer, narrow(self.ring), geometry, inputs);
        for terms in self.terms.chunk_by(|a, b| a.output == b.output) {
            let parts: Vec<(usize, &[Term])> = terms
                .chunk_by(|a, b| a.diagonal == b.diagonal)
                .map(|terms| (terms[0].diagonal as usize, terms))
                .collect();
            let mut value = rotated_sum(&mut builder, 1, &parts, |builder, terms| {
                let operands: Vec<_> =
                    terms.iter().map(|t| (builder.input(t.input), builder.plain())).collect();
                builder.dot(operands)
            });
            let mut step = self.diagonals;
            while step < self.period {
                let turned = builder.rotate(value, signed(step));
                value = builder.add(value, turned);
                step *= 2;
            }
            builder.output(value);
        }
        builder.finish()
    }

    pub(super) fn fill(&self, weights: &[i8], id: PlainId, slots: &mut [i64]) {
        let Some(&term) = self.terms.get(id.0 as usize) else { return };
        for (slot, value) in slots.iter_mut().enumerate().take(self.ring) {
            if let Some((row, column)) = self.weight(term, slot) {
                *value = i64::from(weights[row * self.inputs + column]);
            }
        }
    }

    /// How many plaintexts it has.
    pub(super) fn products(&self) -> usize {
        self.terms.len()
    }

    /// Whether plaintext `id` is zero under `weights`.
    pub(super) fn is_zero(&self, weights: &[i8], id: PlainId) -> bool {
        let Some(&term) = self.terms.get(id.0 as usize) else { return true };
        let mut read = (0..self.ring).filter_map(|slot| self.weight(term, slot));
        read.all(|(row, column)| weights[row * self.inputs + column] == 0)
    }

    /// Row and column of the weight in `slot` of a term's plaintext. All sizes are powers of two.
    fn weight(&self, term: Term, slot: usize) -> Option<(usize, usize)> {
        let half = self.ring / 2;
        let column = term.input as usize * self.period + (slot & (self.period - 1));
        let turned = slot.wrapping_sub(term.diagonal as usize) & (half - 1);
        let target = (slot & half) | turned;
        let segment = target >> self.period.ilog2();
        let first = term.output as usize * self.diagonals * (self.ring / self.period);
        let row = first + segment * self.diagonals + (target & (self.diagonals - 1));
        (column < self.inputs && row < self.outputs).then_some((row, column))
    }

    fn list_terms(&mut self) -> Result<(), KernelError> {
        let (inputs, outputs) = (self.input.ciphertexts(), self.output.ciphertexts());
        if outputs.saturating_mul(self.diagonals).saturating_mul(inputs) > MAX_TERMS {
            return Err(KernelError::TooLarge { limit: MAX_TERMS });
        }
        for output in 0..outputs {
            for diagonal in (0..self.diagonals).rev() {
                for input in 0..inputs {
                    let term =
                        Term { output: narrow(output), diagonal: narrow(diagonal), input: narrow(input) };
                    if (0..self.ring).any(|slot| self.weight(term, slot).is_some()) {
                        self.terms.push(term);
                    }
                }
            }
        }
        Ok(())
    }
}
