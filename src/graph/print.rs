//! Text forms of both graphs: a header, then one line a node with every attribute and its shape.
//!
//! A node reads `%3 name = kind(%1, %2) attributes : shape`; block and quantisation attributes follow
//! where the file gives some, and bounds in the quantised network. Spans are not shown.

use super::{
    Graph, Header, IntLayer, IntNetwork, Interval, Model, Node, QuantAttributes, RangeChoice, Requant,
    WeightsDecl,
};
use crate::layers::{Activation, Conv, Layer, Linear, Pool, PoolKind, Rounding};
use crate::tensor::{Groups, Support};
use std::fmt::{self, Display, Formatter, Write};

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {}", self.header)?;
        write_nodes(f, &self.graph, |layer| (layer.kind(), attributes(layer)), |_| String::new())
    }
}

impl Display for IntNetwork {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "quantised {}", self.header)?;
        let bounds = if self.assumed { "assumed" } else { "proven" };
        writeln!(
            f,
            "  input step {:e}, output step {:e}, bounds {bounds}",
            self.input_scale, self.output_scale
        )?;
        write_nodes(
            f,
            &self.graph,
            |layer| (layer.kind(), layer.attributes()),
            |id| self.intervals.get(id).map(|i| format!(" in {i}")).unwrap_or_default(),
        )
    }
}

impl Display for Header {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ring {} weights ", self.name, self.ring)?;
        match &self.weights {
            WeightsDecl::None => write!(f, "none")?,
            WeightsDecl::File(path) => write!(f, "{path:?}")?,
            WeightsDecl::Random(seed) => write!(f, "random({seed})")?,
        }
        if let Some(path) = &self.calibration {
            write!(f, " calibration {path:?}")?;
        }
        write!(f, " bits {} x {} ranges {}", self.weight_bits, self.activation_bits, self.ranges)?;
        let input = &self.input;
        write!(f, " pixels scale {} mean {:?} std {:?} pad {}", input.scale, input.mean, input.std, input.pad)
    }
}

impl Display for RangeChoice {
    /// As the language writes it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("minmax"),
            Self::Percentile(p) => write!(f, "percentile({p})"),
            Self::MeanSquare => f.write_str("mse"),
        }
    }
}

impl Display for Interval {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.lo, self.hi)
    }
}

impl IntLayer {
    /// A word for the kind of layer.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Conv(_) => "conv",
            Self::Linear(_) => "linear",
            Self::Add { .. } => "add",
            Self::Concat { .. } => "concat",
            Self::Shuffle(_) => "channel_shuffle",
            Self::Subsample(_) => "subsample",
            Self::PadChannels(_) => "pad_channels",
            Self::SumPool(_) => "sum_pool",
            Self::MaxPool(_) => "max_pool",
            Self::Requant(_) => "requant",
            Self::Poly { .. } => "poly",
            Self::Flatten => "flatten",
        }
    }

    fn attributes(&self) -> String {
        match self {
            Self::Input(range) => format!(" range {range}"),
            Self::Conv(l) => conv(l),
            Self::Linear(l) => linear(*l),
            Self::Add { shifts } | Self::Concat { shifts } => format!(" shifts {shifts:?}"),
            Self::Shuffle(l) => attributes(&Layer::Shuffle(*l)),
            Self::Subsample(l) => attributes(&Layer::Subsample(*l)),
            Self::PadChannels(l) => attributes(&Layer::PadChannels(*l)),
            Self::SumPool(l) | Self::MaxPool(l) => pool(l),
            Self::Requant(r) => requant(*r),
            Self::Poly { a, b, c, requant: r } => format!(" {a} x^2 {b:+} x {c:+}{}", requant(*r)),
            Self::Flatten => String::new(),
        }
    }
}

fn write_nodes<L>(
    f: &mut Formatter<'_>,
    graph: &Graph<L>,
    describe: impl Fn(&L) -> (&'static str, String),
    bounds: impl Fn(usize) -> String,
) -> fmt::Result {
    for id in graph.ids() {
        let node = graph.node(id);
        let (kind, attributes) = describe(&node.layer);
        let operands: Vec<_> = graph.inputs(id).iter().map(|i| format!("%{}", i.0)).collect();
        write!(f, "  %{} {} = {kind}({}){attributes}", id.0, node.name, operands.join(", "))?;
        writeln!(f, "{} : {}{}", written(node), node.shape, bounds(id.0 as usize))?;
    }
    writeln!(f, "  output %{}", graph.output().0)
}

fn written<L>(node: &Node<L>) -> String {
    let QuantAttributes { range, bits, weight_bits } = node.quant;
    let mut text = String::new();
    if let Some((lo, hi)) = range {
        let _ = write!(text, " range [{lo}, {hi}]");
    }
    if let Some(bits) = bits {
        let _ = write!(text, " bits {bits}");
    }
    if let Some(bits) = weight_bits {
        let _ = write!(text, " weight_bits {bits}");
    }
    if let Some(block) = &node.block {
        let _ = write!(text, " block {block}");
    }
    text
}

fn attributes(layer: &Layer) -> String {
    match layer {
        Layer::Input | Layer::Add | Layer::Concat | Layer::Flatten => String::new(),
        Layer::Conv(l) => conv(l),
        Layer::Linear(l) => linear(*l),
        Layer::BatchNorm(l) => format!(" eps {:e}", l.eps),
        Layer::Shuffle(l) => format!(" groups {}", l.groups),
        Layer::Subsample(l) => format!(" stride {}x{}", l.stride.0, l.stride.1),
        Layer::PadChannels(l) => format!(" before {} after {}", l.before, l.after),
        Layer::Pool(l) => pool(l),
        Layer::Activation(Activation::Quad { a, b, c }) => format!(" a {a} b {b} c {c}"),
        Layer::Activation(Activation::Relu | Activation::Relu6 | Activation::Square) => String::new(),
    }
}

fn conv(l: &Conv) -> String {
    let ((kh, kw), (sh, sw)) = (l.kernel, l.stride);
    let support = match l.support {
        Support::Full => "",
        Support::Cross => " cross",
        Support::Strips => " strips",
    };
    let groups = match l.groups {
        Groups::Dense => "dense".to_string(),
        Groups::Contiguous(g) => format!("groups {g}"),
        Groups::Striped(g) => format!("striped {g}"),
    };
    let (ph, pw) = (l.pad.h, l.pad.w);
    let bias = bias(l.bias);
    format!(" out {} kernel {kh}x{kw}{support} stride {sh}x{sw} pad {ph}x{pw} {groups} bias {bias}", l.out)
}

fn linear(l: Linear) -> String {
    format!(" out {} bias {}", l.out, bias(l.bias))
}

fn bias(bias: Option<bool>) -> &'static str {
    match bias {
        Some(true) => "yes",
        Some(false) => "no",
        None => "optional",
    }
}

fn pool(l: &Pool) -> String {
    match l.kind {
        PoolKind::GlobalAverage => " global".to_string(),
        PoolKind::Average | PoolKind::Max => {
            let ((kh, kw), (sh, sw)) = (l.kernel, l.stride);
            let up = if l.rounding == Rounding::Up { " ceil" } else { "" };
            format!(" kernel {kh}x{kw} stride {sh}x{sw} pad {}x{}{up}", l.pad.h, l.pad.w)
        }
    }
}

fn requant(r: Requant) -> String {
    format!(" shift {} clamp {}..{}", r.shift, r.lo, r.hi)
}
