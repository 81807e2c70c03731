//! From ONNX nodes to the language's layers, one node at a time.
//!
//! Every ONNX value is known (a [`Constant`]) or a [`Flow`]: a layer's value, seen through a [`View`], with
//! what is still to be done to it: a polynomial of each element, and zeros around it. So a shuffle written as
//! reshape, transpose, reshape becomes one layer, `c * x * x` one `quad`, and a `Pad` goes into the
//! convolution behind it. Nodes that cannot be run are collected, and the conversion goes on as well as it
//! can, so that all of them are named at once.

mod activation;
mod arithmetic;
mod ends;
mod linear;
mod pool;
mod refuse;
mod reshape;

use super::Note;
use super::constant::{self, Constant};
use super::error::{ImportError, Refusal};
use super::external::Folder;
use super::fold;
use super::memory::Memory;
use super::network::Network;
use super::node::{Attributes, MAX_SIZE};
use super::view::{Order, View};
use crate::layers::{Activation, Layer, ShapeError};
use crate::tensor::Shape;
use rten_onnx::onnx::{GraphProto, NodeProto};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most nodes of a graph.
const MAX_NODES: usize = 200_000;

/// What an ONNX name stands for.
#[derive(Clone, Debug)]
enum Value {
    Known(Arc<Constant>),
    Flow(Flow),
    /// The result of a node that was refused, or that read one.
    Lost,
}

/// A layer's value as ONNX sees it.
#[derive(Clone, Debug)]
struct Flow {
    unit: usize,
    view: View,
    /// Applied to each element.
    curve: Curve,
    /// Zeros above, left, below, right of an image that is seen as `[1, C, H, W]` or `[1, H, W, C]`.
    frame: [usize; 4],
    /// Whether nothing else reads the layer's value, as far as it is known.
    sole: bool,
}

/// `a x^2 + b x + c`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Curve {
    a: f64,
    b: f64,
    c: f64,
}

impl Curve {
    const SAME: Self = Self { a: 0.0, b: 1.0, c: 0.0 };
}

impl Flow {
    /// The ONNX shape, zeros included; `shape` is that of the layer's value.
    fn dims(&self, shape: &Shape) -> Vec<usize> {
        let mut dims = self.view.dims().to_vec();
        if self.frame == [0; 4] {
            return dims;
        }
        let [top, left, bottom, right] = self.frame;
        let last = self.view != View::of(shape) && self.view == View::channels_last(shape);
        let first = if last { 1 } else { 2 };
        if let Some([h, w]) = dims.get_mut(first..first + 2) {
            *h += top + bottom;
            *w += left + right;
        }
        dims
    }
}

/// Why a node gives nothing.
enum Stop {
    /// It cannot be run.
    Refused { what: String, instead: String },
    /// An operand was lost before.
    Lost,
    /// The import is over.
    Over(ImportError),
}

impl From<ImportError> for Stop {
    fn from(error: ImportError) -> Self {
        Self::Over(error)
    }
}

impl From<ShapeError> for Stop {
    fn from(error: ShapeError) -> Self {
        Self::Refused { what: error.message, instead: error.hint }
    }
}

fn refused<T>(what: impl Into<String>, instead: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused { what: what.into(), instead: instead.into() })
}

/// What a conversion gives beside the network.
pub(super) struct Converted {
    pub(super) network: Network,
    pub(super) input: String,
    pub(super) notes: Vec<Note>,
}

struct Converter<'a> {
    values: BTreeMap<&'a str, Value>,
    /// How often a name is read; the graph's output is one more.
    uses: BTreeMap<&'a str, usize>,
    network: Network,
    /// The batch that the input declares; it is bound to 1.
    batch: Option<usize>,
    folder: Option<&'a Folder>,
    memory: &'a mut Memory,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
    /// Curves that have become units.
    settled: BTreeMap<(usize, [u64; 3]), usize>,
}

/// One node with its operands at hand.
struct Site<'a> {
    node: &'a NodeProto,
    attributes: Attributes<'a>,
    /// Its name, or that of its output.
    name: String,
}

impl Site<'_> {
    fn op(&self) -> &str {
        self.node.op_type.as_deref().unwrap_or_default()
    }

    /// The attribute `name`, a list of `N` sizes; `instead` is what to use if one is negative, or there are
    /// fewer or more.
    fn sizes<const N: usize>(&self, name: &str, instead: &str) -> Result<[usize; N], Stop> {
        let given = self.attributes.ints(name).unwrap_or_default();
        let sizes = small(given, &format!("`{name}`"))?.and_then(|sizes| sizes.try_into().ok());
        sizes.map_or_else(|| refused(format!("`{name}` is {given:?}, not {N} sizes"), instead), Ok)
    }
}

/// Sizes that a window or a padding may have; none if one is negative.
fn small(given: &[i64], what: &str) -> Result<Option<Vec<usize>>, Stop> {
    let sizes: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
    match sizes.iter().flatten().find(|n| **n > MAX_SIZE) {
        Some(large) => refused(
            format!("{what} has the size {large}, which is too large: the limit is {MAX_SIZE}"),
            "check the numbers with which the network was exported",
        ),
        None => Ok(sizes),
    }
}

/// Converts a graph; `chosen` is the output to take if it has several.
///
/// # Errors
/// Everything of [`ImportError`] but what concerns the file's bytes.
pub(super) fn convert(
    graph: &GraphProto,
    folder: Option<&Folder>,
    chosen: Option<&str>,
    memory: &mut Memory,
) -> Result<Converted, ImportError> {
    if graph.node.len() > MAX_NODES {
        return Err(ImportError::TooManyNodes { limit: MAX_NODES });
    }
    let output = ends::chosen(graph, chosen)?;
    let mut converter = Converter {
        values: BTreeMap::new(),
        uses: ends::uses(graph, output),
        network: Network::default(),
        batch: None,
        folder,
        memory,
        refusals: Vec::new(),
        notes: Vec::new(),
        settled: BTreeMap::new(),
    };
    for tensor in &graph.initializer {
        let name = tensor.name.as_deref().unwrap_or_default();
        // What nothing reads is not decoded.
        if converter.uses.contains_key(name) {
            let known = constant::decode(tensor, folder, converter.memory)?;
            converter.values.insert(name, Value::Known(Arc::new(known)));
        }
    }
    let input = converter.input(graph)?;
    for node in ends::order(graph, output) {
        converter.node(node)?;
    }
    converter.output(output)?;
    let Converter { mut network, refusals, notes, .. } = converter;
    if !refusals.is_empty() {
        return Err(ImportError::Unsupported(refusals));
    }
    network.prune();
    Ok(Converted { network, input, notes })
}

impl<'a> Converter<'a> {
    /// Converts one node; what it gives goes under its output's name.
    fn node(&mut self, node: &'a NodeProto) -> Result<(), ImportError> {
        let name = node.name.as_deref().filter(|n| !n.is_empty());
        let outputs: Vec<&str> = node.output.iter().map(String::as_str).collect();
        let name = name.or(outputs.first().copied()).unwrap_or_default().to_owned();
        let site = Site { node, attributes: Attributes(node), name };
        let value = match self.value(&site) {
            Ok(value) => value,
            Err(Stop::Over(error)) => return Err(error),
            Err(Stop::Lost) => {
                self.look_ahead(&site);
                Value::Lost
            }
            Err(Stop::Refused { what, instead }) => {
                self.refuse(&site, what, instead);
                self.stand_in(&site)
            }
        };
        if let Some(output) = outputs.first() {
            self.values.insert(output, value);
        }
        for output in outputs.into_iter().skip(1) {
            if !self.uses.contains_key(output) {
                continue;
            }
            if self.refusals.last().is_none_or(|r| r.node != site.name) {
                let what = format!("its output `{output}` is used, beside the first");
                self.refuse(&site, what, "export the network without it".to_owned());
            }
            self.values.insert(output, Value::Lost);
        }
        Ok(())
    }

    fn refuse(&mut self, site: &Site<'a>, what: String, instead: String) {
        let refusal = Refusal { node: site.name.clone(), op: site.op().to_owned(), what, instead };
        self.refusals.push(refusal);
    }

    /// What comes out of a node.
    fn value(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let domain = site.node.domain.as_deref().unwrap_or_default();
        if !matches!(domain, "" | "ai.onnx") {
            return refused(
                format!("is of the domain `{domain}`"),
                "export the network with ONNX's own operators",
            );
        }
        if site.op() == "Constant" {
            return self.constant(site);
        }
        let known: Vec<Option<Arc<Constant>>> = self.known(site);
        let all = site.node.input.iter().zip(&known).all(|(name, k)| k.is_some() || name.is_empty());
        if all && !site.node.input.is_empty() {
            let inputs: Vec<Option<&Constant>> = known.iter().map(Option::as_deref).collect();
            if let Some(folded) = self.folded(site, &inputs)? {
                return Ok(Value::Known(Arc::new(folded)));
            }
            return refused(
                "is not computed while importing",
                "export the network with its constants folded",
            );
        }
        self.layer(site)
    }

    /// Operators whose operands are all known.
    fn folded(&mut self, site: &Site<'a>, inputs: &[Option<&Constant>]) -> Result<Option<Constant>, Stop> {
        if let Some(x) = inputs.first().copied().flatten()
            && let Some(dims) = reshape::target(site, &x.dims, inputs.get(1).copied().flatten(), None)
        {
            self.memory.charge_tensor(&dims, 8, &format!("`{}` reshaped", x.name))?;
            return Ok(Some(x.reshaped(dims)));
        }
        if site.op() == "Shape" {
            let dims = inputs.first().copied().flatten().map(|x| x.dims.clone()).unwrap_or_default();
            return Ok(Some(reshape::shape_of(site, &dims)));
        }
        if let ("ConstantOfShape", &[Some(shape)]) = (site.op(), inputs) {
            // Of its operand it has the shape and nothing else.
            let name = site.node.output.first().cloned().unwrap_or_default();
            return Ok(fold::filled(name, shape, &site.attributes, self.memory)?);
        }
        Ok(fold::fold(site.op(), inputs, &site.attributes, self.memory)?)
    }

    fn constant(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let given = &site.attributes;
        let known = if let Some(tensor) = given.find("value").and_then(|a| a.t.as_ref()) {
            constant::decode(tensor, self.folder, self.memory)?
        } else {
            let of = |dims, data| Constant { name: String::new(), dims, data };
            let single = |name| given.find(name);
            if let Some(v) = single("value_int").and_then(|a| a.i) {
                of(vec![], constant::Numbers::Integers(vec![v]))
            } else if let Some(v) = single("value_float").and_then(|a| a.f) {
                of(vec![], constant::Numbers::Floats(vec![v]))
            } else if let Some(v) = single("value_ints").map(|a| a.ints.clone()) {
                of(vec![v.len()], constant::Numbers::Integers(v))
            } else if let Some(v) = single("value_floats").map(|a| a.floats.clone()) {
                of(vec![v.len()], constant::Numbers::Floats(v))
            } else {
                return refused("holds neither a tensor nor numbers", "export it as a tensor");
            }
        };
        let name = if known.name.is_empty() { site.name.clone() } else { known.name };
        Ok(Value::Known(Arc::new(Constant { name, ..known })))
    }

    /// The operators that become layers, or another view of one.
    fn layer(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        match site.op() {
            "Conv" => self.conv(site),
            "Gemm" => self.gemm(site),
            "MatMul" => self.matmul(site),
            "BatchNormalization" => self.batch_norm(site),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(site),
            "Sum" => self.sum(site),
            "Pow" => self.power(site),
            "Neg" => self.negated(site),
            "Relu" => self.activation(site, Activation::Relu),
            "Clip" => self.clip(site),
            "Max" | "Min" => self.bounded(site),
            "MaxPool" => self.max_pool(site),
            "AveragePool" => self.average_pool(site),
            "GlobalAveragePool" => self.global_average(site),
            "GlobalMaxPool" => self.global_max(site),
            "ReduceMean" => self.reduce_mean(site),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(site),
            "Transpose" => self.transpose(site),
            "Concat" => self.concat(site),
            "Pad" => self.pad(site),
            "Slice" => self.slice(site),
            "Shape" => {
                let flow = self.flow(site, 0)?;
                let dims = self.seen(&flow);
                Ok(Value::Known(Arc::new(reshape::shape_of(site, &dims))))
            }
            "Dropout" => {
                let flow = self.flow(site, 0)?;
                if self.optional(site, 2)?.is_some_and(|mode| mode.scalar() == Some(1.0)) {
                    self.notes.push(Note::Dropout(site.name.clone()));
                }
                Ok(Value::Flow(flow))
            }
            "Identity" | "Cast" => Ok(Value::Flow(self.flow(site, 0)?)),
            "Softmax" | "LogSoftmax" | "ArgMax" => self.last(site),
            op => Err(refuse::operator(op)),
        }
    }

    /// The classes' order is that of the logits: the function behind them is left out.
    fn last(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let is_output = |name: &String| self.uses.get(name.as_str()) == Some(&1);
        let readers = site.node.output.first().is_some_and(is_output);
        if !readers || self.seen(&flow).iter().filter(|d| **d > 1).count() > 1 {
            return Err(refuse::operator(site.op()));
        }
        self.notes.push(Note::Dropped { op: site.op().to_owned(), node: site.name.clone() });
        Ok(Value::Flow(flow))
    }

    /// The known operands.
    fn known(&self, site: &Site<'a>) -> Vec<Option<Arc<Constant>>> {
        let of = |name: &String| match self.values.get(name.as_str()) {
            Some(Value::Known(constant)) => Some(Arc::clone(constant)),
            Some(Value::Flow(_) | Value::Lost) | None => None,
        };
        site.node.input.iter().map(of).collect()
    }

    fn operand(&self, site: &Site<'a>, i: usize) -> Result<&Value, Stop> {
        match site.node.input.get(i).filter(|name| !name.is_empty()) {
            None => refused(format!("lacks operand {}", i + 1), "check the model with ONNX's own checker"),
            Some(name) => match self.values.get(name.as_str()) {
                Some(Value::Lost) => Err(Stop::Lost),
                Some(value) => Ok(value),
                None => refused(
                    format!("reads `{name}`, which nothing gives"),
                    "check the model with ONNX's own checker",
                ),
            },
        }
    }

    /// Operand `i`, with what its other readers mean for it.
    fn taken(&self, site: &Site<'a>, i: usize) -> Result<Value, Stop> {
        let mut value = self.operand(site, i)?.clone();
        let once = site.node.input.get(i).is_some_and(|name| self.uses.get(name.as_str()) == Some(&1));
        if let Value::Flow(flow) = &mut value {
            flow.sole &= once;
        }
        Ok(value)
    }

    /// Operand `i`, which must be a layer's value.
    fn flow(&self, site: &Site<'a>, i: usize) -> Result<Flow, Stop> {
        match self.taken(site, i)? {
            Value::Flow(flow) => Ok(flow),
            Value::Lost => Err(Stop::Lost),
            Value::Known(_) if i == 0 => {
                refused("its first operand is constant, others are not", "put the image first")
            }
            Value::Known(_) => refused(
                format!("operand {} is constant, others are not", i + 1),
                "join values that are computed from the image",
            ),
        }
    }

    /// Operand `i`, which must be known.
    fn constant_at(&self, site: &Site<'a>, i: usize) -> Result<Arc<Constant>, Stop> {
        match self.operand(site, i)? {
            Value::Known(constant) => Ok(Arc::clone(constant)),
            Value::Lost => Err(Stop::Lost),
            Value::Flow(_) => refused(
                format!("operand {} is computed from the image; it must be constant", i + 1),
                "export the network with constant weights",
            ),
        }
    }

    /// Operand `i` if it is given.
    fn optional(&self, site: &Site<'a>, i: usize) -> Result<Option<Arc<Constant>>, Stop> {
        match site.node.input.get(i).filter(|name| !name.is_empty()) {
            Some(_) => self.constant_at(site, i).map(Some),
            None => Ok(None),
        }
    }

    /// The flow with its curve made a layer; zeros around it are refused.
    fn settle(&mut self, origin: &str, flow: &Flow) -> Result<Flow, Stop> {
        if flow.frame != [0; 4] {
            return refused(
                "reads an image that `Pad` has framed",
                "pad right before a convolution or a pool",
            );
        }
        self.curved(origin, flow)
    }

    /// The flow with its curve made a layer.
    fn curved(&mut self, origin: &str, flow: &Flow) -> Result<Flow, Stop> {
        let Curve { a, b, c } = flow.curve;
        if flow.curve == Curve::SAME {
            return Ok(flow.clone());
        }
        if ![a, b, c].iter().all(|v| v.is_finite()) {
            return refused("computes with numbers that are not finite", "check the constants");
        }
        let key = (flow.unit, [a.to_bits(), b.to_bits(), c.to_bits()]);
        let unit = match self.settled.get(&key) {
            Some(&unit) => unit,
            None if a == 0.0 => {
                let channels = self.network.shape(flow.unit).channels();
                self.memory.charge_tensor(&[channels], 16, "a scaling")?;
                #[expect(clippy::cast_possible_truncation, reason = "weights are 32-bit floats")]
                let (b, c) = (b as f32, c as f32);
                self.scaled(origin, flow.unit, vec![b; channels], vec![c; channels])?
            }
            None => {
                let activation = if (a, b, c) == (1.0, 0.0, 0.0) {
                    Activation::Square
                } else {
                    Activation::Quad { a, b, c }
                };
                self.network.add(Layer::Activation(activation), &[flow.unit], Vec::new(), origin)?
            }
        };
        self.settled.insert(key, unit);
        Ok(Flow { unit, curve: Curve::SAME, ..flow.clone() })
    }

    /// The unit of an image in its own order `[C, H, W]`, with the zeros that are to be around it.
    fn image(&mut self, origin: &str, flow: &Flow) -> Result<(usize, [usize; 4]), Stop> {
        let flow = self.curved(origin, flow)?;
        let shape = self.network.shape(flow.unit).clone();
        let unit = match flow.view.as_image(&shape) {
            Order::Natural => flow.unit,
            Order::Shuffled(shuffle) => {
                self.network.add(Layer::Shuffle(shuffle), &[flow.unit], Vec::new(), origin)?
            }
            Order::Other => {
                return refused(
                    format!(
                        "reads a {:?} tensor that is not an image in the order [1, C, H, W]",
                        flow.view.dims()
                    ),
                    "reshape and transpose only to shuffle channels, to change between NCHW and NHWC, or to flatten",
                );
            }
        };
        Ok((unit, flow.frame))
    }

    /// As [`Self::image`], without zeros around it.
    fn plain_image(&mut self, origin: &str, flow: &Flow) -> Result<usize, Stop> {
        let flow = self.settle(origin, flow)?;
        self.image(origin, &flow).map(|(unit, _)| unit)
    }

    /// The ONNX shape of a flow.
    fn seen(&self, flow: &Flow) -> Vec<usize> {
        flow.dims(self.network.shape(flow.unit))
    }

    /// The flow of a unit in its own order.
    fn natural(&self, unit: usize) -> Flow {
        let view = View::of(self.network.shape(unit));
        Flow { unit, view, curve: Curve::SAME, frame: [0; 4], sole: true }
    }

    /// As [`Self::natural`], features as an image of one pixel.
    fn as_pixel(&self, unit: usize) -> Flow {
        let flow = self.natural(unit);
        let channels = self.network.shape(unit).channels();
        if self.network.shape(unit).is_image() {
            flow
        } else {
            Flow { view: flow.view.reshaped(vec![1, channels, 1, 1]), ..flow }
        }
    }
}
