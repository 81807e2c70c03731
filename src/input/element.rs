//! Number types of stored tensors, little-endian, and their conversion.

use safetensors::Dtype;

/// A type whose elements are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

const STORED: [(Dtype, Element); 12] = [
    (Dtype::U8, Element::U8),
    (Dtype::I8, Element::I8),
    (Dtype::U16, Element::U16),
    (Dtype::I16, Element::I16),
    (Dtype::U32, Element::U32),
    (Dtype::I32, Element::I32),
    (Dtype::U64, Element::U64),
    (Dtype::I64, Element::I64),
    (Dtype::F16, Element::F16),
    (Dtype::BF16, Element::BF16),
    (Dtype::F32, Element::F32),
    (Dtype::F64, Element::F64),
];

impl Element {
    /// The type that safetensors calls `dtype`, if its elements are numbers that are read.
    pub(super) fn stored(dtype: Dtype) -> Option<Self> {
        STORED.iter().find(|(d, _)| *d == dtype).map(|(_, e)| *e)
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The elements as floats, rounded to nearest; an F64 out of range becomes infinite.
    #[expect(clippy::cast_possible_truncation, reason = "an f64 is rounded to the nearest f32")]
    pub(super) fn floats(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::U8 => each(bytes, |b| f32::from(u8::from_le_bytes(b))),
            Self::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Self::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
            Self::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            Self::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::F16 => each(bytes, |b| half(u16::from_le_bytes(b))),
            Self::BF16 => each(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }

    /// The elements, if the type is an integer type.
    pub(super) fn integers(self, bytes: &[u8]) -> Option<Vec<i128>> {
        Some(match self {
            Self::U8 => each(bytes, |b| i128::from(u8::from_le_bytes(b))),
            Self::I8 => each(bytes, |b| i128::from(i8::from_le_bytes(b))),
            Self::U16 => each(bytes, |b| i128::from(u16::from_le_bytes(b))),
            Self::I16 => each(bytes, |b| i128::from(i16::from_le_bytes(b))),
            Self::U32 => each(bytes, |b| i128::from(u32::from_le_bytes(b))),
            Self::I32 => each(bytes, |b| i128::from(i32::from_le_bytes(b))),
            Self::U64 => each(bytes, |b| i128::from(u64::from_le_bytes(b))),
            Self::I64 => each(bytes, |b| i128::from(i64::from_le_bytes(b))),
            Self::F16 | Self::BF16 | Self::F32 | Self::F64 => return None,
        })
    }
}

/// Maps the elements of `N` bytes.
fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|b| f(*b)).collect()
}

/// The value of an IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn half_precision_of_every_kind() {
        let cases = [
            (0x0000, 0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3c00, 1.0),
            (0x3555, 0.333_251_95),
            (0xc000, -2.0),
            (0x8001, -5.960_464_5e-8),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
