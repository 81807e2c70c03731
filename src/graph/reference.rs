//! The reference: the quantised network interpreted node by node, in exact integers.
//!
//! This is the meaning of a model. It runs on the network as the quantiser made it, never on a rewritten
//! one, and knows neither circuits nor layouts; every backend must equal it bit for bit. No value may
//! exceed 2^62 in magnitude, which leaves room for the rounding term of any shift.

use super::{Graph, IntLayer, IntNetwork, IntWeights, Interval, LayerWeights, NodeId, Requant};
use crate::layers::{Conv, LARGEST, Linear, concat};
use crate::tensor::{Shape, Tensor};

/// The largest magnitude of any value.
pub const MAX_VALUE: i64 = 1 << 62;

/// Why a network could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The input has another shape.
    #[error("the input has shape {found}, the network wants {wanted}")]
    InputShape {
        /// Shape of the tensor given.
        found: Shape,
        /// Shape of the network's input.
        wanted: Shape,
    },
    /// A linear layer's weights are missing or of another shape.
    #[error("layer `{node}` has no weights that fit it")]
    Weights {
        /// The layer.
        node: String,
    },
    /// A value leaves the range of the arithmetic.
    #[error("a value of layer `{node}` exceeds 2^62")]
    Overflow {
        /// The layer.
        node: String,
    },
    /// The node's operands do not fit it; the graph was not verified.
    #[error("the operands of layer `{node}` do not fit it")]
    Malformed {
        /// The layer.
        node: String,
    },
}

/// The network's output for a quantised input.
///
/// # Errors
/// If the input's shape, the weights or the magnitude of a value do not fit; the layer is named.
pub fn evaluate(
    network: &IntNetwork,
    weights: &IntWeights,
    input: &Tensor<i64>,
) -> Result<Tensor<i64>, ReferenceError> {
    evaluate_with(network, weights, input, &mut |_, _| {})
}

/// The value of node `id` alone, not the input, from those of its operands.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_node(
    network: &IntNetwork,
    id: NodeId,
    operands: &[&Tensor<i64>],
    weights: Option<&LayerWeights>,
) -> Result<Tensor<i64>, ReferenceError> {
    let node = network.graph.node(id);
    step(&node.layer, operands, weights).map_err(|fault| fault.at(&node.name))
}

/// Every node's value, by node id.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_all(
    network: &IntNetwork,
    weights: &IntWeights,
    input: &Tensor<i64>,
) -> Result<Vec<Tensor<i64>>, ReferenceError> {
    let mut values = Vec::with_capacity(network.graph.len());
    evaluate_with(network, weights, input, &mut |_, value| values.push(value.clone()))?;
    Ok(values)
}

/// Quantises a normalised image: `clamp(round(x / scale))`, halves away from zero.
///
/// # Errors
/// If its shape is not that of the network's input.
pub fn quantise_input(network: &IntNetwork, image: &Tensor<f32>) -> Result<Tensor<i64>, ReferenceError> {
    let node = network.graph.node(NodeId(0));
    if image.shape != node.shape {
        return Err(ReferenceError::InputShape { found: image.shape.clone(), wanted: node.shape.clone() });
    }
    let IntLayer::Input(Interval { lo, hi }) = node.layer else {
        return Err(ReferenceError::Malformed { node: node.name.clone() });
    };
    #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates and the clamp follows")]
    let quantise = |v: &f32| ((f64::from(*v) / network.input_scale).round() as i64).clamp(lo, hi);
    Ok(image.map(quantise))
}

/// As [`evaluate`], showing each node's value as it is computed.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    network: &IntNetwork,
    weights: &IntWeights,
    input: &Tensor<i64>,
    visit: &mut dyn FnMut(NodeId, &Tensor<i64>),
) -> Result<Tensor<i64>, ReferenceError> {
    let graph = &network.graph;
    let wanted = &graph.node(NodeId(0)).shape;
    if input.shape != *wanted || input.data.len() != wanted.elements() {
        return Err(ReferenceError::InputShape { found: input.shape.clone(), wanted: wanted.clone() });
    }
    let output = walk(graph, |id, operands| {
        let node = graph.node(id);
        let value = match operands {
            [] => input.clone(),
            _ => step(&node.layer, operands, weights.0.get(&id)).map_err(|fault| fault.at(&node.name))?,
        };
        visit(id, &value);
        Ok(value)
    })?;
    output.ok_or_else(|| ReferenceError::Malformed { node: graph.node(graph.output()).name.clone() })
}

/// Evaluates a graph in topological order; a value is dropped after its last use. Gives the output's.
pub(crate) fn walk<L, T, E>(
    graph: &Graph<L>,
    mut value_of: impl FnMut(NodeId, &[&T]) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let mut uses: Vec<usize> = graph.ids().map(|id| graph.users(id).len()).collect();
    let output = graph.output().0 as usize;
    if let Some(uses) = uses.get_mut(output) {
        *uses += 1;
    }
    let mut values: Vec<Option<T>> = graph.ids().map(|_| None).collect();
    for id in graph.ids() {
        let inputs = graph.inputs(id);
        let operands: Vec<&T> = inputs.iter().filter_map(|i| values[i.0 as usize].as_ref()).collect();
        let value = value_of(id, &operands)?;
        values[id.0 as usize] = (uses[id.0 as usize] > 0).then_some(value);
        for input in inputs {
            uses[input.0 as usize] -= 1;
            if uses[input.0 as usize] == 0 {
                values[input.0 as usize] = None;
            }
        }
    }
    Ok(values.get_mut(output).and_then(Option::take))
}

enum Fault {
    Weights,
    Overflow,
    Malformed,
}

impl Fault {
    /// That of the layer `node`.
    fn at(self, node: &str) -> ReferenceError {
        let node = node.to_owned();
        match self {
            Self::Weights => ReferenceError::Weights { node },
            Self::Overflow => ReferenceError::Overflow { node },
            Self::Malformed => ReferenceError::Malformed { node },
        }
    }
}

fn step(
    layer: &IntLayer,
    operands: &[&Tensor<i64>],
    weights: Option<&LayerWeights>,
) -> Result<Tensor<i64>, Fault> {
    let x = *operands.first().ok_or(Fault::Malformed)?;
    let value = match layer {
        IntLayer::Input(_) => return Err(Fault::Malformed),
        IntLayer::Conv(conv) => convolve(conv, x, weights.ok_or(Fault::Weights)?)?,
        IntLayer::Linear(linear) => multiply(*linear, x, weights.ok_or(Fault::Weights)?)?,
        IntLayer::Add { shifts } => {
            let aligned = align(operands, shifts)?;
            let mut sum: Tensor<i64> = Tensor::zeros(x.shape.clone());
            for operand in &aligned {
                for (s, &v) in sum.data.iter_mut().zip(&operand.data) {
                    *s = s.checked_add(v).ok_or(Fault::Overflow)?;
                }
            }
            sum
        }
        IntLayer::Concat { shifts } => {
            let aligned = align(operands, shifts)?;
            concat(&aligned.iter().collect::<Vec<_>>()).ok_or(Fault::Malformed)?
        }
        IntLayer::Shuffle(l) => l.apply(x),
        IntLayer::Subsample(l) => l.apply(x),
        IntLayer::PadChannels(l) => l.apply(x),
        IntLayer::SumPool(l) => l.sum(x),
        IntLayer::MaxPool(l) => l.max(x),
        IntLayer::Requant(requant) => x.map(|&v| requant.apply(v)),
        IntLayer::Poly { a, b, c, requant } => polynomial(x, (*a, *b, *c), *requant)?,
        IntLayer::Flatten => Tensor { shape: Shape::flat(x.data.len()), data: x.data.clone() },
    };
    if largest(&value.data) > MAX_VALUE.unsigned_abs() { Err(Fault::Overflow) } else { Ok(value) }
}

fn polynomial(x: &Tensor<i64>, (a, b, c): (i64, i64, i64), requant: Requant) -> Result<Tensor<i64>, Fault> {
    let value = |x: i64| a.checked_mul(x)?.checked_add(b)?.checked_mul(x)?.checked_add(c);
    let checked = |x: i64| value(x).filter(|v| v.unsigned_abs() <= MAX_VALUE.unsigned_abs());
    let data = x.data.iter().map(|&x| checked(x).map(|v| requant.apply(v)).ok_or(Fault::Overflow));
    Ok(Tensor { shape: x.shape.clone(), data: data.collect::<Result<_, _>>()? })
}

fn align(operands: &[&Tensor<i64>], shifts: &[u32]) -> Result<Vec<Tensor<i64>>, Fault> {
    if operands.len() != shifts.len() {
        return Err(Fault::Malformed);
    }
    let shifted = operands.iter().zip(shifts).map(|(x, &shift)| {
        let bound = MAX_VALUE.unsigned_abs().checked_shr(shift).unwrap_or(0);
        (largest(&x.data) <= bound).then(|| x.map(|v| v << shift)).ok_or(Fault::Overflow)
    });
    shifted.collect()
}

fn convolve(conv: &Conv, x: &Tensor<i64>, weights: &LayerWeights) -> Result<Tensor<i64>, Fault> {
    let wanted = conv.weight_shape(x.shape.channels());
    match width(x, weights, &wanted, conv.out)? {
        Width::Narrow { largest, bias } => {
            Ok(conv.apply_narrow(x, largest, &weights.weight.data, &bias).map(|&v| i64::from(v)))
        }
        Width::Wide => Ok(conv.apply(x, &weights.weight.data, Some(&weights.bias))),
    }
}

fn multiply(linear: Linear, x: &Tensor<i64>, weights: &LayerWeights) -> Result<Tensor<i64>, Fault> {
    let wanted = Shape::of(&[linear.out, x.data.len()]);
    match width(x, weights, &wanted, linear.out)? {
        Width::Narrow { largest, bias } => {
            Ok(linear.apply_narrow(x, largest, &weights.weight.data, &bias).map(|&v| i64::from(v)))
        }
        Width::Wide => Ok(linear.apply(x, &weights.weight.data, Some(&weights.bias))),
    }
}

/// Which integers hold every partial sum of a layer.
enum Width {
    /// 32 bits, of small values.
    Narrow {
        /// The largest magnitude of a value.
        largest: u32,
        bias: Vec<i32>,
    },
    /// 64 bits.
    Wide,
}

fn width(x: &Tensor<i64>, weights: &LayerWeights, wanted: &Shape, out: usize) -> Result<Width, Fault> {
    let data = &weights.weight.data;
    if weights.weight.shape != *wanted || data.len() != wanted.elements() || weights.bias.len() != out {
        return Err(Fault::Weights);
    }
    // A row has at most 2^31 weights of at most 2^7.
    let rows = data.chunks((data.len() / out.max(1)).max(1));
    let row: u64 = rows.map(|row| row.iter().map(|w| u64::from(w.unsigned_abs())).sum()).max().unwrap_or(0);
    let value = largest(&x.data);
    let bound = u128::from(row) * u128::from(value) + u128::from(largest(&weights.bias));
    if bound > u128::from(MAX_VALUE.unsigned_abs()) {
        return Err(Fault::Overflow);
    }
    let small =
        u32::try_from(value).ok().filter(|v| *v <= LARGEST && bound <= u128::from(i32::MAX.unsigned_abs()));
    let bias = weights.bias.iter().map(|&b| i32::try_from(b).ok()).collect::<Option<Vec<_>>>();
    Ok(match (small, bias) {
        (Some(largest), Some(bias)) => Width::Narrow { largest, bias },
        (Some(_) | None, _) => Width::Wide,
    })
}

fn largest(data: &[i64]) -> u64 {
    data.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0)
}
