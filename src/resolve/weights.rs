//! Do the weights fit? Every tensor that a layer reads must be there, in shape, and zero where the
//! layer declares zeros.
//!
//! Only the kernels of `cross` and `strips` are loaded; of the others the shape is enough.

use super::sink::Sink;
use super::suggest::{nearest, quoted};
use crate::diag::{Diagnostic, Span};
use crate::graph::{Graph, NodeId};
use crate::layers::{Conv, Layer, WantedWeight};
use crate::tensor::{Support, Tensor};
use crate::weights::WeightSource;
use std::collections::{BTreeMap, BTreeSet};

/// PyTorch's counter of batches, which inference does not read.
const COUNTER: &str = "num_batches_tracked";

/// How many names a message lists.
const MAX_LISTED: usize = 4;

/// A tensor that does not fit: the message and what stands at the caret.
struct Misfit {
    code: &'static str,
    name: String,
    message: String,
    label: String,
    hint: String,
}

/// Checks the weights of every layer, and reports tensors that no layer reads. `declared` is where the
/// model names its weights.
pub(super) fn check(graph: &Graph<Layer>, source: &dyn WeightSource, declared: Span, sink: &mut Sink) {
    let names = source.names();
    let wanted = |id: NodeId| {
        let name = graph.node(id).name.as_str();
        wanted(graph, id).into_iter().map(move |weight| (format!("{name}.{}", weight.suffix), weight))
    };
    let read: BTreeSet<String> = graph.ids().flat_map(|id| wanted(id).map(|(name, _)| name)).collect();
    let unread: Vec<&String> =
        names.iter().filter(|name| !read.contains(*name) && !name.ends_with(COUNTER)).collect();
    let mut misfits: BTreeMap<(u32, u32, &'static str), Vec<Misfit>> = BTreeMap::new();
    for id in graph.ids() {
        let node = graph.node(id);
        for (name, wanted) in wanted(id) {
            if let Some(misfit) = misfit(&name, &wanted, &node.layer, source, &unread) {
                misfits.entry((node.span.start, node.span.end, misfit.code)).or_default().push(misfit);
            }
        }
    }
    for ((start, end, _), group) in misfits {
        report(Span { start, end }, group, sink);
    }
    if !unread.is_empty() {
        let count = unread.len();
        let message = format!("no layer reads {count} of the {} tensors of the weights", names.len());
        sink.report(
            Diagnostic::warning("unused-weights", message, declared, listed(unread.into_iter()))
                .hint("name the layers as the tensors, or leave the tensors out of the file"),
        );
    }
}

fn wanted(graph: &Graph<Layer>, id: NodeId) -> Vec<WantedWeight> {
    let first = graph.input_shapes(id).first().copied();
    first.map(|x| graph.node(id).layer.weights(x)).unwrap_or_default()
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let rest = names.len().saturating_sub(MAX_LISTED);
    let shown: Vec<_> = names.take(MAX_LISTED).map(|name| quoted(name)).collect();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// One diagnostic for all misfits of one kind at one place.
fn report(place: Span, group: Vec<Misfit>, sink: &mut Sink) {
    let mut group = group.into_iter();
    let Some(first) = group.next() else {
        return;
    };
    let others: Vec<String> = group.map(|misfit| misfit.name).collect();
    let mut found = Diagnostic::error(first.code, first.message, place, first.label).hint(first.hint);
    if !others.is_empty() {
        found = found.hint(format!("the same holds for {}", listed(others.iter())));
    }
    sink.report(found);
}

fn misfit(
    name: &str,
    wanted: &WantedWeight,
    layer: &Layer,
    source: &dyn WeightSource,
    unread: &[&String],
) -> Option<Misfit> {
    let Some(found) = source.shape(name) else {
        if wanted.optional {
            return None;
        }
        let near = nearest(name, unread.iter().map(|name| name.as_str()));
        return Some(Misfit {
            code: "missing-weight",
            name: name.to_owned(),
            message: format!("the weights have no tensor {}", quoted(name)),
            label: format!("wants {} of shape {}", quoted(name), wanted.shape),
            hint: match near {
                Some(near) => format!("did you mean `{near}`? A layer's `name:` gives the tensors' names"),
                None => "give the layer the tensors' name by `name:`, as in PyTorch's state_dict".to_owned(),
            },
        });
    };
    if found != wanted.shape {
        return Some(Misfit {
            code: "weight-shape",
            name: name.to_owned(),
            message: format!("tensor {} has shape {found}, expected {}", quoted(name), wanted.shape),
            label: format!("wants {}", wanted.shape),
            hint: "check the layer's channels, kernel and groups, or export the weights again".to_owned(),
        });
    }
    match layer {
        Layer::Conv(conv) if conv.support != Support::Full && wanted.suffix == "weight" => {
            declared_zeros(name, conv, source)
        }
        Layer::Input
        | Layer::Conv(_)
        | Layer::Linear(_)
        | Layer::BatchNorm(_)
        | Layer::Add
        | Layer::Concat
        | Layer::Shuffle(_)
        | Layer::Subsample(_)
        | Layer::PadChannels(_)
        | Layer::Pool(_)
        | Layer::Activation(_)
        | Layer::Flatten => None,
    }
}

/// The first tap outside the declared support that is not zero.
fn declared_zeros(name: &str, conv: &Conv, source: &dyn WeightSource) -> Option<Misfit> {
    let (message, hint) = match source.load(name) {
        Err(error) => (error.to_string(), "export the weights as finite 32-bit floats".to_owned()),
        Ok(tensor) => {
            let (at, value, count) = violations(conv, &tensor)?;
            let word = if conv.support == Support::Cross { "cross" } else { "strips" };
            let [o, i, y, x] = at;
            let message = format!(
                "tensor {} is {value} at [{o}, {i}, {y}, {x}], where the kernel `{word}` declares a zero",
                quoted(name)
            );
            let which = if count == 1 { "it".to_owned() } else { format!("these {count} weights") };
            (message, format!("set {which} to zero, as a mask in training does, or declare a full kernel"))
        }
    };
    let (code, label) = ("weight-zeros", "declares zeros".to_owned());
    Some(Misfit { code, name: name.to_owned(), message, label, hint })
}

/// Place and value of the first weight that should be zero, and how many there are. The place is that
/// of the file, whose rows are ordered by group.
fn violations(conv: &Conv, tensor: &Tensor<f32>) -> Option<([usize; 4], f32, usize)> {
    let (kh, kw) = conv.kernel;
    let columns = tensor.shape.dims().get(1).copied().unwrap_or(0);
    let mut first = None;
    let mut count = 0;
    for o in 0..conv.out {
        let row = conv.groups.file_row(o, conv.out);
        for i in 0..columns {
            for (y, x) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                if conv.support.has((y, x), conv.kernel, o, conv.out) {
                    continue;
                }
                let value = tensor.data.get(((row * columns + i) * kh + y) * kw + x).copied().unwrap_or(0.0);
                if value != 0.0 {
                    count += 1;
                    first.get_or_insert(([row, i, y, x], value));
                }
            }
        }
    }
    first.map(|(at, value)| (at, value, count))
}

#[cfg(test)]
mod tests {
    use super::violations;
    use crate::layers::Conv;
    use crate::tensor::{Groups, Pad, Shape, Support, Tensor};

    #[test]
    fn zeros_of_strips_are_looked_for_in_the_files_row_order() {
        let conv = Conv {
            out: 4,
            kernel: (3, 3),
            support: Support::Strips,
            stride: (1, 1),
            pad: Pad { h: 1, w: 1 },
            groups: Groups::Striped(2),
            bias: None,
        };
        // Rows of the file: channels 0, 2 (group 0), then 1, 3. Channels 0 and 1 are rows, 1x3.
        let mut weight = Tensor::zeros(Shape::of(&[4, 1, 3, 3]));
        for (file_row, horizontal) in [(0, true), (1, false), (2, true), (3, false)] {
            for k in 0..3 {
                let tap = if horizontal { 3 + k } else { 3 * k + 1 };
                weight.data[file_row * 9 + tap] = 1.0;
            }
        }
        assert_eq!(violations(&conv, &weight), None);
        weight.data[9] = 0.5;
        assert_eq!(violations(&conv, &weight), Some(([1, 0, 0, 0], 0.5, 1)));
    }
}
