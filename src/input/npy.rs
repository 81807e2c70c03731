//! numpy's `.npy` arrays of bytes or floats.
//!
//! The header is a Python dictionary of three known entries; it is read strictly and without recursion, so
//! that structured types and nested literals end as errors. Format: numpy's `lib/format.py`.

use super::element::Element;
use super::file;
use super::frame::Frame;
use super::{InputError, NpyFault};
use crate::tensor::{Shape, Tensor};

/// The longest file.
const MAX_BYTES: u64 = 1 << 30;

/// The longest header; numpy pads to 64 bytes and needs some 80.
const MAX_HEADER: usize = 4096;

/// The most axes of an array.
const MAX_AXES: usize = 32;

/// The images in the frame's file.
pub(super) fn load(frame: &Frame<'_>) -> Result<Vec<Tensor<f32>>, InputError> {
    let bytes = file::read(frame.path, MAX_BYTES)?;
    let array = parse(&bytes).map_err(|fault| InputError::Npy { path: frame.path(), fault })?;
    if array.element == Element::U8 {
        frame.raw(array.shape.dims(), array.data)
    } else {
        frame.normalised(array.shape.dims(), array.element, array.data)
    }
}

/// `data.len()` is what `shape` and `element` want.
struct Array<'a> {
    shape: Shape,
    element: Element,
    data: &'a [u8],
}

fn parse(bytes: &[u8]) -> Result<Array<'_>, NpyFault> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or(NpyFault::Magic)?;
    let [major, minor, rest @ ..] = rest else { return Err(NpyFault::Magic) };
    let (length, rest) = match (*major, *minor) {
        (1, 0) => rest.split_first_chunk().map(|(n, r)| (usize::from(u16::from_le_bytes(*n)), r)),
        (2 | 3, 0) => rest.split_first_chunk().map(|(n, r)| (u32::from_le_bytes(*n) as usize, r)),
        (major, minor) => return Err(NpyFault::Version { major, minor }),
    }
    .ok_or(NpyFault::Magic)?;
    let split = if length <= MAX_HEADER { rest.split_at_checked(length) } else { None };
    let Some((header, data)) = split else {
        return Err(NpyFault::HeaderLength { length, limit: MAX_HEADER });
    };
    let mut reader = Reader { header, at: 0 };
    let header = reader.dictionary().ok_or(NpyFault::Header { at: reader.at })?;
    let element = match header.descr {
        b"|u1" | b"<u1" | b"u1" => Element::U8,
        b"<f4" => Element::F32,
        b"<f8" => Element::F64,
        other => return Err(NpyFault::ElementType { found: String::from_utf8_lossy(other).into_owned() }),
    };
    let shape = Shape::of(&header.shape);
    let wanted = shape.elements().saturating_mul(element.size());
    if data.len() != wanted {
        return Err(NpyFault::DataLength { shape, found: data.len(), wanted });
    }
    // Column-major is row-major where at most one axis is longer than 1.
    if header.fortran_order && header.shape.iter().filter(|&&d| d > 1).count() > 1 {
        return Err(NpyFault::FortranOrder);
    }
    Ok(Array { shape, element, data })
}

struct Header<'a> {
    descr: &'a [u8],
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 32, 32), }`; `at` is where it stopped.
struct Reader<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn dictionary(&mut self) -> Option<Header<'a>> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b"{")?;
        while !self.accept(b"}") {
            let key = self.string()?;
            self.expect(b":")?;
            match key {
                b"descr" => descr = Some(self.string()?),
                b"fortran_order" => fortran_order = Some(self.boolean()?),
                b"shape" => shape = Some(self.tuple()?),
                _ => return None,
            }
            if !self.accept(b",") {
                self.expect(b"}")?;
                break;
            }
        }
        self.skip_space();
        (self.at == self.header.len()).then_some(())?;
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut values = Vec::new();
        self.expect(b"(")?;
        while !self.accept(b")") {
            values.push(self.number()?);
            if !self.accept(b",") {
                self.expect(b")")?;
                break;
            }
        }
        (values.len() <= MAX_AXES).then_some(values)
    }

    fn number(&mut self) -> Option<usize> {
        self.skip_space();
        let digits = self.take_while(|b| b.is_ascii_digit());
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let quote = if self.accept(b"'") { b'\'' } else { self.expect(b"\"").map(|()| b'"')? };
        let text = self.take_while(|b| b != quote && b != b'\\');
        (self.header.get(self.at) == Some(&quote)).then_some(())?;
        self.at += 1;
        Some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.accept(b"True") { Some(true) } else { self.expect(b"False").map(|()| false) }
    }

    fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.accept(text).then_some(())
    }

    fn accept(&mut self, text: &[u8]) -> bool {
        self.skip_space();
        let found = self.header[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn skip_space(&mut self) {
        self.take_while(|b| b.is_ascii_whitespace());
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.header[self.at..];
        let length = rest.iter().position(|&b| !accept(b)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}
