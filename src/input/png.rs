//! PNG images, decoded only once their size is known to be the model's.
//!
//! Grey becomes RGB by repetition, RGB becomes grey by luma (Rec. 709), palettes and fewer bits are expanded.
//! Alpha is dropped where every pixel is opaque and refused otherwise; 16-bit samples are refused.

use super::InputError;
use super::file;
use super::frame::Frame;
use crate::tensor::{Shape, Tensor};
use image::codecs::png::PngDecoder;
use image::{ColorType, DynamicImage, Limits};
use std::io::Cursor;

/// Profiles and texts in a file, and the decoder's own tables, beside the pixels.
const OVERHEAD: u64 = 16 << 20;

/// The image in the frame's file.
pub(super) fn load(frame: &Frame<'_>) -> Result<Tensor<f32>, InputError> {
    let wanted = frame.shape;
    let (c, _, _) = wanted.chw();
    if !wanted.is_image() || (c != 1 && c != 3) {
        return Err(InputError::PngChannels { path: frame.path(), wanted: wanted.clone() });
    }
    // At most eight bytes a pixel, and as many again for a decoder's copy.
    let limit = (wanted.elements() as u64).saturating_mul(16).saturating_add(OVERHEAD);
    let bytes = file::read(frame.path, limit)?;
    let (width, height) = declared_size(&bytes).unwrap_or((0, 0));
    let shapes = frame.raw_shapes();
    let found = Shape::image(c, height as usize, width as usize);
    if width > 0 && height > 0 && !shapes.contains(&found) {
        let error = InputError::Shape { path: frame.path(), found, wanted: shapes, pad: None };
        return Err(frame.advised(error));
    }
    let broken = |source| InputError::Png { path: frame.path(), source };
    let mut limits = Limits::default();
    limits.max_image_width = Some(width);
    limits.max_image_height = Some(height);
    limits.max_alloc = Some(limit);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes.as_slice()), limits).map_err(broken)?;
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let dims = [c, image.height() as usize, image.width() as usize];
    let mut images = frame.raw(&dims, &planes(frame, &image)?)?;
    images.pop().ok_or_else(|| InputError::NoImages { path: frame.path() })
}

/// Width and height by the first chunk, without decoding; none if it is not there.
fn declared_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..)?.strip_prefix(b"IHDR")?;
    let (width, rest) = rest.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}

/// The pixels with the channel outermost, as many channels as the model has: one or three.
fn planes(frame: &Frame<'_>, image: &DynamicImage) -> Result<Vec<u8>, InputError> {
    let found = image.color();
    if ![ColorType::L8, ColorType::La8, ColorType::Rgb8, ColorType::Rgba8].contains(&found) {
        return Err(InputError::PngSamples { path: frame.path(), found });
    }
    if found.has_alpha() && image.to_rgba8().pixels().any(|p| p.0[3] != u8::MAX) {
        return Err(InputError::Transparent { path: frame.path() });
    }
    if frame.shape.channels() == 1 {
        return Ok(image.to_luma8().into_raw());
    }
    let rgb = image.to_rgb8();
    Ok((0..3).flat_map(|c| rgb.pixels().map(move |p| p.0[c])).collect())
}
