//! The imported network as the text of a `.stria` file.

use super::blocks::{Block, Plan};
use super::body::{self, Item, Role};
use super::names::Name;
use super::network::{Network, Unit};
use super::{ImportError, Options};
use crate::layers::{Activation, Layer, Pool, PoolKind, Rounding};
use crate::tensor::{Groups, Shape, Support};
use std::fmt::Write;

/// Words of the language that do not name a model or an input.
const WORDS: &str = " model block input output let return repeat in if else true false auto same valid depthwise relu \
    relu6 square random conv linear batch_norm add concat channel_shuffle subsample pad_channels avg_pool max_pool \
    global_avg_pool quad flatten stria_block channels height width features capacity min max cross strips tensor int \
    kernel activation bool ";

/// What stands above the layers.
pub(super) struct Header {
    model: String,
    input: String,
    shape: Shape,
    settings: Vec<String>,
    attributes: Vec<String>,
}

impl Header {
    /// The header of a network, from what the user says.
    ///
    /// # Errors
    /// [`ImportError::Normalisation`], [`ImportError::Frame`].
    pub(super) fn of(network: &Network, input: &str, options: &Options) -> Result<Self, ImportError> {
        let shape = network.shape(0).clone();
        let mut attributes = vec!["scale: 1/255".to_owned()];
        for (option, given) in [("mean", &options.mean), ("std", &options.std)] {
            let Some(numbers) = given else { continue };
            attributes.push(match numbers.as_slice() {
                [one] => format!("{option}: {}", real(*one)),
                all if all.len() == shape.channels() => {
                    let all: Vec<_> = all.iter().map(|v| real(*v)).collect();
                    format!("{option}: [{}]", all.join(", "))
                }
                other => {
                    let (found, channels) = (other.len(), shape.channels());
                    return Err(ImportError::Normalisation { option, found, channels });
                }
            });
        }
        if options.pad > 0 {
            let (_, h, w) = shape.chw();
            let pad = options.pad;
            if !shape.is_image() || pad.saturating_mul(2) >= h.min(w) {
                return Err(ImportError::Frame { pad, shape });
            }
            attributes.push(format!("pad: {pad}"));
        }
        let mut settings = vec![format!("weights: {}", quoted(&options.weights))];
        settings.extend(options.calibration.as_ref().map(|file| format!("calibration: {}", quoted(file))));
        let input = identifier(input, "image");
        Ok(Self { model: identifier(&options.name, "imported"), input, shape, settings, attributes })
    }
}

/// A text of the language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('{', "{{").replace('}', "}}"))
}

/// A real number, as short as it is exact.
pub(super) fn real(v: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it came from")]
    let short = v as f32;
    let (plain, power) = if f64::from(short) == v {
        (short.to_string(), format!("{short:e}"))
    } else {
        (v.to_string(), format!("{v:e}"))
    };
    if power.len() + 2 < plain.len() { power } else { plain }
}

/// A name of the language made from `text`.
fn identifier(text: &str, otherwise: &str) -> String {
    let mut name: String =
        text.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || name.chars().all(|c| c == '_') {
        name = format!("{otherwise}_{name}").trim_end_matches('_').to_owned();
    }
    if WORDS.contains(&format!(" {name} ")) { otherwise.to_owned() } else { name }
}

/// Writes the network: the model, then its blocks.
pub(super) fn write(network: &Network, names: &[Option<Name>], plan: &Plan, header: &Header) -> String {
    let mut out = String::new();
    let dims: Vec<_> = header.shape.dims().iter().map(usize::to_string).collect();
    // Writing to a string does not fail.
    let _ = writeln!(out, "model {} {{", header.model);
    for setting in &header.settings {
        let _ = writeln!(out, "    {setting}");
    }
    let attributes = header.attributes.join(", ");
    let _ = writeln!(out, "    input {}: tensor[{}] {{ {attributes} }}\n", header.input, dims.join(", "));
    let items = model_items(network, names, plan);
    for line in body::lines(&items, (0, &header.input), network.output, "output") {
        let _ = writeln!(out, "    {line}");
    }
    out.push_str("}\n");
    for block in &plan.blocks {
        write_block(&mut out, network, block);
    }
    out
}

/// The layers that are in no block, and the calls of blocks.
fn model_items(network: &Network, names: &[Option<Name>], plan: &Plan) -> Vec<Item> {
    let mut items = Vec::new();
    let mut calls = plan.calls.iter().peekable();
    let mut i = 1;
    while let Some(unit) = network.units.get(i) {
        if let Some(call) = calls.next_if(|call| call.region.first == i) {
            let block = &plan.blocks[call.block];
            let numbers = block.parameters.iter().zip(&call.arguments);
            let mut arguments: Vec<String> =
                numbers.map(|(name, value)| format!("{name}: {value}")).collect();
            arguments.push(format!("name: {}", quoted(&call.name)));
            let (result, operands, word) = (call.region.last, vec![call.region.entry], block.name.clone());
            items.push(Item { result, operands, word, arguments, role: Role::Alone });
            i = call.region.last + 1;
            continue;
        }
        let mut arguments: Vec<String> = attributes_of(unit).iter().filter_map(Attribute::written).collect();
        arguments.extend(names[i].as_ref().map(|name| format!("name: {}", quoted(&name.text))));
        items.push(item(unit, i, arguments));
        i += 1;
    }
    items
}

fn write_block(out: &mut String, network: &Network, block: &Block) {
    let parameters: String = block.parameters.iter().map(|p| format!(", {p}: int")).collect();
    let _ = writeln!(out, "\nblock {}(x{parameters}) {{", block.name);
    let items: Vec<Item> = block
        .region
        .units()
        .zip(&block.layers)
        .map(|(i, (name, attributes))| {
            let mut arguments = attributes.clone();
            arguments.extend(name.as_ref().map(|name| format!("name: {}", quoted(name))));
            item(&network.units[i], i, arguments)
        })
        .collect();
    for line in body::lines(&items, (block.region.entry, "x"), block.region.last, "return") {
        let _ = writeln!(out, "    {line}");
    }
    out.push_str("}\n");
}

fn item(unit: &Unit, result: usize, arguments: Vec<String>) -> Item {
    let word = unit.layer.kind().to_owned();
    let main = matches!(unit.layer, Layer::Conv(_) | Layer::Linear(_));
    let role = if main { Role::Main } else { Role::Side };
    Item { result, operands: unit.operands.clone(), word, arguments, role }
}

/// An attribute of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) key: &'static str,
    pub(super) value: Setting,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// As it is written.
    Fixed(String),
    /// A number that may be a parameter of a block. As the default it is not written, as `word` by its word.
    Number { value: usize, default: Option<usize>, word: Option<&'static str> },
}

impl Attribute {
    fn fixed(key: &'static str, text: impl Into<String>) -> Self {
        Self { key, value: Setting::Fixed(text.into()) }
    }

    fn number(key: &'static str, value: usize, default: Option<usize>) -> Self {
        Self { key, value: Setting::Number { value, default, word: None } }
    }

    /// `key: value`, unless it is the default.
    pub(super) fn written(&self) -> Option<String> {
        match &self.value {
            Setting::Fixed(text) => Some(format!("{}: {text}", self.key)),
            Setting::Number { value, default, .. } if Some(*value) == *default => None,
            Setting::Number { word: Some(word), .. } => Some(format!("{}: {word}", self.key)),
            Setting::Number { value, .. } => Some(format!("{}: {value}", self.key)),
        }
    }
}

fn pair(key: &'static str, (rows, columns): (usize, usize), default: Option<usize>) -> Attribute {
    if rows == columns {
        Attribute::number(key, rows, default)
    } else {
        Attribute::fixed(key, format!("{rows}x{columns}"))
    }
}

/// All attributes of a unit but its name, in the order in which they are written.
pub(super) fn attributes_of(unit: &Unit) -> Vec<Attribute> {
    match &unit.layer {
        Layer::Conv(conv) => {
            let (rows, columns) = conv.kernel;
            let depthwise = conv.groups == Groups::Contiguous(conv.out)
                && unit.weight("weight").is_some_and(|w| w.dims.get(1) == Some(&1));
            let mut out = Vec::new();
            if !depthwise {
                out.push(Attribute::number("out", conv.out, None));
            }
            out.push(Attribute::fixed(
                "kernel",
                match conv.support {
                    Support::Full => format!("{rows}x{columns}"),
                    Support::Cross => format!("cross({rows})"),
                    Support::Strips => format!("strips({rows})"),
                },
            ));
            out.push(pair("stride", conv.stride, Some(1)));
            let mut pad = pair("pad", (conv.pad.h, conv.pad.w), Some(0));
            let same =
                rows % 2 == 1 && columns % 2 == 1 && (conv.pad.h, conv.pad.w) == (rows / 2, columns / 2);
            match &mut pad.value {
                Setting::Number { word, .. } if same => *word = Some("same"),
                Setting::Fixed(text) if same => "same".clone_into(text),
                Setting::Number { .. } | Setting::Fixed(_) => {}
            }
            out.push(pad);
            match conv.groups {
                _ if depthwise => out.push(Attribute::fixed("groups", "depthwise")),
                Groups::Dense => {}
                Groups::Contiguous(g) => out.push(Attribute::number("groups", g, None)),
                Groups::Striped(g) => out.push(Attribute::number("striped", g, None)),
            }
            out.extend((conv.bias == Some(false)).then(|| Attribute::fixed("bias", "false")));
            out
        }
        Layer::Linear(linear) => {
            let mut out = vec![Attribute::number("out", linear.out, None)];
            out.extend((linear.bias == Some(false)).then(|| Attribute::fixed("bias", "false")));
            out
        }
        #[expect(clippy::float_cmp, reason = "the default is this number")]
        Layer::BatchNorm(norm) if norm.eps == 1e-5 => Vec::new(),
        Layer::BatchNorm(norm) => vec![Attribute::fixed("eps", real(norm.eps))],
        Layer::Shuffle(shuffle) => vec![Attribute::number("groups", shuffle.groups, None)],
        Layer::Subsample(subsample) => vec![pair("stride", subsample.stride, None)],
        Layer::PadChannels(pad) => vec![
            Attribute::number("before", pad.before, Some(0)),
            Attribute::number("after", pad.after, Some(0)),
        ],
        Layer::Pool(pool) => pool_attributes(pool),
        Layer::Activation(Activation::Quad { a, b, c }) => {
            let mut out = vec![Attribute::fixed("a", real(*a))];
            out.extend((*b != 0.0).then(|| Attribute::fixed("b", real(*b))));
            out.extend((*c != 0.0).then(|| Attribute::fixed("c", real(*c))));
            out
        }
        Layer::Input | Layer::Add | Layer::Concat | Layer::Flatten | Layer::Activation(_) => Vec::new(),
    }
}

fn pool_attributes(pool: &Pool) -> Vec<Attribute> {
    match pool.kind {
        PoolKind::GlobalAverage => Vec::new(),
        PoolKind::Average | PoolKind::Max => {
            let square = pool.kernel.0 == pool.kernel.1 && pool.stride.0 == pool.stride.1;
            let mut out = vec![pair("kernel", pool.kernel, None)];
            if square {
                out.push(pair("stride", pool.stride, Some(pool.kernel.0)));
            } else {
                out.push(Attribute::fixed("stride", format!("{}x{}", pool.stride.0, pool.stride.1)));
            }
            out.push(pair("pad", (pool.pad.h, pool.pad.w), Some(0)));
            out.extend((pool.rounding == Rounding::Up).then(|| Attribute::fixed("ceil", "true")));
            out
        }
    }
}
