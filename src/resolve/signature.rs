//! The words of the language: layers with their attributes, functions, settings, parameter types.

/// How many tensors a layer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// Exactly one.
    One,
    /// Two or more.
    Several,
}

/// An attribute that a layer knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    /// Whether it must be given. (`out` of a depthwise convolution need not.)
    pub(super) required: bool,
    /// Words that it takes beside values.
    pub(super) words: &'static [&'static str],
}

/// A layer's word, operands and own attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    pub(super) word: &'static str,
    pub(super) operands: Operands,
    pub(super) attributes: &'static [Attribute],
}

const fn needs(name: &'static str) -> Attribute {
    Attribute { name, required: true, words: &[] }
}

const fn may(name: &'static str) -> Attribute {
    Attribute { name, required: false, words: &[] }
}

const fn word(name: &'static str, words: &'static [&'static str]) -> Attribute {
    Attribute { name, required: false, words }
}

const fn layer(word: &'static str, attributes: &'static [Attribute]) -> Signature {
    Signature { word, operands: Operands::One, attributes }
}

const PAD: Attribute = word("pad", &["same", "valid"]);
const POOL: &[Attribute] = &[needs("kernel"), may("stride"), PAD];
const MAX_POOL: &[Attribute] = &[needs("kernel"), may("stride"), PAD, may("ceil")];

/// The words that stand for an activation function.
pub(super) const ACTIVATIONS: &[&str] = &["relu", "relu6", "square"];

/// Attributes of every layer.
pub(super) const COMMON: &[Attribute] = &[may("name"), may("range"), may("bits")];

/// Every layer, and the built-in block.
pub(super) const LAYERS: &[Signature] = &[
    layer(
        "conv",
        &[
            needs("out"),
            needs("kernel"),
            may("stride"),
            PAD,
            word("groups", &["depthwise"]),
            word("striped", &["auto"]),
            may("bias"),
            may("weight_bits"),
        ],
    ),
    layer("linear", &[needs("out"), may("bias"), may("weight_bits")]),
    layer("batch_norm", &[may("eps")]),
    Signature { word: "add", operands: Operands::Several, attributes: &[] },
    Signature { word: "concat", operands: Operands::Several, attributes: &[] },
    layer("channel_shuffle", &[needs("groups")]),
    layer("subsample", &[needs("stride")]),
    layer("pad_channels", &[may("before"), may("after")]),
    layer("avg_pool", POOL),
    layer("max_pool", MAX_POOL),
    layer("global_avg_pool", &[]),
    layer("relu", &[]),
    layer("relu6", &[]),
    layer("square", &[]),
    layer("quad", &[needs("a"), may("b"), may("c")]),
    layer("flatten", &[]),
    layer(
        "stria_block",
        &[
            may("out"),
            word("inner", &["auto"]),
            may("kernel"),
            may("stride"),
            word("stripes", &["auto"]),
            word("activation", ACTIVATIONS),
            may("shuffle"),
            may("weight_bits"),
        ],
    ),
];

/// Functions of integer expressions, and the kernels of other shapes, with their least and greatest
/// number of operands.
pub(super) const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("channels", 1, 1),
    ("height", 1, 1),
    ("width", 1, 1),
    ("features", 1, 1),
    ("capacity", 1, 1),
    ("min", 2, usize::MAX),
    ("max", 2, usize::MAX),
    ("cross", 1, 1),
    ("strips", 1, 1),
];

/// Settings of a model.
pub(super) const SETTINGS: &[&str] = &["ring", "weights", "calibration", "quantize"];

/// Attributes of the input.
pub(super) const INPUT: &[&str] = &["scale", "mean", "std", "pad", "range", "bits"];

/// What `quantize` sets.
pub(super) const QUANTIZE: &[&str] = &["weights", "activations", "ranges"];

/// Types of a block's parameters; a parameter without a type is a tensor.
pub(super) const TYPES: &[&str] = &["int", "kernel", "activation", "bool"];

/// Words that attributes take; they cannot name a value.
pub(super) const RESERVED: &[&str] =
    &["auto", "same", "valid", "depthwise", "relu", "relu6", "square", "random"];

impl Signature {
    /// The layer `word`.
    pub(super) fn of(word: &str) -> Option<&'static Self> {
        LAYERS.iter().find(|signature| signature.word == word)
    }

    /// Own and common attributes.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &'static Attribute> + use<> {
        self.attributes.iter().chain(COMMON)
    }
}
