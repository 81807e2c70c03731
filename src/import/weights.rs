//! The imported weights, under the names that the layers give them.

use super::constant::{Constant, Numbers};
use super::error::{ImportError, TensorFault};
use super::names::Name;
use super::network::Network;
use crate::tensor::{Shape, Tensor};
use crate::weights::{WeightError, WeightSource};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// Floats that are turned to bytes at once.
const CHUNK: usize = 1 << 16;

/// Weights by name, as a safetensors file holds them.
pub struct ImportedWeights {
    tensors: BTreeMap<String, Arc<Constant>>,
}

impl fmt::Debug for ImportedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedWeights").field("tensors", &self.tensors.len()).finish_non_exhaustive()
    }
}

impl ImportedWeights {
    pub(super) fn collect(network: &Network, names: &[Option<Name>]) -> Result<Self, ImportError> {
        let mut tensors = BTreeMap::new();
        for (unit, name) in network.units.iter().zip(names) {
            for (suffix, constant) in &unit.weights {
                if let Some(element) = constant.not_finite() {
                    let (name, fault) = (constant.name.clone(), TensorFault::NotFinite(element));
                    return Err(ImportError::Tensor { name, fault });
                }
                let name = name.as_ref().map_or("", |n| n.text.as_str());
                tensors.insert(format!("{name}.{suffix}"), Arc::clone(constant));
            }
        }
        Ok(Self { tensors })
    }

    /// How many tensors have another name than in the ONNX file.
    #[must_use]
    pub fn renamed(&self) -> usize {
        self.tensors.iter().filter(|(key, constant)| **key != constant.name).count()
    }

    /// How many tensors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Writes a safetensors file: 32-bit floats; its metadata give the ONNX name of what has another.
    ///
    /// # Errors
    /// If `out` does.
    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut header = Map::new();
        let mut metadata = Map::new();
        let mut offset = 0;
        for (key, constant) in &self.tensors {
            let end = offset + 4 * constant.elements();
            header.insert(
                key.clone(),
                json!({"dtype": "F32", "shape": constant.dims, "data_offsets": [offset, end]}),
            );
            if *key != constant.name {
                metadata.insert(key.clone(), Value::String(constant.name.clone()));
            }
            offset = end;
        }
        header.insert("__metadata__".to_owned(), Value::Object(metadata));
        let mut text = serde_json::to_vec(&Value::Object(header))?;
        text.resize(text.len().next_multiple_of(8), b' ');
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(&text)?;
        for constant in self.tensors.values() {
            match &constant.data {
                Numbers::Repeated(v) => {
                    let bytes = v.to_le_bytes().repeat(constant.elements().min(CHUNK));
                    let mut left = 4 * constant.elements();
                    while left > 0 {
                        let n = left.min(bytes.len());
                        out.write_all(&bytes[..n])?;
                        left -= n;
                    }
                }
                Numbers::Floats(_) | Numbers::Integers(_) => {
                    for chunk in constant.floats().chunks(CHUNK) {
                        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
                        out.write_all(&bytes)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl WeightSource for ImportedWeights {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.tensors.get(name).map(|constant| Shape::of(&constant.dims))
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let constant = self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(Tensor { shape: Shape::of(&constant.dims), data: constant.floats().into_owned() })
    }
}
