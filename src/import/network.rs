//! The network as it is built from ONNX nodes: the language's layers with their operands and weights, in
//! topological order. Layers that do not reach the output are dropped before it is written.

use super::constant::{Constant, Numbers};
use crate::layers::{BatchNorm, Layer, ShapeError};
use crate::tensor::Shape;
use std::sync::Arc;

/// A layer in place.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) layer: Layer,
    /// Indices of earlier units.
    pub(super) operands: Vec<usize>,
    pub(super) shape: Shape,
    /// The weights, by the suffixes of [`Layer::weights`].
    pub(super) weights: Vec<(&'static str, Arc<Constant>)>,
    /// The ONNX node that it came from.
    pub(super) origin: String,
}

/// Units in topological order; the first is the input.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) units: Vec<Unit>,
    pub(super) output: usize,
}

impl Network {
    /// Adds a layer on `operands`.
    ///
    /// # Errors
    /// If the operands' shapes do not fit the layer.
    pub(super) fn add(
        &mut self,
        layer: Layer,
        operands: &[usize],
        weights: Vec<(&'static str, Arc<Constant>)>,
        origin: &str,
    ) -> Result<usize, ShapeError> {
        let shapes: Vec<&Shape> = operands.iter().map(|&i| &self.units[i].shape).collect();
        let shape = layer.infer(&shapes)?;
        let operands = operands.to_vec();
        self.units.push(Unit { layer, operands, shape, weights, origin: origin.to_owned() });
        Ok(self.units.len() - 1)
    }

    pub(super) fn shape(&self, unit: usize) -> &Shape {
        &self.units[unit].shape
    }

    /// Drops what does not reach the output; the input stays.
    pub(super) fn prune(&mut self) {
        let mut live = vec![false; self.units.len()];
        live[0] = true;
        live[self.output] = true;
        for i in (0..self.units.len()).rev() {
            if live[i] {
                self.units[i].operands.iter().for_each(|&o| live[o] = true);
            }
        }
        let mut moved = vec![0; live.len()];
        let mut next = 0;
        for (i, alive) in live.iter().enumerate() {
            moved[i] = next;
            next += usize::from(*alive);
        }
        let mut keep = live.iter();
        self.units.retain(|_| keep.next().copied().unwrap_or(false));
        for unit in &mut self.units {
            unit.operands.iter_mut().for_each(|o| *o = moved[*o]);
        }
        self.output = moved[self.output];
    }
}

impl Unit {
    /// The weight of this suffix.
    pub(super) fn weight(&self, suffix: &str) -> Option<&Arc<Constant>> {
        self.weights.iter().find(|(s, _)| *s == suffix).map(|(_, constant)| constant)
    }

    /// Scale and shift of every channel, if the unit is a batch normalisation of usable numbers.
    pub(super) fn affine(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let Layer::BatchNorm(norm) = self.layer else { return None };
        let part = |suffix| self.weight(suffix).map(|c| c.floats());
        let (weight, bias) = (part("weight")?, part("bias")?);
        let (mean, var) = (part("running_mean")?, part("running_var")?);
        let channels = weight.iter().zip(bias.iter()).zip(mean.iter().zip(var.iter()));
        channels
            .map(|((&w, &b), (&m, &v))| norm.affine(w, b, m, v))
            .collect::<Option<Vec<_>>>()
            .map(|v| v.into_iter().unzip())
    }
}

/// A batch normalisation that multiplies by `scale` and adds `shift`, channel by channel.
pub(super) fn scaling(
    name: &str,
    scale: Vec<f32>,
    shift: Vec<f32>,
) -> (Layer, Vec<(&'static str, Arc<Constant>)>) {
    let dims = vec![scale.len()];
    let constant = |data| Arc::new(Constant { name: name.to_owned(), dims: dims.clone(), data });
    let weights = vec![
        ("weight", constant(Numbers::Floats(scale))),
        ("bias", constant(Numbers::Floats(shift))),
        ("running_mean", constant(Numbers::Repeated(0.0))),
        ("running_var", constant(Numbers::Repeated(1.0))),
    ];
    (Layer::BatchNorm(BatchNorm { eps: 0.0 }), weights)
}
