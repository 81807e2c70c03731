//! safetensors files: weights by name, or images with labels.
//!
//! The file lies in memory as it is; tensors are converted when asked for. Its header has been checked: the
//! tensors fill the data without gap or overlap.

use super::element::Element;
use super::file;
use super::frame::Frame;
use super::{Data, InputError, SafetensorsFault};
use crate::tensor::{Shape, Tensor};
use crate::weights::{WeightError, WeightSource};
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::path::Path;

/// The longest file of weights.
const MAX_WEIGHT_BYTES: u64 = 4 << 30;

/// The longest file of images.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

/// The longest header; a network of a thousand tensors needs 100 KB.
const MAX_HEADER: u64 = 16 << 20;

/// Weights in a safetensors file: floats of 16, 32 or 64 bits and integers, read as `f32`.
pub struct SafetensorsWeights {
    file: TensorFile,
}

impl SafetensorsWeights {
    /// Reads the file `path`, of at most 4 GiB.
    ///
    /// # Errors
    /// If it cannot be read or is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let bytes = file::read(path, MAX_WEIGHT_BYTES)?;
        let fault = |fault| InputError::Safetensors { path: path.to_owned(), fault };
        Self::from_bytes(bytes).map_err(fault)
    }

    /// The weights in the bytes of a safetensors file.
    ///
    /// # Errors
    /// If they are not those of a safetensors file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SafetensorsFault> {
        Ok(Self { file: TensorFile::parse(bytes)? })
    }
}

impl WeightSource for SafetensorsWeights {
    fn shape(&self, name: &str) -> Option<Shape> {
        self.file.tensors.get(name).map(|info| Shape::of(&info.shape))
    }

    fn names(&self) -> Vec<String> {
        self.file.tensors.keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<Tensor<f32>, WeightError> {
        let unusable = |reason| WeightError::Unusable { name: name.to_owned(), reason };
        let info = self.file.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        let element = Element::stored(info.dtype)
            .ok_or_else(|| unusable(format!("its type is {:?}; wanted floats or integers", info.dtype)))?;
        let data = element.floats(self.file.data(info));
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return Err(unusable(format!("element {i} is not a finite 32-bit float")));
        }
        Ok(Tensor { shape: Shape::of(&info.shape), data })
    }
}

/// Images and labels in the frame's file. Where both are there, raw `images` come before `input`, unless only
/// `input` fits the model.
pub(super) fn load(frame: &Frame<'_>) -> Result<Data, InputError> {
    let bytes = file::read(frame.path, MAX_IMAGE_BYTES)?;
    let file =
        TensorFile::parse(bytes).map_err(|fault| InputError::Safetensors { path: frame.path(), fault })?;
    let wrong = |name, info: &TensorInfo, wanted| InputError::ElementType {
        path: frame.path(),
        name,
        found: format!("{:?}", info.dtype),
        wanted,
    };
    let normalised = file.tensors.get("input");
    let only_normalised = |raw: &TensorInfo| {
        !frame.fits_raw(&raw.shape) && normalised.is_some_and(|info| frame.fits_normalised(&info.shape))
    };
    let images = if let Some(info) = file.tensors.get("images").filter(|raw| !only_normalised(raw)) {
        match Element::stored(info.dtype) {
            Some(Element::U8) => frame.raw(&info.shape, file.data(info))?,
            _ => return Err(wrong("images", info, "U8 (raw pixels)")),
        }
    } else if let Some(info) = normalised {
        match Element::stored(info.dtype) {
            Some(element) if element.integers(&[]).is_none() => {
                frame.normalised(&info.shape, element, file.data(info))?
            }
            _ => return Err(wrong("input", info, "F32, F64, F16 or BF16 (normalised)")),
        }
    } else {
        return Err(InputError::NoImageTensor { path: frame.path() });
    };
    let labels = match file.tensors.get("labels") {
        None => None,
        Some(info) => {
            let integers = Element::stored(info.dtype).and_then(|e| e.integers(file.data(info)));
            let integers = integers.ok_or_else(|| wrong("labels", info, "an integer type"))?;
            Some(classes(frame, &integers, images.len())?)
        }
    };
    Ok(Data { images, labels })
}

/// The labels of `images` images as classes.
fn classes(frame: &Frame<'_>, labels: &[i128], images: usize) -> Result<Vec<usize>, InputError> {
    if labels.len() != images {
        return Err(InputError::LabelCount { path: frame.path(), labels: labels.len(), images });
    }
    let class = |(image, &label): (usize, &i128)| {
        usize::try_from(label).map_err(|_| InputError::Label { path: frame.path(), image, label })
    };
    labels.iter().enumerate().map(class).collect()
}

/// A file's bytes and what its header says of them. Every tensor's offsets lie within the data.
struct TensorFile {
    bytes: Vec<u8>,
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    fn parse(bytes: Vec<u8>) -> Result<Self, SafetensorsFault> {
        let (length, rest) =
            bytes.split_first_chunk().map_or((0, &[][..]), |(n, r)| (u64::from_le_bytes(*n), r));
        let wrong_length = || SafetensorsFault::HeaderLength { length, limit: MAX_HEADER };
        if length > MAX_HEADER {
            return Err(wrong_length());
        }
        let split = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
        let (header, data) = split.ok_or_else(wrong_length)?;
        // Refuses gaps, overlaps and sizes that are not those of the shapes.
        let metadata: Metadata = serde_json::from_slice(header).map_err(SafetensorsFault::Header)?;
        if metadata.data_len() != data.len() {
            return Err(SafetensorsFault::DataLength { found: data.len(), wanted: metadata.data_len() });
        }
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let data_start = bytes.len() - data.len();
        Ok(Self { bytes, data_start, tensors })
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.bytes[self.data_start..][start..end]
    }
}
