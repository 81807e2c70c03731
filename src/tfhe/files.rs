//! Keys, ciphertexts and model cards as files.
//!
//! In the same checked envelope as compiled files, of the magic `STRIAT\r\n`, and in it the kind (u32,
//! little-endian), the hash of the parameters (8 bytes), the contents. Every number is checked before it is used.

use super::input::InputLayout;
use super::keys::{ClientKey, EncryptedInput, EncryptedOutput, EvaluationKey, ModelId};
use super::params::{
    BOOTSTRAP_BASE_LOG, BOOTSTRAP_LEVELS, GLWE_STD, LWE_DIMENSION, LWE_STD, RING, SWITCH_BASE_LOG,
    SWITCH_LEVELS,
};
use super::plan::{MAX_VALUES, input_layout};
use crate::diag::Span;
use crate::envelope::Envelope;
pub use crate::envelope::EnvelopeError;
use crate::graph::{Graph, Header, InputSpec, IntLayer, IntNetwork, Interval, Node, NodeId, QuantAttributes};
use crate::tensor::Shape;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// First bytes of these files. The line ending shows damage by text-mode transfers.
pub const MAGIC: &[u8; 8] = b"STRIAT\r\n";

/// Version of the format.
pub const VERSION: u32 = 2;

const ENVELOPE: Envelope = Envelope { magic: *MAGIC, version: VERSION };

/// The most bytes of a model card's or a result's text.
const MAX_TEXT: usize = 1 << 16;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client's secret key.
    ClientKey,
    /// The server's evaluation key.
    EvaluationKey,
    /// An encrypted image.
    Input,
    /// An encrypted answer.
    Output,
    /// What a client needs to know of a model.
    Card,
}

const KINDS: [Kind; 5] = [Kind::ClientKey, Kind::EvaluationKey, Kind::Input, Kind::Output, Kind::Card];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientKey => "a client's secret key",
            Self::EvaluationKey => "an evaluation key",
            Self::Input => "an encrypted image",
            Self::Output => "an encrypted answer",
            Self::Card => "a model card",
        })
    }
}

/// Why bytes are not the file wanted.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another file altogether, of another version, or damaged.
    #[error("not {wanted}: {error}")]
    Envelope {
        /// What is wanted.
        wanted: Kind,
        /// What is wrong.
        error: EnvelopeError,
    },
    /// Another of these files.
    #[error("this is {found}, wanted is {wanted}")]
    Kind {
        /// What it is.
        found: Kind,
        /// What is wanted.
        wanted: Kind,
    },
    /// Other parameters.
    #[error("made for other parameters of encryption; make keys and ciphertexts with this program")]
    Params,
    /// A number that cannot be.
    #[error("malformed contents: {0}")]
    Malformed(&'static str),
}

/// What a client needs to know of a model: no weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// How raw pixels become its input.
    pub input: InputSpec,
    /// Range of the quantised input.
    pub interval: Interval,
    /// One step of it, in normalised units.
    pub scale: f64,
    /// How it lies in ciphertexts, and its shape.
    pub layout: InputLayout,
    /// Whether the input is an image rather than features.
    pub image: bool,
}

impl Card {
    /// The card of a network, for which it needs no weights.
    #[must_use]
    pub fn new(network: &IntNetwork) -> Self {
        let node = network.graph.node(NodeId(0));
        let none = Interval { lo: 0, hi: 0 };
        let interval = if let IntLayer::Input(interval) = node.layer { interval } else { none };
        Self {
            name: network.header.name.clone(),
            input: network.header.input.clone(),
            interval,
            scale: network.input_scale,
            layout: input_layout(network),
            image: node.shape.is_image(),
        }
    }

    /// Its name for ciphertexts: the hash of its contents.
    #[must_use]
    pub fn id(&self) -> ModelId {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }

    /// The shape of the input.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let (c, h, w) = self.layout.size;
        if self.image { Shape::image(c, h, w) } else { Shape::flat(c) }
    }

    /// The network that consists of the input alone, which is all that an image is quantised by.
    #[must_use]
    pub fn network(&self) -> IntNetwork {
        let mut graph = Graph::default();
        let node = Node {
            name: "input".into(),
            block: None,
            layer: IntLayer::Input(self.interval),
            shape: self.shape(),
            span: Span::new(0, 0),
            quant: QuantAttributes::default(),
        };
        let added = graph.add(node, &[]);
        debug_assert!(added.is_ok(), "an empty graph has room");
        IntNetwork {
            header: Header {
                name: self.name.clone(),
                ring: 0,
                weights: crate::graph::WeightsDecl::None,
                calibration: None,
                weight_bits: 8,
                activation_bits: 8,
                ranges: crate::graph::RangeChoice::MinMax,
                input: self.input.clone(),
            },
            graph,
            intervals: vec![self.interval],
            input_scale: self.scale,
            output_scale: 1.0,
            assumed: false,
        }
    }

    /// The bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).unwrap_or_default();
        framed(Kind::Card, &body)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign, damaged or inconsistent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let Reader(body) = checked(bytes, Kind::Card)?;
        if body.len() > MAX_TEXT {
            return Err(FileError::Malformed("a model card is smaller"));
        }
        let card: Self =
            postcard::from_bytes(body).map_err(|_| FileError::Malformed("the card does not parse"))?;
        readable(&card.name)?;
        let (c, h, w) = card.layout.size;
        let elements = Shape::image(c, h, w).elements();
        let planned = InputLayout::new(&Shape::image(c, h, w), card.layout.frame);
        let fits = (1..=MAX_VALUES).contains(&elements)
            && planned == card.layout
            && (card.image || (h, w) == (1, 1))
            && card.scale.is_finite()
            && card.scale > 0.0
            && card.interval.lo <= card.interval.hi
            && card.interval.magnitude() < 1 << 16;
        if fits { Ok(card) } else { Err(FileError::Malformed("the card is inconsistent")) }
    }
}

fn parameters() -> [u8; 8] {
    let numbers = format!(
        "{LWE_DIMENSION} {RING} {LWE_STD:e} {GLWE_STD:e} {BOOTSTRAP_BASE_LOG} {BOOTSTRAP_LEVELS} \
         {SWITCH_BASE_LOG} {SWITCH_LEVELS}"
    );
    let hash = blake3::hash(numbers.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    first
}

fn framed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let number =
        KINDS.iter().position(|k| *k == kind).and_then(|i| u32::try_from(i).ok()).unwrap_or(u32::MAX);
    ENVELOPE.seal(&[&number.to_le_bytes(), &parameters(), body])
}

/// The contents of a file of the kind and the parameters that are wanted.
fn checked(bytes: &[u8], wanted: Kind) -> Result<Reader<'_>, FileError> {
    let body = ENVELOPE.open(bytes).map_err(|error| FileError::Envelope { wanted, error })?;
    let mut reader = Reader(body);
    let number = u32::from_le_bytes(reader.array()?);
    let found = KINDS.get(number as usize).copied().ok_or(FileError::Malformed("no kind of file"))?;
    if found != wanted {
        return Err(FileError::Kind { found, wanted });
    }
    if reader.array()? != parameters() {
        return Err(FileError::Params);
    }
    Ok(reader)
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], FileError> {
        let short = FileError::Malformed("less than was announced");
        let (front, rest) = self.0.split_at_checked(count).ok_or(short)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn words(&mut self, count: usize) -> Result<Vec<u64>, FileError> {
        let bytes = self.bytes(count.checked_mul(8).ok_or(FileError::Malformed("a length"))?)?;
        Ok(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn end(&self) -> Result<(), FileError> {
        if self.0.is_empty() { Ok(()) } else { Err(FileError::Malformed("more than was announced")) }
    }
}

/// Refuses a name that a terminal would obey rather than show.
fn readable(name: &str) -> Result<(), FileError> {
    let steers = name.chars().any(char::is_control);
    if steers { Err(FileError::Malformed("the model's name has control characters")) } else { Ok(()) }
}

fn put_words(body: &mut Vec<u8>, words: &[u64]) {
    body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

impl ClientKey {
    /// The bytes of its file, secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(32 + RING + LWE_DIMENSION));
        body.extend_from_slice(&self.id);
        let bit = |bit: &u64| u8::from(*bit == 1);
        body.extend(self.ring.iter().map(bit));
        body.extend(self.small.iter().map(bit));
        Zeroizing::new(framed(Kind::ClientKey, &body))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let mut reader = checked(bytes, Kind::ClientKey)?;
        let id = reader.array()?;
        let bits = |bytes: &[u8]| {
            let binary = bytes.iter().all(|bit| *bit <= 1);
            let bits = Zeroizing::new(bytes.iter().map(|bit| u64::from(*bit)).collect::<Vec<_>>());
            binary.then_some(bits).ok_or(FileError::Malformed("a key is binary"))
        };
        let ring = bits(reader.bytes(RING)?)?;
        let small = bits(reader.bytes(LWE_DIMENSION)?)?;
        reader.end()?;
        Ok(Self { ring, small, id })
    }
}

impl EvaluationKey {
    /// The bytes of its file: some 28 MB.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(32 + 8 * (self.switch.len() + self.bootstrap.len()));
        body.extend_from_slice(&self.switch_seed.to_le_bytes());
        body.extend_from_slice(&self.bootstrap_seed.to_le_bytes());
        put_words(&mut body, &self.switch);
        put_words(&mut body, &self.bootstrap);
        framed(Kind::EvaluationKey, &body)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let mut reader = checked(bytes, Kind::EvaluationKey)?;
        let switch_seed = u128::from_le_bytes(reader.array()?);
        let bootstrap_seed = u128::from_le_bytes(reader.array()?);
        let switch = reader.words(RING * SWITCH_LEVELS)?;
        let bootstrap = reader.words(LWE_DIMENSION * BOOTSTRAP_LEVELS * 2 * RING)?;
        reader.end()?;
        Ok(Self { switch_seed, switch, bootstrap_seed, bootstrap })
    }
}

impl EncryptedInput {
    /// The bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.key);
        body.extend_from_slice(&self.model);
        body.extend_from_slice(&(self.ciphertexts.len() as u64).to_le_bytes());
        for (seed, words) in &self.ciphertexts {
            body.extend_from_slice(&seed.to_le_bytes());
            put_words(&mut body, words);
        }
        framed(Kind::Input, &body)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let mut reader = checked(bytes, Kind::Input)?;
        let (key, model) = (reader.array()?, reader.array()?);
        let count = u64::from_le_bytes(reader.array()?);
        let mut ciphertexts = Vec::new();
        // Every turn takes its bytes, so that a count beyond the file ends the loop.
        for _ in 0..count {
            let seed = u128::from_le_bytes(reader.array()?);
            ciphertexts.push((seed, reader.words(RING)?));
        }
        reader.end()?;
        Ok(Self { key, model, ciphertexts })
    }
}

impl EncryptedOutput {
    /// The bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.key);
        body.extend_from_slice(&self.model);
        body.extend_from_slice(&self.step.to_le_bytes());
        body.extend_from_slice(&self.scale.to_le_bytes());
        body.extend_from_slice(&(self.name.len() as u64).to_le_bytes());
        body.extend_from_slice(self.name.as_bytes());
        body.extend_from_slice(&(self.samples.len() as u64).to_le_bytes());
        put_words(&mut body, &self.samples);
        framed(Kind::Output, &body)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// If they are foreign or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let mut reader = checked(bytes, Kind::Output)?;
        let (key, model) = (reader.array()?, reader.array()?);
        let step = u64::from_le_bytes(reader.array()?);
        let scale = f64::from_le_bytes(reader.array()?);
        if step == 0 || !scale.is_finite() || scale <= 0.0 {
            return Err(FileError::Malformed("the scale of the answer"));
        }
        let length = reader.length()?;
        if length > MAX_TEXT {
            return Err(FileError::Malformed("the model's name is too long"));
        }
        let name = reader.bytes(length)?.to_vec();
        let name =
            String::from_utf8(name).map_err(|_| FileError::Malformed("the model's name is no text"))?;
        readable(&name)?;
        let count = reader.length()?;
        if count == 0 || !count.is_multiple_of(RING + 1) {
            return Err(FileError::Malformed("no whole ciphertexts"));
        }
        let samples = reader.words(count)?;
        reader.end()?;
        Ok(Self { key, model, name, step, scale, samples })
    }
}

impl Reader<'_> {
    fn length(&mut self) -> Result<usize, FileError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| FileError::Malformed("a length"))
    }
}
