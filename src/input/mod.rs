//! What comes from files: images, labels, weights; and the one way in which files are written.
//!
//! An image file gives tensors that are already what the network reads: framed by the declared `pad` and
//! normalised by the model's input declaration. Every size is compared with the model's before anything is
//! decoded, and nothing is allocated that the model's shape or the file's length does not bound. A file
//! that is not as it should be is an [`InputError`], never a panic.
//!
//! | file | raw pixels, normalised here | already normalised |
//! |---|---|---|
//! | `.png` | 8 bits a sample | |
//! | `.npy` | `u1` | `f4`, `f8` |
//! | `.safetensors` | `images` U8 | `input`, any float type |
//! | folder | its `.png` files, in the order of their names | |
//!
//! Arrays may hold one image or, with one more axis in front, several; the channel axis may be absent when
//! there is one channel. Raw images have the size that the model declares, or that less `pad` pixels on
//! each side. Nothing here knows circuits.

mod element;
mod error;
mod file;
mod folder;
mod frame;
mod npy;
mod png;
mod safetensors;

pub use error::{InputError, NpyFault, SafetensorsFault};
pub use file::{Staged, read, stage, write_atomically};
pub use folder::class_of_name;
pub use safetensors::SafetensorsWeights;

use crate::graph::InputSpec;
use crate::tensor::{Shape, Tensor};
use frame::Frame;
use std::path::Path;

/// Images ready for the network, at least one, with their labels if the file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Normalised, each of the model's input shape.
    pub images: Vec<Tensor<f32>>,
    /// The class of each image.
    pub labels: Option<Vec<usize>>,
}

impl Data {
    /// Keeps `limit` images behind the first `skip`, or as many as there are.
    pub fn keep(&mut self, skip: usize, limit: usize) {
        fn part<T>(all: &mut Vec<T>, skip: usize, limit: usize) {
            all.drain(..skip.min(all.len()));
            all.truncate(limit);
        }
        part(&mut self.images, skip, limit);
        if let Some(labels) = &mut self.labels {
            part(labels, skip, limit);
        }
    }
}

/// Reads the images of a `.png`, `.npy` or `.safetensors` file, or of a folder of `.png` files, for a model
/// whose input is declared by `spec` and `shape`.
///
/// Labels are a safetensors file's `labels` (any integer type), or the numbers with which the names of a
/// folder's files begin: `9_ankle-boot_00000.png`.
///
/// # Errors
/// If the file cannot be read, is malformed, or does not fit the model.
pub fn load(path: &Path, spec: &InputSpec, shape: &Shape) -> Result<Data, InputError> {
    let frame = Frame::new(path, spec, shape)?;
    if path.is_dir() {
        return folder::load(&frame);
    }
    match extension(path).as_deref() {
        Some("png") => Ok(Data { images: vec![png::load(&frame)?], labels: None }),
        Some("npy") => Ok(Data { images: npy::load(&frame)?, labels: None }),
        Some("safetensors") => safetensors::load(&frame),
        _ => Err(InputError::UnknownKind { path: path.to_owned() }),
    }
}

/// The file name's ending, in lower case.
fn extension(path: &Path) -> Option<String> {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase())
}
