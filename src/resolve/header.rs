//! A model's settings and its input.

use super::attributes::find;
use super::check::attributes;
use super::expand::Expander;
use super::names::{Part as Name, Scope};
use super::signature::{INPUT, QUANTIZE, SETTINGS};
use super::suggest::{hint, quoted};
use super::value::Value;
use crate::diag::{Diagnostic, Span};
use crate::graph::{InputSpec, Node, QuantAttributes, RangeChoice, WeightsDecl};
use crate::layers::Layer;
use crate::syntax::ast::{
    Expr, ExprKind, Ident, InputDecl, ModelDecl, Named, Part, Piece, Setting, SettingValue,
};
use crate::tensor::{MAX_ELEMENTS, Shape};
use std::collections::BTreeMap;

/// The ring degree if the file gives none.
pub(super) const DEFAULT_RING: u32 = 8192;

/// The ring degrees that a file may give.
const RINGS: std::ops::RangeInclusive<u32> = 4096..=32768;

/// Bits of weights and activations if the file gives none.
const DEFAULT_BITS: u32 = 8;

/// Raw pixels are bytes.
const RAW: f64 = 255.0;
const DEFAULT_SCALE: f64 = 1.0 / RAW;

/// The most channels of an image, or features, that an input may have.
const MAX_INPUT_CHANNELS: usize = 1 << 20;

/// What the settings say.
pub(super) struct Settings {
    pub(super) ring: u32,
    pub(super) weights: WeightsDecl,
    pub(super) calibration: Option<String>,
    pub(super) weight_bits: u32,
    pub(super) activation_bits: u32,
    pub(super) ranges: RangeChoice,
    /// Where the weights are declared.
    pub(super) weights_span: Option<Span>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring: DEFAULT_RING,
            weights: WeightsDecl::None,
            calibration: None,
            weight_bits: DEFAULT_BITS,
            activation_bits: DEFAULT_BITS,
            ranges: RangeChoice::default(),
            weights_span: None,
        }
    }
}

/// The file or seed that `weights:` names, if it is well formed.
pub(super) fn weights(value: &SettingValue) -> Option<WeightsDecl> {
    match value {
        SettingValue::Expr(Expr { kind: ExprKind::Call(call), .. })
            if call.callee.text == "random" && call.attributes.is_empty() =>
        {
            match call.operands.as_slice() {
                [Expr { kind: ExprKind::Int(seed), .. }] => {
                    u64::try_from(*seed).ok().map(WeightsDecl::Random)
                }
                _ => None,
            }
        }
        SettingValue::Expr(_) | SettingValue::Record(_) => plain(value).map(WeightsDecl::File),
    }
}

/// A text without values in it, not empty.
pub(super) fn plain(value: &SettingValue) -> Option<String> {
    match value {
        SettingValue::Expr(Expr { kind: ExprKind::Text(pieces), .. }) => match pieces.as_slice() {
            [Piece::Plain(text)] => Some(text.clone()),
            _ => None,
        },
        SettingValue::Expr(_) | SettingValue::Record(_) => None,
    }
}

impl<'a> Expander<'a> {
    /// Reads all settings of a model.
    pub(super) fn settings(&mut self, model: &'a ModelDecl) -> Settings {
        let mut settings = Settings::default();
        let mut first: BTreeMap<&str, Span> = BTreeMap::new();
        for part in &model.parts {
            let Part::Setting(setting) = part else {
                continue;
            };
            let name = setting.name.text.as_str();
            if let Some(span) = first.insert(name, setting.name.span) {
                let message = format!("{} is set twice", quoted(name));
                self.report(
                    Diagnostic::error("duplicate-attribute", message, setting.name.span, "again")
                        .also(span, "first set here")
                        .hint("keep one of them"),
                );
                continue;
            }
            self.setting(setting, &mut settings);
        }
        settings
    }

    fn setting(&mut self, setting: &'a Setting, settings: &mut Settings) {
        match (setting.name.text.as_str(), &setting.value) {
            ("ring", SettingValue::Expr(expr)) => {
                let ring = self.integer(expr);
                let fits = ring.and_then(|n| u32::try_from(n).ok());
                match fits.filter(|n| n.is_power_of_two() && RINGS.contains(n)) {
                    Some(n) => settings.ring = n,
                    None => {
                        if let Some(n) = ring {
                            let message = format!("a ring degree is 4096, 8192, 16384 or 32768, found {n}");
                            self.report(
                                Diagnostic::error("attribute-value", message, expr.span, "not a ring degree")
                                    .hint("use 4096, 8192 or 16384"),
                            );
                        }
                    }
                }
            }
            ("weights", value) => {
                settings.weights_span = Some(setting.span);
                match weights(value) {
                    Some(found) => settings.weights = found,
                    None => self.setting_value(setting, "\"file.safetensors\"` or `weights: random(7)"),
                }
            }
            ("calibration", value) => match plain(value) {
                Some(found) => settings.calibration = Some(found),
                None => self.setting_value(setting, "\"file.safetensors\""),
            },
            ("quantize", SettingValue::Record(fields)) => {
                attributes(fields, QUANTIZE, "quantize", &mut self.sink);
                settings.weight_bits = self.bits(fields, "weights").unwrap_or(DEFAULT_BITS);
                settings.activation_bits = self.bits(fields, "activations").unwrap_or(DEFAULT_BITS);
                if let Some(expr) = find(fields, "ranges") {
                    settings.ranges = self.range_choice(expr).unwrap_or_default();
                }
            }
            ("ring", SettingValue::Record(_)) => self.setting_value(setting, "8192"),
            ("quantize", SettingValue::Expr(_)) => {
                self.setting_value(setting, "{ weights: 8, activations: 8 }")
            }
            (name, _) => {
                let message = format!("a model has no setting {}", quoted(name));
                self.report(
                    Diagnostic::error("unknown-setting", message, setting.name.span, "not known").hint(hint(
                        name,
                        SETTINGS.iter().copied(),
                        "settings",
                    )),
                );
            }
        }
    }

    fn range_choice(&mut self, expr: &'a Expr) -> Option<RangeChoice> {
        if let ExprKind::Name(word) = &expr.kind
            && let Some(choice) = [RangeChoice::MeanSquare, RangeChoice::MinMax]
                .into_iter()
                .find(|choice| choice.to_string() == *word)
        {
            return Some(choice);
        }
        if let ExprKind::Call(call) = &expr.kind
            && call.callee.text == "percentile"
            && let ([percent], []) = (call.operands.as_slice(), call.attributes.as_slice())
        {
            let percent = self.real(percent)?;
            if (99.0..=100.0).contains(&percent) {
                return Some(RangeChoice::Percentile(percent));
            }
        }
        let message = "ranges are chosen by `mse`, `minmax` or `percentile(P)` with P from 99 to 100";
        let found = format!("found {}", quoted(&expr.to_string()));
        self.report(
            Diagnostic::error("attribute-value", message, expr.span, found)
                .hint("leave it out for `mse`, or write `ranges: percentile(99.9)`"),
        );
        None
    }

    fn setting_value(&mut self, setting: &Setting, wanted: &str) {
        let name = &setting.name.text;
        let message = format!("`{name}` cannot have this value");
        self.report(
            Diagnostic::error("type-mismatch", message, setting.span, "found something else")
                .hint(format!("write `{name}: {wanted}`")),
        );
    }

    /// Reads the input and makes it node 0.
    pub(super) fn input(&mut self, model: &'a ModelDecl) -> Option<InputSpec> {
        let mut inputs = model.parts.iter().filter_map(|part| match part {
            Part::Input(input) => Some(input),
            Part::Setting(_) | Part::Statement(_) => None,
        });
        let Some(input) = inputs.next() else {
            let message = format!("model {} has no input", quoted(&model.name.text));
            self.report(
                Diagnostic::error("missing-input", message, model.name.span, "this model")
                    .hint("declare it: `input image: tensor[3, 32, 32]`"),
            );
            return None;
        };
        if let Some(second) = inputs.next() {
            self.report(
                Diagnostic::error("misplaced", "a model has one input", second.span, "the second")
                    .also(input.span, "the first")
                    .hint("keep one; channels of several images may be joined in it"),
            );
        }
        let shape = self.input_shape(input);
        let spec = shape.as_ref().and_then(|shape| self.input_spec(input, shape));
        let quant = self.quantisation(&input.attributes, &Layer::Input);
        let value =
            shape.map_or(Value::Poison, |shape| self.input_node(&input.name, input.span, shape, quant));
        self.bind(&input.name.text, value);
        spec
    }

    fn input_node(&mut self, name: &Ident, span: Span, shape: Shape, quant: QuantAttributes) -> Value {
        let node = Node { name: String::new(), block: None, layer: Layer::Input, shape, span, quant };
        self.names.layer(Scope::MODEL, Name::Given(name.text.clone()), false);
        self.sites.push(None);
        self.graph.add(node, &[]).map_or(Value::Poison, Value::Tensor)
    }

    fn input_shape(&mut self, input: &'a InputDecl) -> Option<Shape> {
        let sizes: Vec<Option<usize>> =
            input.dims.iter().map(|dim| self.bounded(dim, 1, MAX_ELEMENTS)).collect();
        let sizes: Vec<usize> = sizes.into_iter().collect::<Option<_>>()?;
        let shape = Shape::of(&sizes);
        if sizes.len() != 1 && sizes.len() != 3 {
            let message = format!("an input has 1 or 3 dimensions, found {}: {shape}", sizes.len());
            self.report(
                Diagnostic::error("shape-mismatch", message, input.span, "this input")
                    .hint("write tensor[channels, height, width] or tensor[features]; there is no batch"),
            );
            return None;
        }
        if shape.elements() > MAX_ELEMENTS || shape.channels() > MAX_INPUT_CHANNELS {
            let message = format!("the input {shape} has more than 2^31 elements or 2^20 channels");
            self.report(
                Diagnostic::error("limit", message, input.span, "too large").hint("declare a smaller image"),
            );
            return None;
        }
        Some(shape)
    }

    fn input_spec(&mut self, input: &'a InputDecl, shape: &Shape) -> Option<InputSpec> {
        let given = input.attributes.as_slice();
        attributes(given, INPUT, "input", &mut self.sink);
        let scale = self.real_or(given, "scale", DEFAULT_SCALE);
        if let (Some(scale), Some(expr)) = (scale, find(given, "scale"))
            && scale <= 0.0
        {
            self.not_positive("scale", expr.span, "raw pixels are often scaled by 1/255");
        }
        let mean = self.by_channel(given, "mean", 0.0, shape);
        let std = self.by_channel(given, "std", 1.0, shape);
        if let (Some(std), Some(expr)) = (&std, find(given, "std"))
            && std.iter().any(|s| *s <= 0.0)
        {
            self.not_positive("std", expr.span, "give the standard deviation of each channel");
        }
        if let (Some(scale), Some(mean), Some(std)) = (scale, &mean, &std) {
            self.require_scaled(given, scale, [mean, std]);
        }
        let pad = self.size_or(given, "pad", 0, 0);
        let (_, h, w) = shape.chw();
        if let (Some(pad), Some(expr)) = (pad, find(given, "pad"))
            && pad > 0
            && 2 * pad >= h.min(w)
        {
            let message = format!("a frame of {pad} pixels leaves nothing of {shape}");
            self.report(
                Diagnostic::error("attribute-value", message, expr.span, "too much")
                    .hint("the declared size includes the frame: 28 pixels with `pad: 2` are declared as 32"),
            );
        }
        Some(InputSpec { scale: scale?, mean: mean?, std: std?, pad: pad? })
    }

    /// Warns of a mean or a deviation beyond all scaled pixels: it is of pixels of another scale.
    fn require_scaled(&mut self, given: &'a [Named], scale: f64, [mean, std]: [&[f64]; 2]) {
        let largest = RAW * scale;
        // A deviation of 1 divides by nothing, whatever the scale.
        for (name, numbers, most) in [("mean", mean, largest), ("std", std, largest.max(1.0))] {
            let beyond = numbers.iter().find(|number| **number > most * (1.0 + 1e-9));
            if let (Some(number), Some(expr)) = (beyond, find(given, name)) {
                let largest = (1e4 * largest).round() / 1e4;
                let message = format!("`{name}` has {number}, but scaled pixels are 0 to {largest}");
                let advice = if scale < 1.0 {
                    "divide it by 255, or write `scale: 1`"
                } else {
                    "give it in units of scaled pixels"
                };
                self.report(
                    Diagnostic::warning("normalisation", message, expr.span, "of pixels of 0 to 255?")
                        .hint(advice),
                );
            }
        }
    }

    fn not_positive(&mut self, name: &str, span: Span, advice: &str) {
        let message = format!("`{name}` must be positive");
        self.report(Diagnostic::error("attribute-value", message, span, "not positive").hint(advice));
    }

    /// One number for all channels, or a list with one for each.
    fn by_channel(
        &mut self,
        given: &'a [Named],
        name: &str,
        default: f64,
        shape: &Shape,
    ) -> Option<Vec<f64>> {
        let channels = shape.channels();
        let Some(expr) = find(given, name) else {
            return Some(vec![default; channels]);
        };
        let ExprKind::List(items) = &expr.kind else {
            return self.real(expr).map(|number| vec![number; channels]);
        };
        let numbers: Vec<Option<f64>> = items.iter().map(|item| self.real(item)).collect();
        if numbers.len() != channels {
            let message = format!("`{name}` has {} numbers for {channels} channels", numbers.len());
            self.report(
                Diagnostic::error(
                    "attribute-value",
                    message,
                    expr.span,
                    format!("{} numbers", numbers.len()),
                )
                .hint("give one number, or one for each channel"),
            );
            return None;
        }
        numbers.into_iter().collect()
    }
}
