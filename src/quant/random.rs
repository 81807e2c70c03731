//! Random weights from a seed, for measurements of networks that were never trained.
//!
//! Each tensor depends on the seed and its own name alone, so that adding a layer leaves the others as
//! they were.

use crate::graph::Model;
use crate::layers::{Conv, Layer};
use crate::tensor::{Shape, Tensor};
use crate::weights::{WeightError, WeightSource};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// He-scaled uniform weights for every layer of one model. A batch normalisation gets weight 1, a small
/// bias, mean 0 and variance 1; optional biases are absent.
#[derive(Clone, Debug)]
pub struct RandomWeights {
    seed: u64,
    wanted: BTreeMap<String, Wanted>,
}

#[derive(Clone, Debug)]
struct Wanted {
    shape: Shape,
    filling: Filling,
}

#[derive(Clone, Debug)]
enum Filling {
    Constant(f32),
    /// Uniform on `-bound..bound`.
    Uniform(f32),
    /// Uniform with the bound that the fan-in of its support gives.
    Kernel(Conv),
}

impl RandomWeights {
    /// Weights of the shapes that `model` wants.
    #[must_use]
    pub fn for_model(model: &Model, seed: u64) -> Self {
        let mut wanted = BTreeMap::new();
        for id in model.graph.ids() {
            let node = model.graph.node(id);
            let Some(&input) = model.graph.input_shapes(id).first() else { continue };
            for weight in node.layer.weights(input).into_iter().filter(|w| !w.optional) {
                let filling = match (&node.layer, weight.suffix) {
                    (Layer::Conv(conv), "weight") => Filling::Kernel(*conv),
                    (Layer::Linear(_), "weight") => Filling::Uniform(he_bound(input.elements())),
                    (_, "weight" | "running_var") => Filling::Constant(1.0),
                    (_, "running_mean") => Filling::Constant(0.0),
                    (_, _) => Filling::Uniform(0.1),
                };
                let name = format!("{}.{}", node.name, weight.suffix);
                wanted.insert(name, Wanted { shape: weight.shape, filling });
            }
        }
        Self { seed, wanted }
    }

    fn stream(&self, name: &str) -> ChaCha12Rng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"stria random weights").update(&self.seed.to_le_bytes()).update(name.as_bytes());
        ChaCha12Rng::from_seed(hasher.finalize().into())
    }
}

impl WeightSource for RandomWeights {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.wanted.get(name).map(|w| w.shape.clone())
    }

    fn names(&self) -> Vec<String> {
        self.wanted.keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let wanted = self.wanted.get(name).ok_or_else(|| WeightError::Missing(name.to_string()))?;
        let mut rng = self.stream(name);
        let n = wanted.shape.elements();
        let data = match &wanted.filling {
            Filling::Constant(value) => vec![*value; n],
            Filling::Uniform(bound) => (0..n).map(|_| bound * symmetric(&mut rng)).collect(),
            Filling::Kernel(conv) => kernel(conv, n, &mut rng),
        };
        Ok(Tensor { shape: wanted.shape.clone(), data })
    }
}

/// Images of uniform noise between two bounds, for calibrating a network with random weights.
#[must_use]
pub fn random_images(shape: &Shape, (lo, hi): (f32, f32), count: usize, seed: u64) -> Vec<Tensor<f32>> {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let (middle, half) = (lo.midpoint(hi), (hi - lo) / 2.0);
    let mut image = || (0..shape.elements()).map(|_| middle + half * symmetric(&mut rng)).collect();
    (0..count).map(|_| Tensor { shape: shape.clone(), data: image() }).collect()
}

/// A kernel in the file's order of rows, zero where its support has no tap.
fn kernel(conv: &Conv, elements: usize, rng: &mut ChaCha12Rng) -> Vec<f32> {
    let taps = conv.kernel.0 * conv.kernel.1;
    let per = elements / conv.out.max(1);
    let mut data = vec![0.0; elements];
    for o in 0..conv.out {
        let has = |tap: usize| {
            conv.support.has((tap / conv.kernel.1, tap % conv.kernel.1), conv.kernel, o, conv.out)
        };
        let fan_in = per / taps.max(1) * (0..taps).filter(|&t| has(t)).count();
        let row = &mut data[conv.groups.file_row(o, conv.out) * per..][..per];
        for (_, w) in row.iter_mut().enumerate().filter(|(k, _)| has(k % taps)) {
            *w = he_bound(fan_in) * symmetric(rng);
        }
    }
    data
}

/// Half the width of the uniform distribution of variance `2 / fan_in`.
fn he_bound(fan_in: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a fan-in is far below 2^24")]
    let fan_in = fan_in.max(1) as f32;
    (6.0 / fan_in).sqrt()
}

/// Uniform on `-1..1`, 24 bits.
fn symmetric(rng: &mut ChaCha12Rng) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
    let unit = (rng.next_u32() >> 8) as f32 / 8_388_608.0;
    unit - 1.0
}
