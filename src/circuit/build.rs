//! Builds one segment.

use super::{BlockGeometry, Contents, Inst, Places, PlainId, Segment, Step, Turn, Value};
use std::collections::HashMap;

/// Emits the instructions of one linear layer. Equal automorphisms of one source are emitted once,
/// a step of 0 is the source itself.
#[derive(Debug)]
pub struct Builder {
    segment: Segment,
    ring: u32,
    steps: HashMap<(Value, Step), Value>,
    extended: HashMap<(Value, Step), Value>,
}

impl Builder {
    /// A segment of `inputs` ciphertexts of `ring` slots.
    #[must_use]
    pub fn new(layer: impl Into<String>, ring: u32, geometry: BlockGeometry, inputs: u32) -> Self {
        Self::with(layer.into(), ring, Contents::Slots, geometry, inputs)
    }

    /// A segment of `inputs` ciphertexts of `ring` coefficients, whose plaintexts have at most `weights`
    /// that are not 0 and whose outputs send what [`output_places`](Self::output_places) tells.
    #[must_use]
    pub fn in_coefficients(layer: impl Into<String>, ring: u32, weights: u32, inputs: u32) -> Self {
        let contents = Contents::Coefficients { weights, sent: Vec::new() };
        Self::with(layer.into(), ring, contents, BlockGeometry { block: 1, reach: 0 }, inputs)
    }

    fn with(layer: String, ring: u32, contents: Contents, geometry: BlockGeometry, inputs: u32) -> Self {
        let segment = Segment {
            layer,
            contents,
            geometry,
            inputs,
            plains: 0,
            insts: Vec::new(),
            terms: Vec::new(),
            turns: Vec::new(),
            outputs: Vec::new(),
        };
        Self { segment, ring, steps: HashMap::new(), extended: HashMap::new() }
    }

    /// A segment of the inputs, contents and plaintexts of `other`, to be written anew.
    #[must_use]
    pub fn like(other: &Segment, ring: u32) -> Self {
        let contents = other.contents.clone();
        let mut builder = Self::with(other.layer.clone(), ring, contents, other.geometry, other.inputs);
        builder.segment.plains = other.plains;
        builder
    }

    /// Input ciphertext `i`.
    #[must_use]
    pub fn input(&self, i: u32) -> Value {
        debug_assert!(i < self.segment.inputs);
        Value(i)
    }

    /// A new described plaintext.
    pub fn plain(&mut self) -> PlainId {
        self.segment.plains += 1;
        PlainId(self.segment.plains - 1)
    }

    /// `src` turned left by `k`, any integer.
    pub fn rotate(&mut self, src: Value, k: i64) -> Value {
        match self.normal(k) {
            0 => src,
            k => self.automorphism(src, Step::Rotate(k)),
        }
    }

    /// `src` with its rows exchanged.
    pub fn swap_rows(&mut self, src: Value) -> Value {
        self.automorphism(src, Step::SwapRows)
    }

    /// `step(src)`, the step in normal form.
    pub fn automorphism(&mut self, src: Value, step: Step) -> Value {
        if let Some(&known) = self.steps.get(&(src, step)) {
            return known;
        }
        let value = self.push(Inst::Automorphism { src, step });
        self.steps.insert((src, step), value);
        value
    }

    /// `step(src)` left extended, for dot products; the step in normal form.
    pub fn extended(&mut self, src: Value, step: Step) -> Value {
        if let Some(&known) = self.extended.get(&(src, step)) {
            return known;
        }
        let value = self.push(Inst::Extended { src, step });
        self.extended.insert((src, step), value);
        value
    }

    /// The sum over `turns`, two or more, some of them rotated.
    pub fn rotate_sum(&mut self, turns: impl IntoIterator<Item = Turn>) -> Value {
        let first = index(self.segment.turns.len());
        self.segment.turns.extend(turns);
        let len = index(self.segment.turns.len()) - first;
        self.push(Inst::RotateSum { first, len })
    }

    /// The sum of products over `terms`, at least one.
    pub fn dot(&mut self, terms: impl IntoIterator<Item = (Value, PlainId)>) -> Value {
        let first = index(self.segment.terms.len());
        self.segment.terms.extend(terms);
        let len = index(self.segment.terms.len()) - first;
        self.push(Inst::Dot { first, len })
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.push(Inst::Add(a, b))
    }

    /// Declares the next output ciphertext.
    pub fn output(&mut self, value: Value) {
        self.segment.outputs.push(value);
    }

    /// Declares the next output ciphertext of a segment in coefficients, and what of it is sent.
    pub fn output_places(&mut self, value: Value, places: Places) {
        self.output(value);
        match &mut self.segment.contents {
            Contents::Coefficients { sent, .. } => sent.push(places),
            Contents::Slots => debug_assert!(false, "slots are sent whole"),
        }
    }

    /// The finished segment.
    #[must_use]
    pub fn finish(self) -> Segment {
        self.segment
    }

    fn push(&mut self, inst: Inst) -> Value {
        self.segment.insts.push(inst);
        Value(self.segment.inputs + index(self.segment.insts.len()) - 1)
    }

    /// `k` modulo the row length, in `-N/4 < k <= N/4`.
    fn normal(&self, k: i64) -> i32 {
        let row = i64::from(self.ring / 2);
        let k = k.rem_euclid(row);
        let signed = if k > row / 2 { k - row } else { k };
        i32::try_from(signed).unwrap_or(i32::MAX)
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
