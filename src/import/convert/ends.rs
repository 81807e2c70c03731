//! Where a graph begins and ends: its input, its output, and the order of the nodes between.

use super::{Converter, Curve, Flow, Stop, Value};
use crate::import::Note;
use crate::import::error::{ImportError, InputFault, Refusal};
use crate::import::network::Unit;
use crate::import::view::View;
use crate::layers::Layer;
use crate::tensor::{MAX_ELEMENTS, Shape};
use rten_onnx::onnx::{GraphProto, NodeProto, ValueInfoProto};
use std::collections::BTreeMap;

/// The most names that an error lists.
const SHOWN: usize = 8;

/// Whether an image of `h` rows and `c` in the last place has its channels there, as TensorFlow's have.
fn channels_last(h: usize, c: usize) -> bool {
    (1..=4).contains(&c) && h > 4
}

/// The graph's output, or the `wanted` one.
pub(super) fn chosen<'a>(graph: &'a GraphProto, wanted: Option<&str>) -> Result<&'a str, ImportError> {
    let names: Vec<&str> = graph.output.iter().filter_map(|o| o.name.as_deref()).collect();
    let shown = || {
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ") + &more
    };
    match (wanted, names.as_slice()) {
        (None, &[name]) => Ok(name),
        (None, _) => Err(ImportError::Outputs { found: names.len(), names: shown() }),
        (Some(wanted), _) => {
            let found = names.iter().copied().find(|name| *name == wanted);
            found.ok_or_else(|| ImportError::NoOutput { wanted: wanted.to_owned(), names: shown() })
        }
    }
}

/// How often every name is read; `output` once more.
pub(super) fn uses<'a>(graph: &'a GraphProto, output: &'a str) -> BTreeMap<&'a str, usize> {
    let read = graph.node.iter().flat_map(|node| &node.input).map(String::as_str);
    let out = std::iter::once(output);
    let mut uses = BTreeMap::new();
    for name in read.chain(out) {
        *uses.entry(name).or_insert(0) += 1;
    }
    uses
}

/// The nodes that `output` needs, operands first. Files list them so; one that does not is put in order,
/// and a node that needs itself is left where it stands.
pub(super) fn order<'a>(graph: &'a GraphProto, output: &str) -> Vec<&'a NodeProto> {
    let mut maker = BTreeMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            maker.entry(output.as_str()).or_insert(i);
        }
    }
    let mut needed = vec![false; graph.node.len()];
    let mut done = vec![false; graph.node.len()];
    let mut ordered = Vec::new();
    // (node, whether its operands have been visited)
    let mut open: Vec<(usize, bool)> = maker.get(output).map(|&i| (i, false)).into_iter().collect();
    while let Some((i, visited)) = open.pop() {
        if visited {
            if !done[i] {
                done[i] = true;
                ordered.push(i);
            }
            continue;
        }
        if std::mem::replace(&mut needed[i], true) {
            continue;
        }
        open.push((i, true));
        let operands = graph.node[i].input.iter().rev().filter_map(|name| maker.get(name.as_str()).copied());
        open.extend(operands.map(|o| (o, false)));
    }
    // The file's own order, where it is one: it reads as the network was written.
    let place: BTreeMap<usize, usize> = ordered.iter().enumerate().map(|(place, &i)| (i, place)).collect();
    let sound = |i: usize| {
        let operands = graph.node[i].input.iter().filter_map(|name| maker.get(name.as_str()));
        operands.into_iter().all(|&o| o < i)
    };
    if place.keys().all(|&i| sound(i)) {
        ordered.sort_unstable();
    }
    ordered.into_iter().map(|i| &graph.node[i]).collect()
}

impl<'a> Converter<'a> {
    /// Makes the graph's input the first unit; its name.
    pub(super) fn input(&mut self, graph: &'a GraphProto) -> Result<String, ImportError> {
        let name = |info: &'a ValueInfoProto| info.name.as_deref().unwrap_or_default();
        let inputs: Vec<&ValueInfoProto> =
            graph.input.iter().filter(|i| !self.values.contains_key(name(i))).collect();
        let inputs: Vec<&ValueInfoProto> =
            inputs.into_iter().filter(|i| self.uses.contains_key(name(i))).collect();
        let [info] = inputs.as_slice() else {
            let names = inputs.iter().take(SHOWN).map(|i| name(i)).collect::<Vec<_>>().join(", ");
            return Err(ImportError::Input(InputFault::Count { found: inputs.len(), names }));
        };
        let declared =
            info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).and_then(|t| t.shape.as_ref());
        let sizes: Vec<Option<usize>> = declared
            .map(|shape| {
                shape.dim.iter().map(|d| usize::try_from(d.dim_value?).ok().filter(|n| *n > 0)).collect()
            })
            .unwrap_or_default();
        let shown = || {
            let sizes: Vec<_> = sizes.iter().map(|s| s.map_or("?".to_owned(), |n| n.to_string())).collect();
            format!("[{}]", sizes.join(", "))
        };
        let fault =
            |make: fn(String, String) -> InputFault| ImportError::Input(make(name(info).to_owned(), shown()));
        let symbolic = || fault(|name, shape| InputFault::Symbolic { name, shape });
        let own = sizes.get(1..).unwrap_or_default();
        let own: Vec<usize> = own.iter().copied().collect::<Option<_>>().ok_or_else(symbolic)?;
        if own.iter().fold(1_usize, |n, &d| n.saturating_mul(d)) > MAX_ELEMENTS {
            return Err(fault(|name, shape| InputFault::TooLarge { name, shape, limit: MAX_ELEMENTS }));
        }
        let (shape, view) = match *own.as_slice() {
            [features] => (Shape::flat(features), None),
            [h, w, c] if channels_last(h, c) => {
                self.notes.push(Note::ChannelsLast);
                let shape = Shape::image(c, h, w);
                (shape.clone(), Some(View::channels_last(&shape)))
            }
            [c, h, w] => (Shape::image(c, h, w), None),
            _ => return Err(fault(|name, shape| InputFault::Rank { name, shape })),
        };
        self.batch = sizes.first().copied().flatten().filter(|b| *b > 1);
        if let Some(batch) = self.batch {
            self.notes.push(Note::Batch(batch));
        }
        let view = view.unwrap_or_else(|| View::of(&shape));
        let origin = name(info).to_owned();
        self.network.units.push(Unit {
            layer: Layer::Input,
            operands: Vec::new(),
            shape,
            weights: Vec::new(),
            origin: origin.clone(),
        });
        let flow = Flow { unit: 0, view, curve: Curve::SAME, frame: [0; 4], sole: true };
        self.values.insert(name(info), Value::Flow(flow));
        Ok(origin)
    }

    /// Declares the output.
    pub(super) fn output(&mut self, name: &str) -> Result<(), ImportError> {
        let (what, instead) = match self.values.get(name).cloned() {
            Some(Value::Flow(flow)) => match self.settle(name, &flow) {
                Ok(flow) if flow.view.is_natural(self.network.shape(flow.unit)) => {
                    self.network.output = flow.unit;
                    return Ok(());
                }
                Ok(_) => {
                    ("is transposed".to_owned(), "export the network without the transposition".to_owned())
                }
                Err(Stop::Refused { what, instead }) => (what, instead),
                Err(Stop::Over(error)) => return Err(error),
                Err(Stop::Lost) => return Ok(()),
            },
            Some(Value::Lost) => return Ok(()),
            Some(Value::Known(_)) | None => (
                "does not depend on the input".to_owned(),
                "check the model with ONNX's own checker".to_owned(),
            ),
        };
        self.refusals.push(Refusal { node: name.to_owned(), op: "output".to_owned(), what, instead });
        Ok(())
    }
}
