//! Ranges that were measured once, to be used at every start: the statistics of each value of a model on its
//! calibration images, and their file.
//!
//! The file is a safetensors file whose metadata say `stria: ranges`, how many images there were, and a
//! digest of the weights: with other weights its numbers mean nothing. For a value `NAME` it holds
//! `NAME.count`, `.mean`, `.square` (64-bit floats, one a channel), `.least` (`[channels, 8]`, the range of
//! least error at 1 to 8 bits), `.ranks` and `.tail` (`[channels, ranks]`, some of the largest magnitudes).
//! From it a model is quantised exactly as from the images, but that percentiles between kept ranks are
//! interpolated either way. No image can be read from it.

use super::calibrate::{self, Spread, WIDTHS};
use super::float::FloatWeights;
use super::{QuantError, ranges, rescale};
use crate::graph::{Model, NodeId};
use crate::layers::FloatLayer;
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// The file's kind, under the key `stria` of its metadata.
const KIND: &str = "ranges";

/// What the values of a model are on its calibration images.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    images: usize,
    digest: String,
    spreads: BTreeMap<String, Spread>,
}

/// Why bytes are no statistics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatisticsFault {
    /// Not a safetensors file.
    #[error("not a safetensors file: {0}")]
    File(String),
    /// A tensor that is missing or has another type or shape.
    #[error("`{0}` is missing, or not of the type and shape that measured ranges have")]
    Tensor(String),
    /// A number that no measurement gives.
    #[error("`{0}` holds a number that is not finite, is negative or out of order")]
    Number(String),
}

impl Statistics {
    /// Measures `model` (batch norms folded) on normalised images.
    ///
    /// # Errors
    /// If an image or the weights do not fit the model.
    pub fn measure(
        model: &Model,
        weights: &FloatWeights,
        images: &[Tensor<f32>],
    ) -> Result<Self, QuantError> {
        let fitted = rescale::fit(model, Some(weights))?;
        let own = fitted.weights.as_ref().unwrap_or(weights);
        let spreads = calibrate::measure(&fitted.model, own, images, &ranges::measured(&fitted))?;
        let named = spreads.into_iter().map(|(id, s)| (fitted.model.graph.node(id).name.clone(), s));
        Ok(Self { images: images.len(), digest: digest(weights), spreads: named.collect() })
    }

    /// How many images were looked at.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// The spread of one value.
    pub(super) fn spread(&self, name: &str) -> Option<&Spread> {
        self.spreads.get(name)
    }

    /// The spreads by the nodes of `model`.
    ///
    /// # Errors
    /// [`QuantError::OtherWeights`] if they were measured with others, [`QuantError::Channels`] if a value
    /// has another number of channels.
    pub(super) fn of(
        &self,
        model: &Model,
        weights: &FloatWeights,
        fitted: &Model,
    ) -> Result<BTreeMap<NodeId, Spread>, QuantError> {
        if digest(weights) != self.digest {
            return Err(QuantError::OtherWeights { node: model.graph.node(NodeId(0)).name.clone() });
        }
        let mut table = BTreeMap::new();
        for id in fitted.graph.ids() {
            let node = fitted.graph.node(id);
            let Some(spread) = self.spreads.get(&node.name) else { continue };
            if spread.mean.len() != node.shape.channels() {
                return Err(QuantError::Channels { node: node.name.clone() });
            }
            table.insert(id, spread.clone());
        }
        Ok(table)
    }

    /// The bytes of their file.
    ///
    /// # Errors
    /// If the format cannot hold them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatisticsFault> {
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, spread) in &self.spreads {
            let mut add = |suffix: &str, dtype, shape, bytes| {
                parts.push((format!("{name}.{suffix}"), dtype, shape, bytes));
            };
            let doubles = |v: &[f64]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let (channels, ranks) = (spread.mean.len(), spread.ranks.len());
            let single = |v: &f32| v.to_le_bytes();
            add("count", Dtype::F64, vec![1], doubles(&[spread.count]));
            add("mean", Dtype::F64, vec![channels], doubles(&spread.mean));
            add("square", Dtype::F64, vec![channels], doubles(&spread.mean_square));
            let least = spread.least.iter().flatten().flat_map(single).collect();
            add("least", Dtype::F32, vec![channels, WIDTHS], least);
            let own = spread.ranks.iter().flat_map(|r| r.to_le_bytes()).collect();
            add("ranks", Dtype::U32, vec![ranks], own);
            let tail = spread.tails.iter().flatten().flat_map(single).collect();
            add("tail", Dtype::F32, vec![channels, ranks], tail);
        }
        let fault = |e: safetensors::SafeTensorError| StatisticsFault::File(e.to_string());
        let views = parts.iter().map(|(name, dtype, shape, bytes)| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view)).map_err(fault)
        });
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let metadata = [("stria", KIND.to_owned()), ("images", self.images.to_string())];
        let metadata = metadata.into_iter().chain([("weights", self.digest.clone())]);
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).collect();
        safetensors::serialize(views, Some(metadata)).map_err(fault)
    }

    /// Statistics from the bytes of a file; none if it is of another kind, as one of images.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Result<Self, StatisticsFault>> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let metadata = header.metadata().as_ref()?;
        if metadata.get("stria").map(String::as_str) != Some(KIND) {
            return None;
        }
        let images = metadata.get("images").and_then(|n| n.parse().ok()).unwrap_or(0);
        let digest = metadata.get("weights").cloned().unwrap_or_default();
        Some(Self::spreads(bytes).map(|spreads| Self { images, digest, spreads }))
    }

    fn spreads(bytes: &[u8]) -> Result<BTreeMap<String, Spread>, StatisticsFault> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| StatisticsFault::File(e.to_string()))?;
        let counts = file.names().into_iter().filter_map(|name| name.strip_suffix(".count"));
        counts.map(|name| Ok((name.to_owned(), spread(&file, name)?))).collect()
    }
}

/// One value's statistics, checked.
fn spread(file: &SafeTensors<'_>, name: &str) -> Result<Spread, StatisticsFault> {
    let part = |suffix: &str, dtype, rank: usize| {
        let key = format!("{name}.{suffix}");
        let found = file.tensor(&key).ok().filter(|t| t.dtype() == dtype && t.shape().len() == rank);
        found.map(|t| (key.clone(), t)).ok_or(StatisticsFault::Tensor(key))
    };
    let doubles = |suffix: &str| {
        let (key, tensor) = part(suffix, Dtype::F64, 1)?;
        let values: Vec<f64> = tensor.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        let sound = values.iter().all(|v| v.is_finite() && (suffix == "mean" || *v >= 0.0));
        if sound { Ok(values) } else { Err(StatisticsFault::Number(key)) }
    };
    let rows = |suffix: &str, shape: [usize; 2]| {
        let (key, tensor) = part(suffix, Dtype::F32, 2)?;
        if tensor.shape() != shape {
            return Err(StatisticsFault::Tensor(key));
        }
        let values: Vec<f32> = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let sound = values.iter().all(|v| v.is_finite() && *v >= 0.0);
        if sound { Ok(values) } else { Err(StatisticsFault::Number(key)) }
    };
    let (mean, mean_square, count) = (doubles("mean")?, doubles("square")?, doubles("count")?);
    let (key, tensor) = part("ranks", Dtype::U32, 1)?;
    let ranks: Vec<u32> = tensor.data().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    if !ranks.is_sorted_by(|a, b| a < b) || ranks.is_empty() {
        return Err(StatisticsFault::Number(key));
    }
    let channels = mean.len();
    let least = rows("least", [channels, WIDTHS])?;
    let tail = rows("tail", [channels, ranks.len()])?;
    let (&[count], true) = (count.as_slice(), mean_square.len() == channels) else {
        return Err(StatisticsFault::Tensor(format!("{name}.square")));
    };
    Ok(Spread {
        count,
        tails: tail.chunks(ranks.len()).map(<[f32]>::to_vec).collect(),
        least: least.as_chunks().0.to_vec(),
        mean_square,
        mean,
        ranks,
    })
}

/// A digest of all weights, in the order of the layers.
fn digest(weights: &FloatWeights) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |numbers: &[f32]| {
        hasher.update(&(numbers.len() as u64).to_le_bytes());
        for chunk in numbers.chunks(1 << 12) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
    };
    for layer in weights.0.values() {
        match layer {
            FloatLayer::Linear { weight, bias } => {
                part(&weight.data);
                part(bias.as_deref().unwrap_or_default());
            }
            FloatLayer::Norm { scale, shift } => {
                part(scale);
                part(shift);
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}
