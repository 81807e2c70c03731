//! From stored elements to the network's input: sizes compared, raw images framed, pixels normalised.

use super::InputError;
use super::element::Element;
use crate::graph::InputSpec;
use crate::tensor::{Shape, Tensor};
use std::path::{Path, PathBuf};

/// The most numbers of all images together: 4 GiB.
const MAX_NUMBERS: usize = 1 << 30;

/// What the model expects of the file `path`.
///
/// Means and deviations are one or as many as channels; deviations are not 0.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) path: &'a Path,
    pub(super) shape: &'a Shape,
    spec: &'a InputSpec,
}

impl<'a> Frame<'a> {
    pub(super) fn new(path: &'a Path, spec: &'a InputSpec, shape: &'a Shape) -> Result<Self, InputError> {
        let channels = shape.channels();
        let fits = |values: &[f64]| values.len() == 1 || values.len() == channels;
        let usable = |values: &[f64]| values.iter().all(|v| v.is_normal());
        if !fits(&spec.mean)
            || !fits(&spec.std)
            || !usable(&spec.std)
            || !spec.scale.is_normal()
            || !spec.mean.iter().all(|v| v.is_finite())
        {
            let (means, stds) = (spec.mean.len(), spec.std.len());
            return Err(InputError::Normalisation { channels, means, stds });
        }
        Ok(Self { path, shape, spec })
    }

    /// The same expectation of another file.
    pub(super) fn of<'b>(&self, path: &'b Path) -> Frame<'b>
    where
        'a: 'b,
    {
        Frame { path, shape: self.shape, spec: self.spec }
    }

    /// The file, for an error.
    pub(super) fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    /// The shapes of a raw image: without the frame first.
    pub(super) fn raw_shapes(&self) -> Vec<Shape> {
        let (c, h, w) = self.shape.chw();
        let inner = |n: usize| self.spec.pad.checked_mul(2).and_then(|p| n.checked_sub(p)).filter(|&n| n > 0);
        match (inner(h), inner(w)) {
            (Some(h), Some(w)) if self.spec.pad > 0 && self.shape.is_image() => {
                vec![Shape::image(c, h, w), self.shape.clone()]
            }
            _ => vec![self.shape.clone()],
        }
    }

    /// Raw images of shape `dims`, their pixels row-major.
    pub(super) fn raw(&self, dims: &[usize], pixels: &[u8]) -> Result<Vec<Tensor<f32>>, InputError> {
        let (shape, count) = self.count(dims, self.raw_shapes()).map_err(|error| self.advised(error))?;
        let images = chunks(pixels, count);
        images.enumerate().map(|(i, image)| self.finite(i, self.normalise(&shape, image))).collect()
    }

    /// Images of shape `dims` that are already normalised, their elements row-major and little-endian.
    pub(super) fn normalised(
        &self,
        dims: &[usize],
        element: Element,
        bytes: &[u8],
    ) -> Result<Vec<Tensor<f32>>, InputError> {
        let (_, count) = self.count(dims, vec![self.shape.clone()])?;
        let images = chunks(bytes, count);
        images.enumerate().map(|(i, image)| self.finite(i, element.floats(image))).collect()
    }

    /// Whether an array of shape `dims` holds raw images of this model.
    pub(super) fn fits_raw(&self, dims: &[usize]) -> bool {
        matching(dims, &self.raw_shapes()).is_some()
    }

    /// Whether an array of shape `dims` holds normalised images of this model.
    pub(super) fn fits_normalised(&self, dims: &[usize]) -> bool {
        matching(dims, std::slice::from_ref(self.shape)).is_some()
    }

    /// Which of the `wanted` shapes an array of shape `dims` holds, and how many.
    fn count(&self, dims: &[usize], wanted: Vec<Shape>) -> Result<(Shape, usize), InputError> {
        let Some((shape, images)) = matching(dims, &wanted) else {
            return Err(InputError::Shape { path: self.path(), found: Shape::of(dims), wanted, pad: None });
        };
        if images == 0 || shape.elements() == 0 {
            return Err(InputError::NoImages { path: self.path() });
        }
        self.check_amount(images)?;
        Ok((shape, images))
    }

    /// An error that says which `pad` of the model's input would make raw images fit, if one would.
    pub(super) fn advised(&self, error: InputError) -> InputError {
        let InputError::Shape { path, found, wanted, .. } = error else { return error };
        let (channels, h, w) = self.shape.chw();
        let pad = match *found.dims() {
            [.., rows, columns] if self.shape.is_image() => h.checked_sub(rows).filter(|more| {
                *more > 0 && more.is_multiple_of(2) && w.checked_sub(columns) == Some(*more) && rows > 0
            }),
            _ => None,
        };
        let pad = pad.map(|more| more / 2).filter(|pad| {
            let inner = Shape::image(channels, h - 2 * pad, w - 2 * pad);
            matching(found.dims(), &[inner]).is_some()
        });
        InputError::Shape { path, found, wanted, pad }
    }

    /// Refuses more images than may be held.
    pub(super) fn check_amount(&self, images: usize) -> Result<(), InputError> {
        if images.saturating_mul(self.shape.elements().max(1)) > MAX_NUMBERS {
            let shape = self.shape.clone();
            return Err(InputError::TooMany { path: self.path(), images, shape, limit: MAX_NUMBERS });
        }
        Ok(())
    }

    /// `(pixel * scale - mean) / std` of an image of shape `raw`, with a frame of pixels 0 if it is
    /// smaller than the model's.
    #[expect(clippy::cast_possible_truncation, reason = "an f64 is rounded to the nearest f32")]
    fn normalise(&self, raw: &Shape, pixels: &[u8]) -> Vec<f32> {
        let (c, h, w) = self.shape.chw();
        let (_, rows, columns) = raw.chw();
        let (top, left) = ((h - rows) / 2, (w - columns) / 2);
        let mut out = Vec::with_capacity(c * h * w);
        for channel in 0..c {
            let of = |values: &[f64]| values[if values.len() == 1 { 0 } else { channel }];
            let (mean, std) = (of(&self.spec.mean), of(&self.spec.std));
            let value = |pixel: u8| ((f64::from(pixel) * self.spec.scale - mean) / std) as f32;
            let start = out.len();
            out.resize(start + h * w, value(0));
            for row in 0..rows {
                let from = (channel * rows + row) * columns;
                let to = start + (top + row) * w + left;
                for (out, pixel) in out[to..to + columns].iter_mut().zip(&pixels[from..from + columns]) {
                    *out = value(*pixel);
                }
            }
        }
        out
    }

    fn finite(&self, image: usize, data: Vec<f32>) -> Result<Tensor<f32>, InputError> {
        if !data.iter().all(|v| v.is_finite()) {
            return Err(InputError::NotFinite { path: self.path(), image });
        }
        Ok(Tensor { shape: self.shape.clone(), data })
    }
}

/// Which of the `wanted` shapes an array of shape `dims` holds, and how many.
fn matching(dims: &[usize], wanted: &[Shape]) -> Option<(Shape, usize)> {
    let count_of = |shape: &Shape| match dims.strip_suffix(shape.dims())? {
        [] => Some(1),
        [n] => Some(*n),
        _ => None,
    };
    // One channel may go without its axis; `[n, h, w]` is then n images.
    let plain = |shape: &Shape| match *shape.dims() {
        [1, h, w] => Some(Shape::of(&[h, w])),
        _ => None,
    };
    wanted.iter().find_map(|shape| {
        let count = count_of(shape).or_else(|| count_of(&plain(shape)?))?;
        Some((shape.clone(), count))
    })
}

/// `count` equal parts; `count` is positive and divides the length, which is that of whole images.
fn chunks(bytes: &[u8], count: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks_exact((bytes.len() / count).max(1))
}
