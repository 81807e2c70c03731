//! Why a network cannot be imported.

use crate::tensor::Shape;
use std::fmt;
use std::path::PathBuf;

/// Why a network cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not Protocol Buffers of an ONNX model.
    #[error("not an ONNX model: {fault}, at byte {at}")]
    Malformed {
        /// The byte.
        at: usize,
        /// What is wrong there.
        fault: &'static str,
    },
    /// Protocol Buffers, but with fields that an ONNX model does not have.
    #[error("not an ONNX model: {0}")]
    Fields(#[from] rten_onnx::protobuf::ProtobufError),
    /// A model without a network.
    #[error("the ONNX model holds no graph; is it a data file?")]
    NoGraph,
    /// A version of the operators that is too old.
    #[error("the model uses version {found} of ONNX's operators; export it with opset 9 to 20")]
    Opset {
        /// The version.
        found: i64,
    },
    /// Larger than the limit of memory allows.
    #[error(
        "{what} would need {needed} bytes of memory in all, the limit is {limit}: raise it by `--memory`, if \
         the model really is so large"
    )]
    Memory {
        /// What was too much.
        what: String,
        /// All that was needed up to there.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// Something else than one image or one vector goes in.
    #[error("{0}")]
    Input(InputFault),
    /// Something else than one tensor comes out.
    #[error(
        "the graph has {found} outputs{}",
        if *found == 0 { ": export one".to_owned() } else { format!(" ({names}); choose one by `--graph-output NAME`, or export one only") }
    )]
    Outputs {
        /// How many.
        found: usize,
        /// Their names.
        names: String,
    },
    /// An output was chosen that is not there.
    #[error("the graph has no output `{wanted}`; it has {}", if names.is_empty() { "none" } else { names })]
    NoOutput {
        /// The name that was given.
        wanted: String,
        /// The names of its outputs.
        names: String,
    },
    /// A tensor that cannot be read.
    #[error("tensor `{name}`: {fault}")]
    Tensor {
        /// The tensor.
        name: String,
        /// Why.
        fault: TensorFault,
    },
    /// A file with weights that cannot be read.
    #[error("{}: cannot be read ({source}); it belongs beside the model and holds its weights", path.display())]
    External {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// More layers than a model may have.
    #[error("the network has more than {limit} nodes")]
    TooManyNodes {
        /// The limit.
        limit: usize,
    },
    /// A network that the language does not hold.
    #[error("the network is beyond a limit of the language: {0}")]
    Limit(String),
    /// Operators that cannot be run, all of them.
    #[error("{}", listed(.0))]
    Unsupported(Vec<Refusal>),
    /// A normalisation that does not fit the input.
    #[error(
        "--{option} has {found} numbers, the network's input has {channels} channels; give one, or {channels}"
    )]
    Normalisation {
        /// `mean` or `std`.
        option: &'static str,
        /// How many numbers there are.
        found: usize,
        /// How many channels there are.
        channels: usize,
    },
    /// A frame that leaves nothing of the input.
    #[error(
        "--pad {pad} leaves nothing of the network's input {shape}; it is what raw images are smaller by, on each side"
    )]
    Frame {
        /// Pixels on each side.
        pad: usize,
        /// The input.
        shape: Shape,
    },
    /// The text that was written does not resolve: a fault of this program.
    #[error("internal error: the imported model has errors:\n{0}")]
    Broken(String),
}

/// What is wrong with a graph's input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    /// Not exactly one.
    #[error("the graph has {found} inputs ({names}); a network has one")]
    Count {
        /// How many.
        found: usize,
        /// Their names.
        names: String,
    },
    /// A size that is not a number.
    #[error("input `{name}` has the shape {shape}: export the network with a fixed size of image")]
    Symbolic {
        /// The input.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// More elements than a tensor may have.
    #[error(
        "input `{name}` has the shape {shape}, which is too large: a tensor has at most {limit} elements"
    )]
    TooLarge {
        /// The input.
        name: String,
        /// Its shape.
        shape: String,
        /// The most elements.
        limit: usize,
    },
    /// Neither an image nor features.
    #[error(
        "input `{name}` has the shape {shape}; wanted [batch, channels, height, width] or [batch, features]"
    )]
    Rank {
        /// The input.
        name: String,
        /// Its shape.
        shape: String,
    },
}

/// What is wrong with a constant tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorFault {
    /// A negative size.
    #[error("its shape {0:?} has a negative size")]
    Shape(Vec<i64>),
    /// More elements than a tensor may have.
    #[error("its shape {shape:?} is too large: a tensor has at most {limit} elements")]
    Elements {
        /// The shape.
        shape: Vec<i64>,
        /// The most elements.
        limit: usize,
    },
    /// Text, complex numbers, or formats of less than a byte.
    #[error("its type {0} is not read; export the weights as 32-bit floats")]
    Type(String),
    /// More or fewer numbers than the shape says.
    #[error("its shape wants {wanted} elements, {found} are there")]
    Length {
        /// Elements of the shape.
        wanted: usize,
        /// Elements found.
        found: usize,
    },
    /// Kept in a file outside of the model's folder.
    #[error("its data is said to be in `{0}`, which is not a file beside the model")]
    Location(String),
    /// Kept in another file, of a model that was not read from one.
    #[error(
        "its data is kept in another file, and the model was not read from a file beside which that could be"
    )]
    NoFolder,
    /// Kept in a file that a link leads to, outside of the model's folder.
    #[error(
        "its data is said to be in `{location}`, a link to {target} outside of the model's folder; put the file \
         itself beside the model"
    )]
    Linked {
        /// The name that the model gives.
        location: String,
        /// Where the link leads.
        target: String,
    },
    /// Kept in something else than a file.
    #[error("its data is said to be in `{location}`, which is {kind}, not a file")]
    Special {
        /// The name that the model gives.
        location: String,
        /// What it is.
        kind: &'static str,
    },
    /// A place in a file that is no number.
    #[error("the `{key}` of its data is `{value}`; wanted a number of bytes")]
    Number {
        /// `offset` or `length`.
        key: &'static str,
        /// What is there.
        value: String,
    },
    /// Said to have another length than the shape wants.
    #[error("its shape and type want {wanted} bytes, the `length` of its data is {found}")]
    Bytes {
        /// Bytes of the shape.
        wanted: u64,
        /// The length that the model states.
        found: u64,
    },
    /// Said to be where the file has ended.
    #[error("its data would end at byte {end} of `{location}`, which has {length}; is that file whole?")]
    Beyond {
        /// The name that the model gives.
        location: String,
        /// The end of the data.
        end: u64,
        /// The file's length.
        length: u64,
    },
    /// Infinite or undefined numbers.
    #[error("element {0} is not a finite 32-bit float")]
    NotFinite(usize),
}

/// A node that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What about it.
    pub what: String,
    /// What to use instead.
    pub instead: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}; {}", self.op, self.node, self.what, self.instead)
    }
}

/// Nodes of one kind are listed together, each with its name up to a few.
fn listed(refusals: &[Refusal]) -> String {
    const SHOWN: usize = 8;
    let mut kinds: Vec<(&Refusal, Vec<&str>)> = Vec::new();
    for refusal in refusals {
        let alike = |other: &Refusal| {
            (&other.op, &other.what, &other.instead) == (&refusal.op, &refusal.what, &refusal.instead)
        };
        match kinds.iter_mut().find(|(first, _)| alike(first)) {
            Some((_, nodes)) => nodes.push(&refusal.node),
            None => kinds.push((refusal, vec![&refusal.node])),
        }
    }
    let count = refusals.len();
    let mut text = format!("{count} node{} cannot be imported", if count == 1 { "" } else { "s" });
    for (first, nodes) in kinds {
        let names: Vec<_> = nodes.iter().take(SHOWN).map(|node| format!("`{node}`")).collect();
        let more = nodes.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!(
            "\n  {} {}{more}: {}\n    help: {}",
            first.op,
            names.join(", "),
            first.what,
            first.instead
        ));
    }
    text
}
