//! ONNX to the language: `stria import`.
//!
//! [`import`] reads a model's bytes and gives the text of a `.stria` file with its weights. The bytes are
//! looked over before they are decoded (`scan`); nodes become layers one by one, constants are folded on the
//! way (`convert`, `fold`); layers get names from which the weights' keys follow (`names`); repeated parts
//! become blocks (`blocks`); then all of it is written (`text`) and read back. What cannot be run is named,
//! all of it at once. Nothing depends on a file that is not charged to the limit of memory first.

mod blocks;
mod body;
mod constant;
mod convert;
mod error;
mod external;
mod fold;
mod memory;
mod names;
mod network;
mod node;
mod scan;
mod shape;
mod text;
mod view;
mod weights;

pub use error::{ImportError, InputFault, Refusal, TensorFault};
pub use weights::ImportedWeights;

use crate::diag::{Diagnostics, SourceFile};
use crate::graph::Model;
use crate::{resolve, syntax};
use external::Folder;
use memory::Memory;
use rten_onnx::onnx::ModelProto;
use std::fmt;
use std::path::Path;

/// The oldest version of the operators that is read.
const OLDEST_OPSET: i64 = 9;

/// The newest version that was tried.
const NEWEST_OPSET: i64 = 20;

/// The limit of memory if none is given: 2 GiB.
pub const DEFAULT_MEMORY: u64 = 2 << 30;

/// What the file itself is called where it is too large.
pub(crate) const ONNX_FILE: &str = "the ONNX file";

/// What the importer is told beside the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The model's name; made an identifier.
    pub name: String,
    /// The weights' file, as the model names it.
    pub weights: String,
    /// Images for calibration, or ranges measured on them, as the model names them.
    pub calibration: Option<String>,
    /// Subtracted from raw pixels of 0 to 1: one number, or one a channel.
    pub mean: Option<Vec<f64>>,
    /// What they are divided by then, likewise.
    pub std: Option<Vec<f64>>,
    /// The pixels by which raw images are smaller than the input, on each side.
    pub pad: usize,
    /// The output to take of a graph that has several.
    pub output: Option<String>,
    /// The most bytes of memory, about.
    pub memory: u64,
}

/// An imported network.
#[derive(Debug)]
pub struct Imported {
    /// The `.stria` file.
    pub text: String,
    /// Its weights.
    pub weights: ImportedWeights,
    /// The model that the text resolves to.
    pub model: Model,
    /// What was done that the user should know.
    pub notes: Vec<Note>,
}

/// What was done that the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The last function was left out.
    Dropped {
        /// Its operator.
        op: String,
        /// Its node.
        node: String,
    },
    /// A dropout in training mode, left out as in any other.
    Dropout(String),
    /// Padding that differs between opposite sides made a kernel larger.
    Uneven {
        /// The node.
        node: String,
        /// Its kernel.
        from: (usize, usize),
        /// The kernel with rows or columns of zeros.
        to: (usize, usize),
    },
    /// The ONNX input is [batch, height, width, channels].
    ChannelsLast,
    /// The batch that the ONNX input declares.
    Batch(usize),
    /// Neither mean nor standard deviation was given.
    NoNormalisation,
    /// No images for calibration were given.
    NoCalibration,
    /// So many weights have other names than in the ONNX file.
    Renamed(usize),
    /// A version of the operators that is newer than those tried.
    Opset(i64),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { op, node } => {
                write!(f, "{op} `{node}` at the end is left out: it does not change which class is largest")
            }
            Self::Dropout(node) => {
                write!(f, "Dropout `{node}` is in training mode: left out, as in a network that is trained")
            }
            Self::Uneven { node, from, to } => write!(
                f,
                "`{node}` pads unequally: its {}x{} kernel became {}x{} with zeros, which computes the same",
                from.0, from.1, to.0, to.1
            ),
            Self::ChannelsLast => f.write_str("the input is [height, width, channels] in the ONNX file, [channels, height, width] here"),
            Self::Batch(n) => write!(f, "the batch of {n} is bound to 1"),
            Self::NoNormalisation => {
                f.write_str("raw pixels are scaled to 0..1 and nothing else; give `--mean` and `--std` if training used them")
            }
            Self::NoCalibration => {
                f.write_str("ranges are not known yet: give `--calibrate FILE` with images, or write `range:` at the layers")
            }
            Self::Renamed(n) => {
                let (s, whose) = if *n == 1 { (" is", "its layer") } else { ("s are", "their layers") };
                write!(f, "{n} tensor{s} renamed after {whose}; the weights' file keeps the ONNX names as metadata")
            }
            Self::Opset(n) => write!(f, "opset {n} is newer than {NEWEST_OPSET}, the newest that was tried"),
        }
    }
}

/// Imports an ONNX model, the bytes of `file`: data outside of it lie beside that file. Without its name there
/// are none.
///
/// # Errors
/// See [`ImportError`]; [`ImportError::Unsupported`] names every node that cannot be run.
pub fn import(onnx: Vec<u8>, file: Option<&Path>, options: &Options) -> Result<Imported, ImportError> {
    let mut memory = Memory::new(options.memory);
    let length = onnx.len() as u64;
    memory.charge(length, ONNX_FILE)?;
    let decoded = scan::scan(&onnx)?;
    memory.charge(decoded, "the decoded ONNX file")?;
    let model = ModelProto::parse_buf(&onnx)?;
    drop(onnx);
    memory.release(length);
    let mut notes = opset(&model)?;
    let graph = model.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let folder = file.map(Folder::of);
    let converted = convert::convert(graph, folder.as_ref(), options.output.as_deref(), &mut memory)?;
    drop(model);
    notes.extend(converted.notes);
    let mut names = names::names(&converted.network);
    let plan = blocks::plan(&converted.network, &mut names);
    let header = text::Header::of(&converted.network, &converted.input, options)?;
    let text = text::write(&converted.network, &names, &plan, &header);
    let weights = ImportedWeights::collect(&converted.network, &names)?;
    if weights.renamed() > 0 {
        notes.push(Note::Renamed(weights.renamed()));
    }
    if options.mean.is_none() && options.std.is_none() {
        notes.push(Note::NoNormalisation);
    }
    if options.calibration.is_none() {
        notes.push(Note::NoCalibration);
    }
    let model = read_back(&text, &weights, &options.name)?;
    Ok(Imported { text, weights, model, notes })
}

/// What is to be said of the version of the operators.
fn opset(model: &ModelProto) -> Result<Vec<Note>, ImportError> {
    let own = |domain: Option<&str>| matches!(domain.unwrap_or_default(), "" | "ai.onnx");
    let version = model.opset_import.iter().find(|o| own(o.domain.as_deref())).and_then(|o| o.version);
    match version {
        Some(found) if found < OLDEST_OPSET => Err(ImportError::Opset { found }),
        Some(found) if found > NEWEST_OPSET => Ok(vec![Note::Opset(found)]),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Resolves what was written: it must not have errors, unless the network is beyond the language's limits.
fn read_back(text: &str, weights: &ImportedWeights, name: &str) -> Result<Model, ImportError> {
    let source = SourceFile { name: name.to_owned(), text: text.to_owned() };
    let broken = |diagnostics: &Diagnostics| match diagnostics
        .0
        .iter()
        .find(|d| matches!(d.code, "limit" | "text-size"))
    {
        Some(limit) => ImportError::Limit(limit.message.clone()),
        None => ImportError::Broken(diagnostics.render(&source)),
    };
    let ast = syntax::parse(&source).map_err(|d| broken(&d))?;
    let (model, diagnostics) = resolve::resolve(&ast, Some(weights));
    match model {
        Some(model) if diagnostics.0.is_empty() => Ok(model),
        Some(_) | None => Err(broken(&diagnostics)),
    }
}
