//! The float meaning of a model: its weights loaded, and the graph evaluated on an image.
//!
//! In memory row `o` of a weight is output channel `o`; rows of striped convolutions are reordered while
//! loading, and zeros that a kernel's support declares are checked. Floats serve ranges and comparisons;
//! they are not the reference.

use super::QuantError;
use crate::graph::{Model, NodeId, walk};
use crate::layers::{BatchNorm, Conv, FloatLayer, Layer};
use crate::tensor::{Shape, Tensor};
use crate::weights::WeightSource;
use std::collections::BTreeMap;

/// All float weights of a model, by node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatWeights(pub BTreeMap<NodeId, FloatLayer>);

impl FloatWeights {
    /// Loads what the model's layers want, by node name.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, not finite, or breaks a promise (a tap outside of the
    /// declared support, a variance that is not positive); the tensor is named.
    pub fn load(model: &Model, source: &dyn WeightSource) -> Result<Self, QuantError> {
        let mut table = BTreeMap::new();
        for id in model.graph.ids() {
            let node = model.graph.node(id);
            let Some(&input) = model.graph.input_shapes(id).first() else { continue };
            let mut parts = BTreeMap::new();
            for wanted in node.layer.weights(input) {
                let name = format!("{}.{}", node.name, wanted.suffix);
                match source.shape(&name) {
                    None if wanted.optional => {}
                    Some(found) if found != wanted.shape => {
                        return Err(QuantError::WeightShape { name, found, wanted: wanted.shape });
                    }
                    None | Some(_) => {
                        parts.insert(wanted.suffix, load(source, name, &wanted.shape)?);
                    }
                }
            }
            if let Some(layer) = assemble(&node.name, &node.layer, parts)? {
                table.insert(id, layer);
            }
        }
        Ok(Self(table))
    }
}

/// The model's output for a normalised image.
///
/// # Errors
/// If the image or the weights do not fit the model.
pub fn float_eval(
    model: &Model,
    weights: &FloatWeights,
    image: &Tensor<f32>,
) -> Result<Tensor<f32>, QuantError> {
    float_eval_with(model, weights, image, &mut |_, _| {})
}

/// As [`float_eval`], showing each node's value as it is computed.
///
/// # Errors
/// As [`float_eval`].
pub fn float_eval_with(
    model: &Model,
    weights: &FloatWeights,
    image: &Tensor<f32>,
    visit: &mut dyn FnMut(NodeId, &Tensor<f32>),
) -> Result<Tensor<f32>, QuantError> {
    let graph = &model.graph;
    let wanted = &graph.node(NodeId(0)).shape;
    if image.shape != *wanted || image.data.len() != wanted.elements() {
        return Err(QuantError::ImageShape { found: image.shape.clone(), wanted: wanted.clone() });
    }
    let output = walk(graph, |id, operands: &[&Tensor<f32>]| {
        let node = graph.node(id);
        let value = match (&node.layer, operands) {
            (Layer::Input, []) => Some(image.clone()),
            (layer, [x, ..]) => {
                let layer_weights = weights.0.get(&id);
                fits(layer, &x.shape, layer_weights).then(|| layer.apply(operands, layer_weights)).flatten()
            }
            (_, []) => None,
        };
        let value = value.ok_or_else(|| QuantError::Weights { node: node.name.clone() })?;
        visit(id, &value);
        Ok::<_, QuantError>(value)
    })?;
    output.ok_or_else(|| QuantError::Weights { node: graph.node(graph.output()).name.clone() })
}

/// Whether the weights have the shapes that the layer wants.
pub(super) fn fits(layer: &Layer, x: &Shape, weights: Option<&FloatLayer>) -> bool {
    let wanted = layer.weights(x);
    let length = |suffix| wanted.iter().find(|w| w.suffix == suffix).map(|w| w.shape.elements());
    match weights {
        None => wanted.is_empty(),
        Some(FloatLayer::Linear { weight, bias }) => {
            length("running_var").is_none()
                && length("weight") == Some(weight.data.len())
                && bias.as_ref().is_none_or(|b| length("bias") == Some(b.len()))
        }
        Some(FloatLayer::Norm { scale, shift }) => {
            length("running_var") == Some(scale.len()) && scale.len() == shift.len()
        }
    }
}

fn load(source: &dyn WeightSource, name: String, wanted: &Shape) -> Result<Tensor<f32>, QuantError> {
    let tensor = source.load(&name)?;
    if tensor.shape != *wanted || tensor.data.len() != wanted.elements() {
        return Err(QuantError::WeightShape { name, found: tensor.shape, wanted: wanted.clone() });
    }
    if tensor.data.iter().any(|v| !v.is_finite()) {
        return Err(QuantError::NotFinite { name });
    }
    Ok(tensor)
}

fn assemble(
    name: &str,
    layer: &Layer,
    mut parts: BTreeMap<&'static str, Tensor<f32>>,
) -> Result<Option<FloatLayer>, QuantError> {
    let Some(weight) = parts.remove("weight") else { return Ok(None) };
    let mut part = |suffix| parts.remove(suffix).map(|t| t.data);
    if let Layer::BatchNorm(norm) = layer {
        let (bias, mean, var) = (part("bias"), part("running_mean"), part("running_var"));
        let (Some(bias), Some(mean), Some(var)) = (bias, mean, var) else { return Ok(None) };
        return normalisation(name, *norm, &weight.data, &bias, &mean, &var).map(Some);
    }
    let bias = match (part("bias"), layer) {
        (Some(b), Layer::Conv(conv)) => {
            Some((0..conv.out).filter_map(|o| b.get(conv.groups.file_row(o, conv.out)).copied()).collect())
        }
        (bias, _) => bias,
    };
    let weight = if let Layer::Conv(conv) = layer { in_memory(name, conv, weight)? } else { weight };
    Ok(Some(FloatLayer::Linear { weight, bias }))
}

fn normalisation(
    name: &str,
    norm: BatchNorm,
    weight: &[f32],
    bias: &[f32],
    mean: &[f32],
    var: &[f32],
) -> Result<FloatLayer, QuantError> {
    let (mut scale, mut shift) = (Vec::new(), Vec::new());
    for (((w, b), m), v) in weight.iter().zip(bias).zip(mean).zip(var) {
        let (s, t) = norm
            .affine(*w, *b, *m, *v)
            .ok_or_else(|| QuantError::NotFinite { name: format!("{name}.running_var") })?;
        scale.push(s);
        shift.push(t);
    }
    Ok(FloatLayer::Norm { scale, shift })
}

/// Brings the rows of a file's weight in the order of the output channels and checks declared zeros.
fn in_memory(name: &str, conv: &Conv, file: Tensor<f32>) -> Result<Tensor<f32>, QuantError> {
    let per = file.data.len() / conv.out.max(1);
    let mut data = Vec::with_capacity(file.data.len());
    for o in 0..conv.out {
        let row = &file.data[conv.groups.file_row(o, conv.out) * per..][..per];
        for (k, w) in row.iter().enumerate() {
            let tap = k % (conv.kernel.0 * conv.kernel.1);
            let tap = (tap / conv.kernel.1, tap % conv.kernel.1);
            if *w != 0.0 && !conv.support.has(tap, conv.kernel, o, conv.out) {
                return Err(QuantError::Support { name: format!("{name}.weight"), channel: o, tap });
            }
        }
        data.extend_from_slice(row);
    }
    Ok(Tensor { shape: file.shape, data })
}
