//! Operators that are not there, and what to use instead; and how the conversion goes on behind them.

use super::{Converter, Site, Stop, Value};

/// Operators that are known and have a layer, whatever their operands.
const KNOWN: &[&str] = &[
    "Conv",
    "Gemm",
    "MatMul",
    "BatchNormalization",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Sum",
    "Pow",
    "Neg",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "Pad",
    "Slice",
    "Shape",
    "Identity",
    "Dropout",
    "Cast",
    "Constant",
    "ConstantOfShape",
    "Softmax",
    "LogSoftmax",
    "ArgMax",
    "Gather",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Floor",
    "Ceil",
    "Min",
    "Max",
    "Range",
    "ReduceProd",
];

/// Operators of each element, or of each pixel, that leave the shape as it is.
const SHAPE_KEPT: &[&str] = &[
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Swish",
    "Mish",
    "Gelu",
    "Tanh",
    "Elu",
    "Selu",
    "Celu",
    "LeakyRelu",
    "PRelu",
    "Softplus",
    "Softsign",
    "ThresholdedRelu",
    "Erf",
    "Exp",
    "Log",
    "Sin",
    "Cos",
    "LRN",
    "Clip",
    "InstanceNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "LpNormalization",
    "Softmax",
    "LogSoftmax",
    "BatchNormalization",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Floor",
    "Ceil",
    "MeanVarianceNormalization",
    "Hardmax",
    "Not",
    "Round",
    "Sign",
];

/// The refusal of an operator that has no layer.
pub(super) fn operator(op: &str) -> Stop {
    let (what, instead) = match op {
        "LRN" => (
            "local response normalisation divides by a neighbourhood",
            "train with batch normalisation instead",
        ),
        "InstanceNormalization"
        | "GroupNormalization"
        | "LayerNormalization"
        | "LpNormalization"
        | "MeanVarianceNormalization" => {
            ("normalises by the image itself", "train with batch normalisation instead")
        }
        "Sigmoid" | "HardSigmoid" | "HardSwish" | "Swish" | "Mish" | "Gelu" | "Tanh" | "Elu" | "Selu"
        | "Celu" | "LeakyRelu" | "PRelu" | "Softplus" | "Softsign" | "ThresholdedRelu" | "Erf" | "Exp"
        | "Log" | "Sin" | "Cos" => {
            ("is no activation of the language", "train with relu, relu6, square or quad instead")
        }
        "Softmax" | "LogSoftmax" | "ArgMax" | "Hardmax" => (
            "is not the network's last step",
            "classes are compared by their logits: leave it out within the network",
        ),
        "ConvTranspose" | "Resize" | "Upsample" | "DepthToSpace" => (
            "makes images larger",
            "the language classifies images; use layers that keep or reduce their size",
        ),
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" | "If" => {
            ("repeats or chooses by data", "export the network with its loops unrolled")
        }
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" | "QLinearMatMul" => {
            ("is a quantised operator", "export the float network; it is quantised here")
        }
        "Split" | "Gather" => {
            ("takes a part of a tensor", "use convolutions that read all channels, or one that selects some")
        }
        "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" => {
            ("reduces otherwise than by the mean", "use ReduceMean over rows and columns, or a pool")
        }
        "Max" | "Min" => ("compares tensors", "use relu or max_pool"),
        _ => (
            "is not an operator that has a layer",
            "see the language's list of layers; export with simpler operators",
        ),
    };
    Stop::Refused { what: what.to_owned(), instead: instead.to_owned() }
}

/// Kernels with gaps.
pub(super) fn dilated() -> Stop {
    Stop::Refused {
        what: "has dilations".to_owned(),
        instead: "use a kernel without gaps, or two layers".to_owned(),
    }
}

/// Means over windows of different sizes.
pub(super) fn uneven_mean(site: &Site<'_>) -> Stop {
    let same = site.attributes.text("auto_pad").is_some_and(|word| word.starts_with("SAME"));
    let padded = site.attributes.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0));
    let (what, instead) = if same {
        (
            "averages over fewer pixels at the border (auto_pad = SAME)",
            "do not pad (padding=\"valid\" in Keras and TensorFlow), or pad by a layer of its own",
        )
    } else if !padded {
        (
            "averages over fewer pixels at the end (ceil_mode = 1)",
            "round the number of windows down (ceil_mode=False in PyTorch), or pad the image",
        )
    } else {
        (
            "averages over fewer pixels at the border (count_include_pad = 0)",
            "count the padding (count_include_pad=True in PyTorch), or do not pad (padding=\"valid\" in Keras)",
        )
    };
    Stop::Refused { what: what.to_owned(), instead: instead.to_owned() }
}

impl<'a> Converter<'a> {
    /// Names what can be named of a node whose operands are lost.
    pub(super) fn look_ahead(&mut self, site: &Site<'a>) {
        let set = |name: &str, plain: i64| {
            site.attributes.ints(name).is_some_and(|v| v.iter().any(|v| *v != plain))
        };
        // What lies behind the image may stay unread, what lies before it does not.
        let before =
            || site.attributes.ints("pads").is_some_and(|pads| pads.iter().take(2).any(|pad| *pad != 0));
        let stop = match site.op() {
            op if !KNOWN.contains(&op) => operator(op),
            "Conv" | "MaxPool" | "AveragePool" if set("dilations", 1) => dilated(),
            "AveragePool" if before() && site.attributes.int("count_include_pad", 0) == 0 => {
                uneven_mean(site)
            }
            _ => return,
        };
        if let Stop::Refused { what, instead } = stop {
            self.refuse(site, what, instead);
        }
    }

    /// What a refused node is taken for, so that the nodes behind it can be looked at.
    pub(super) fn stand_in(&self, site: &Site<'a>) -> Value {
        if !SHAPE_KEPT.contains(&site.op()) {
            return Value::Lost;
        }
        self.flow(site, 0).map_or(Value::Lost, Value::Flow)
    }
}
