//! Tensors that are known: initialisers, `Constant` nodes and what is computed from them.

use super::error::{ImportError, TensorFault};
use super::external::Folder;
use super::memory::Memory;
use crate::tensor::MAX_ELEMENTS;
use rten_onnx::onnx::{DataLocation, DataType, TensorProto};
use std::borrow::Cow;

/// A known tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// Its name in the file, or that of the tensor that it was mostly made from.
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) data: Numbers,
}

/// The elements: floats, or integers for shapes and indices.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    /// One number everywhere, however many there are.
    Repeated(f32),
}

impl Constant {
    pub(super) fn elements(&self) -> usize {
        self.dims.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// The elements as floats.
    pub(super) fn floats(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Numbers::Floats(data) => Cow::Borrowed(data),
            #[expect(clippy::cast_precision_loss, reason = "integers in weights are small")]
            Numbers::Integers(data) => Cow::Owned(data.iter().map(|&v| v as f32).collect()),
            Numbers::Repeated(v) => Cow::Owned(vec![*v; self.elements()]),
        }
    }

    /// The elements as integers; none if they are floats.
    pub(super) fn integers(&self) -> Option<&[i64]> {
        match &self.data {
            Numbers::Integers(data) => Some(data),
            Numbers::Floats(_) | Numbers::Repeated(_) => None,
        }
    }

    /// Its only element.
    pub(super) fn scalar(&self) -> Option<f64> {
        if self.elements() != 1 {
            return None;
        }
        match &self.data {
            Numbers::Floats(data) => data.first().map(|v| f64::from(*v)),
            #[expect(clippy::cast_precision_loss, reason = "integers in weights are small")]
            Numbers::Integers(data) => data.first().map(|&v| v as f64),
            Numbers::Repeated(v) => Some(f64::from(*v)),
        }
    }

    /// The same elements under another shape of as many.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self { name: self.name.clone(), dims, data: self.data.clone() }
    }

    /// The first element that is not finite.
    pub(super) fn not_finite(&self) -> Option<usize> {
        match &self.data {
            Numbers::Floats(data) => data.iter().position(|v| !v.is_finite()),
            Numbers::Integers(_) => None,
            Numbers::Repeated(v) => (!v.is_finite()).then_some(0),
        }
    }
}

/// Sizes as they stand in a file, if they are those of a tensor.
///
/// # Errors
/// [`TensorFault::Shape`], [`TensorFault::Elements`].
pub(super) fn dims(sizes: &[i64]) -> Result<Vec<usize>, TensorFault> {
    if sizes.iter().any(|d| *d < 0) {
        return Err(TensorFault::Shape(sizes.to_vec()));
    }
    let dims: Vec<usize> = sizes.iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
    let elements = dims.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
    if elements > MAX_ELEMENTS || dims.iter().any(|d| *d > MAX_ELEMENTS) {
        return Err(TensorFault::Elements { shape: sizes.to_vec(), limit: MAX_ELEMENTS });
    }
    Ok(dims)
}

/// Decodes a tensor, whose data may lie in a file in `folder`; without one there are no such files. The message's
/// bytes are taken out of it.
///
/// # Errors
/// [`ImportError::Tensor`], [`ImportError::External`], [`ImportError::Memory`].
pub(super) fn decode(
    tensor: &TensorProto,
    folder: Option<&Folder>,
    memory: &mut Memory,
) -> Result<Constant, ImportError> {
    let name = tensor.name.clone().unwrap_or_default();
    let fault = |fault| ImportError::Tensor { name: name.clone(), fault };
    let shape = dims(&tensor.dims).map_err(fault)?;
    let kind = tensor.data_type.unwrap_or(DataType(0));
    let format =
        Format::of(kind).ok_or_else(|| fault(TensorFault::Type(kind.name().unwrap_or("?").to_owned())))?;
    let wanted =
        memory.charge_tensor(&shape, if format.is_float() { 4 } else { 8 }, &format!("tensor `{name}`"))?;
    let data = if tensor.data_location == Some(DataLocation::EXTERNAL) {
        let Some(folder) = folder else { return Err(fault(TensorFault::NoFolder)) };
        let bytes = folder.read(tensor, (wanted as u64).saturating_mul(format.size() as u64), memory)?;
        memory.release(bytes.len() as u64);
        format.numbers(&bytes)
    } else if let Some(raw) = &tensor.raw_data {
        let raw = raw.take();
        if !raw.len().is_multiple_of(format.size()) {
            return Err(fault(TensorFault::Length { wanted, found: raw.len() / format.size() }));
        }
        format.numbers(&raw)
    } else {
        listed(tensor, format)
    };
    let found = match &data {
        Numbers::Floats(data) => data.len(),
        Numbers::Integers(data) => data.len(),
        Numbers::Repeated(_) => wanted,
    };
    if found != wanted {
        return Err(fault(TensorFault::Length { wanted, found }));
    }
    Ok(Constant { name, dims: shape, data })
}

/// Data in the message's own fields for numbers.
fn listed(tensor: &TensorProto, format: Format) -> Numbers {
    #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
    let narrow = |v: f64| v as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16 bits are kept in 32")]
    let half = |v: i32| v as u16;
    match format {
        Format::F32 => Numbers::Floats(tensor.float_data.clone()),
        Format::F64 => Numbers::Floats(tensor.double_data.iter().map(|&v| narrow(v)).collect()),
        Format::F16 => Numbers::Floats(tensor.int32_data.iter().map(|&v| from_f16(half(v))).collect()),
        Format::Bf16 => Numbers::Floats(tensor.int32_data.iter().map(|&v| from_bf16(half(v))).collect()),
        Format::I64 => Numbers::Integers(tensor.int64_data.clone()),
        Format::I32 | Format::I16 | Format::I8 | Format::U16 | Format::U8 => {
            Numbers::Integers(tensor.int32_data.iter().map(|&v| i64::from(v)).collect())
        }
    }
}

/// How an element is kept in bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U16,
    U8,
}

impl Format {
    fn of(kind: DataType) -> Option<Self> {
        Some(match kind {
            DataType::FLOAT => Self::F32,
            DataType::DOUBLE => Self::F64,
            DataType::FLOAT16 => Self::F16,
            DataType::BFLOAT16 => Self::Bf16,
            DataType::INT64 => Self::I64,
            DataType::INT32 => Self::I32,
            DataType::INT16 => Self::I16,
            DataType::INT8 => Self::I8,
            DataType::UINT16 => Self::U16,
            DataType::UINT8 | DataType::BOOL => Self::U8,
            _ => return None,
        })
    }

    fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    fn numbers(self, bytes: &[u8]) -> Numbers {
        fn read<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
        }
        #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
        let narrow = |b| f64::from_le_bytes(b) as f32;
        match self {
            Self::F32 => Numbers::Floats(read(bytes, f32::from_le_bytes)),
            Self::F64 => Numbers::Floats(read(bytes, narrow)),
            Self::F16 => Numbers::Floats(read(bytes, |b| from_f16(u16::from_le_bytes(b)))),
            Self::Bf16 => Numbers::Floats(read(bytes, |b| from_bf16(u16::from_le_bytes(b)))),
            Self::I64 => Numbers::Integers(read(bytes, i64::from_le_bytes)),
            Self::I32 => Numbers::Integers(read(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            Self::I16 => Numbers::Integers(read(bytes, |b| i64::from(i16::from_le_bytes(b)))),
            Self::U16 => Numbers::Integers(read(bytes, |b| i64::from(u16::from_le_bytes(b)))),
            Self::I8 => Numbers::Integers(read(bytes, |b: [u8; 1]| i64::from(i8::from_le_bytes(b)))),
            Self::U8 => Numbers::Integers(read(bytes, |b: [u8; 1]| i64::from(u8::from_le_bytes(b)))),
        }
    }
}

/// IEEE 754 binary16.
fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        // A multiple of 2^-24, exact.
        0 => f32::from_bits(sign | (f32::from(bits & 1023) / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::{from_bf16, from_f16};

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (1, 2.0_f32.powi(-24)),
            (0x8000, -0.0),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(from_f16(bits), value);
        }
        assert!(from_f16(0x7c00).is_infinite() && from_f16(0x7c01).is_nan());
        assert_eq!(from_bf16(0x3f80), 1.0);
    }
}
