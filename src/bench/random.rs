//! Random weights and values from a seed. Each tensor depends on the seed and its layer's name alone.

use crate::graph::{Affine, IntNetwork, Interval, LayerWeights, NodeId};
use crate::mpc::Modulus;
use crate::tensor::{Shape, Tensor};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// The stream of the layer `name` for one purpose.
pub(super) fn stream(seed: u64, purpose: &str, name: &str) -> ChaCha12Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"stria bench ").update(purpose.as_bytes()).update(&seed.to_le_bytes());
    ChaCha12Rng::from_seed(hasher.update(name.as_bytes()).finalize().into())
}

/// `n` uniform residues, by rejection. They hide nothing: they are drawn from a seed.
fn residues(t: Modulus, n: usize, stream: &mut ChaCha12Rng) -> Vec<u64> {
    let mask = u64::MAX >> (u64::BITS - t.bits());
    let drawn = std::iter::repeat_with(|| stream.next_u64() & mask);
    drawn.filter(|&r| r < t.value()).take(n).collect()
}

/// Uniform residues in these of `ring` places, or in all; 0 elsewhere.
pub(super) fn mask(t: Modulus, ring: usize, places: Option<&[u32]>, stream: &mut ChaCha12Rng) -> Vec<u64> {
    let Some(places) = places else { return residues(t, ring, stream) };
    let mut values = vec![0; ring];
    for (&place, mask) in places.iter().zip(residues(t, places.len(), stream)) {
        values[place as usize] = mask;
    }
    values
}

/// Two random shares of the operand of the layer `name`.
pub(super) fn shares(t: Modulus, values: &[i64], name: &str, seed: u64) -> [Vec<u64>; 2] {
    let first = residues(t, values.len(), &mut stream(seed, "shares", name));
    let second = values.iter().zip(&first).map(|(&x, &r)| t.sub(t.residue(x), r)).collect();
    [first, second]
}

/// Uniform in the interval; the bias of the remainder does not matter here.
fn uniform(interval: Interval, rng: &mut ChaCha12Rng) -> i64 {
    let span = interval.hi.abs_diff(interval.lo).saturating_add(1).max(1);
    interval.lo.saturating_add_unsigned(rng.next_u64() % span)
}

/// Weights of the linear layer `id`, uniform in the range of its bits, zero where the kernel has no tap; no
/// bias. None if the node is no linear layer.
#[must_use]
pub fn random_weights(network: &IntNetwork, id: NodeId, seed: u64) -> Option<LayerWeights> {
    let node = network.graph.node(id);
    let input = network.graph.input_shapes(id).first().copied()?.clone();
    let bits = node.quant.weight_bits.unwrap_or(network.header.weight_bits).clamp(2, 8);
    let largest = (1_i64 << (bits - 1)) - 1;
    let mut rng = stream(seed, "weights", &node.name);
    let mut draw = || i8::try_from(uniform(Interval { lo: -largest, hi: largest }, &mut rng)).unwrap_or(0);
    let affine = node.layer.affine()?;
    let shape = affine.weight_shape(&input);
    let mut data: Vec<i8> = (0..shape.elements()).map(|_| draw()).collect();
    if let Affine::Conv(conv) = affine {
        let taps = conv.kernel.0 * conv.kernel.1;
        let row = (shape.elements() / conv.out.max(1)).max(1);
        for (at, weight) in data.iter_mut().enumerate() {
            let tap = (at % taps / conv.kernel.1, at % taps % conv.kernel.1);
            if !conv.support.has(tap, conv.kernel, at / row, conv.out) {
                *weight = 0;
            }
        }
    }
    let bias = Arc::new(vec![0; affine.out()]);
    Some(LayerWeights { weight: Arc::new(Tensor { shape, data }), bias })
}

/// Values of an operand of the layer `name`, uniform within `bounds`.
#[must_use]
pub fn random_values(shape: &Shape, bounds: Interval, name: &str, seed: u64) -> Tensor<i64> {
    let mut rng = stream(seed, "values", name);
    Tensor { shape: shape.clone(), data: (0..shape.elements()).map(|_| uniform(bounds, &mut rng)).collect() }
}
