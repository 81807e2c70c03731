//! Opens a model: `.stria` with the files that it names, or `.striac`.

use super::failure::Failure;
use super::refused::{beyond_tfhe, few_bits, refusal};
use super::say::say;
use super::{CompileOptions, DEFAULT_ENCODING, Encoding, KernelKind, clipped};
use crate::compile::{self, CompileError, Encode, Kernels, Options, Sparsity, Stages};
use crate::compiled::{Compiled, MAGIC};
use crate::cost::CostTable;
use crate::diag::{Diagnostic, Diagnostics, SourceFile, Span};
use crate::graph::{IntNetwork, IntWeights, Model, WeightsDecl};
use crate::input::{self, Data, InputError, SafetensorsWeights};
use crate::params::Scheme;
use crate::passes::FloatModel;
use crate::quant::{
    LostBits, Meaning, QuantError, Quantised, RandomWeights, Statistics, StatisticsFault, random_images,
};
use crate::report::Leak;
use crate::resolve;
use crate::syntax::{self, Ast};
use crate::tensor::{Shape, Tensor};
use crate::tfhe::TfheError;
use crate::weights::WeightSource;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

/// The most bytes of a model's text or of a compiled network.
const MAX_MODEL_BYTES: u64 = 4 << 30;

/// The most bytes of calibration images or of measured ranges.
const MAX_CALIBRATION_BYTES: u64 = 1 << 30;

/// A model that is ready to run, with what is known of where it came from.
pub(super) struct Loaded {
    pub compiled: Compiled,
    /// The float network, if the model came from its source.
    pub float: Option<FloatModel>,
    /// What the integers of each node stand for; empty if it did not.
    pub meaning: Vec<Meaning>,
    /// The quantised network before it was rewritten; none of a compiled file.
    pub reference: Option<IntNetwork>,
    /// The files that it was made from.
    pub inputs: Vec<PathBuf>,
}

/// A model's text, parsed and resolved, with the files that it names.
pub(super) struct Front {
    pub source: SourceFile,
    pub ast: Option<Ast>,
    pub model: Option<Model>,
    pub diagnostics: Diagnostics,
    /// The model's file and the files that it names.
    pub inputs: Vec<PathBuf>,
    weights: Option<SafetensorsWeights>,
    pub calibration: Option<Calibration>,
}

/// What ranges come from.
pub(super) enum Calibration {
    /// Images, on which they are measured at each start.
    Images(Data),
    /// A file of ranges that `stria import` has measured.
    Measured(Box<Statistics>),
}

impl Calibration {
    /// Opens `path`, whose images would be normalised for `model`.
    fn open(path: &Path, model: &Model) -> Result<Self, CalibrationError> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let bytes = input::read(path, MAX_CALIBRATION_BYTES)?;
            if let Some(found) = Statistics::from_bytes(&bytes) {
                return Ok(Self::Measured(Box::new(found?)));
            }
        }
        Ok(Self::Images(input::load(path, &model.header.input, &input_shape(model))?))
    }

    pub(super) fn images(&self) -> Option<&Data> {
        match self {
            Self::Images(data) => Some(data),
            Self::Measured(_) => None,
        }
    }

    pub(super) fn measured(&self) -> Option<&Statistics> {
        match self {
            Self::Images(_) => None,
            Self::Measured(measured) => Some(measured),
        }
    }
}

/// Why a file says no ranges.
#[derive(Debug, thiserror::Error)]
enum CalibrationError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("measured ranges: {0}; import the model again")]
    Ranges(#[from] StatisticsFault),
}

/// What a MODEL is.
pub(super) enum Opened {
    /// A `.striac` file.
    Compiled(Box<Compiled>),
    /// Anything else: text, it is hoped.
    Text(Vec<u8>),
}

/// Reads `path`, once: it may be a pipe.
pub(super) fn open(path: &Path) -> Result<Opened, Failure> {
    let bytes = input::read(path, MAX_MODEL_BYTES)?;
    if !bytes.starts_with(MAGIC) && path.extension().is_none_or(|e| e != "striac") {
        return Ok(Opened::Text(bytes));
    }
    let compiled = Compiled::from_bytes(&bytes);
    compiled
        .map(|compiled| Opened::Compiled(Box::new(compiled)))
        .map_err(|e| Failure::User(format!("{}: {e}", path.display())))
}

/// Parses and resolves the text of `path` and opens the files that it names; diagnostics are returned, not
/// printed.
pub(super) fn front(path: &Path, bytes: Vec<u8>) -> Result<Front, Failure> {
    let name = path.display().to_string();
    let mut front = Front {
        source: SourceFile { name, text: String::new() },
        ast: None,
        model: None,
        diagnostics: Diagnostics::default(),
        inputs: vec![path.to_owned()],
        weights: None,
        calibration: None,
    };
    match String::from_utf8(bytes) {
        Ok(text) => front.source.text = text,
        Err(error) => {
            front.diagnostics.push(not_text(&error));
            front.source.text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            return Ok(front);
        }
    }
    let ast = match syntax::parse(&front.source) {
        Ok(ast) => ast,
        Err(diagnostics) => return Ok(Front { diagnostics, ..front }),
    };
    front.resolve(path, &ast);
    front.ast = Some(ast);
    Ok(front)
}

/// At the first byte that is no text.
fn not_text(error: &FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let binary = error.as_bytes().contains(&0);
    let hint = if binary { "give a .stria file" } else { "save the file as UTF-8" };
    Diagnostic::error("not-text", "a model is UTF-8 text", Span::new(at, at + 1), "no text here").hint(hint)
}

impl Front {
    /// Opens the weights, resolves, opens the calibration images.
    fn resolve(&mut self, path: &Path, ast: &Ast) {
        let declared = resolve::declared(ast);
        let beside = |file: &str| path.parent().unwrap_or(Path::new("")).join(file);
        let mut unreadable = Diagnostics::default();
        if let WeightsDecl::File(file) = &declared.weights {
            let file = beside(file);
            match SafetensorsWeights::open(&file) {
                Ok(weights) => self.weights = Some(weights),
                Err(error) => unreadable.push(cannot_read("weights", declared.weights_span, &error)),
            }
            self.inputs.push(file);
        }
        let (model, diagnostics) = resolve::resolve(ast, self.weights());
        if let (Some(file), Some(model)) = (&declared.calibration, &model) {
            let file = beside(file);
            match Calibration::open(&file, model) {
                Ok(calibration) => self.calibration = Some(calibration),
                Err(error) => unreadable.push(cannot_read("calibration", declared.calibration_span, &error)),
            }
            self.inputs.push(file);
        }
        self.model = model.filter(|_| !unreadable.has_errors());
        self.diagnostics = diagnostics;
        self.diagnostics.0.extend(unreadable.0);
    }

    /// The weights' file.
    pub(super) fn weights(&self) -> Option<&dyn WeightSource> {
        self.weights.as_ref().map(|weights| weights as &dyn WeightSource)
    }

    /// Prints the diagnostics to stderr and gives the model, if there is no error.
    pub(super) fn checked(mut self) -> Result<(Model, Self), Failure> {
        say(&self.diagnostics.render(&self.source));
        match self.model.take() {
            Some(model) if !self.diagnostics.has_errors() => Ok((model, self)),
            _ => Err(Failure::User(String::new())),
        }
    }

    /// All the stages of `model`, silently.
    pub(super) fn stages(&self, model: &Model, options: Options<'_>) -> Result<Stages, CompileError> {
        let measured = self.calibration.as_ref().and_then(Calibration::measured);
        let options = Options { measured: options.measured.or(measured), ..options };
        self.with_data(model, |weights, calibration| compile::compile(model, weights, calibration, options))
    }

    /// What `then` makes of the weights and of the calibration images, those of random weights included.
    fn with_data<T>(
        &self,
        model: &Model,
        then: impl FnOnce(Option<&dyn WeightSource>, Option<&[Tensor<f32>]>) -> Result<T, CompileError>,
    ) -> Result<T, CompileError> {
        let (random, images);
        let given =
            self.calibration.as_ref().and_then(Calibration::images).map(|data| data.images.as_slice());
        let (weights, calibration): (Option<&dyn WeightSource>, _) =
            match (&self.weights, &model.header.weights) {
                (Some(file), _) => (Some(file), given),
                (None, WeightsDecl::Random(seed)) => {
                    compile::require_runnable(model)?;
                    random = RandomWeights::for_model(model, *seed);
                    // Weights that mean nothing are calibrated on images that mean nothing.
                    images = random_images(&input_shape(model), (-1.0, 1.0), 4, *seed);
                    (Some(&random), given.or(Some(&images)))
                }
                (None, WeightsDecl::None | WeightsDecl::File(_)) => (None, None),
            };
        then(weights, calibration)
    }

    /// All the stages of `model`; what they refuse or warn of is shown at its layer.
    pub(super) fn compile(&self, model: &Model, options: Options) -> Result<Stages, Failure> {
        match self.stages(model, options) {
            Ok(stages) => {
                let found = self.doubts(model, &stages.reference, &stages.lost);
                say(&Diagnostics(found).render(&self.source));
                Ok(stages)
            }
            Err(error) => Err(self.refuse(refusal(&error, model), error.into())),
        }
    }

    /// What quantisation makes of the data and of the bits that is probably not meant.
    pub(super) fn doubts(&self, model: &Model, network: &IntNetwork, lost: &[LostBits]) -> Vec<Diagnostic> {
        let clipped = clipped::of_calibration(self.calibration.as_ref(), model, network);
        clipped.into_iter().chain(lost.iter().map(few_bits)).collect()
    }

    /// Shows what was found at its layer, or fails with `otherwise`.
    fn refuse(&self, found: Option<Diagnostic>, otherwise: Failure) -> Failure {
        let Some(found) = found else { return otherwise };
        say(&Diagnostics(vec![found]).render(&self.source));
        Failure::User(String::new())
    }
}

/// A network in integers, with the images that show what its values reach.
pub(super) struct Integers {
    pub network: IntNetwork,
    pub weights: Option<IntWeights>,
    /// The float network, if the model came from its source.
    pub float: Option<FloatModel>,
    /// Normalised; none for a compiled file.
    pub images: Vec<Tensor<f32>>,
    /// The files that it was made from.
    pub inputs: Vec<PathBuf>,
    front: Option<(Front, Model)>,
}

impl Integers {
    /// The failure of a later stage, at the layer that it names if the model came from its source.
    pub(super) fn refuse(&self, error: &TfheError) -> Failure {
        let otherwise = Failure::user(error);
        match &self.front {
            Some((front, model)) => front.refuse(beyond_tfhe(error, model), otherwise),
            None => otherwise,
        }
    }
}

/// Opens `path` and quantises it, or takes the integers of a compiled file: no plan, no circuit.
pub(super) fn integers(path: &Path) -> Result<Integers, Failure> {
    let bytes = match open(path)? {
        Opened::Text(bytes) => bytes,
        Opened::Compiled(compiled) => {
            let Compiled { network, weights, .. } = *compiled;
            let (images, inputs) = (Vec::new(), vec![path.to_owned()]);
            return Ok(Integers { network, weights, float: None, images, inputs, front: None });
        }
    };
    let (model, front) = front(path, bytes)?.checked()?;
    let made = front.with_data(&model, |weights, images| {
        let measured = front.calibration.as_ref().and_then(Calibration::measured);
        let integers = compile::integers(&model, weights, (images, measured))?;
        Ok((integers, images.map(<[_]>::to_vec).unwrap_or_default()))
    });
    match made {
        Ok((compile::Integers { float, quantised, .. }, images)) => {
            let found = front.doubts(&model, &quantised.network, &quantised.lost);
            say(&Diagnostics(found).render(&front.source));
            let Quantised { network, weights, .. } = quantised;
            let (float, inputs) = (Some(float), front.inputs.clone());
            Ok(Integers { network, weights, float, images, inputs, front: Some((front, model)) })
        }
        Err(error) => Err(front.refuse(refusal(&error, &model), error.into())),
    }
}

impl Front {
    /// As [`Front::compile`]; a model with weights whose ranges nobody knows is planned as one without them.
    pub(super) fn plan(&self, model: &Model, options: Options<'_>) -> Result<Stages, Failure> {
        if let (Some(weights), None) = (&self.weights, &self.calibration) {
            match compile::compile(model, Some(weights), None, options) {
                Err(CompileError::Quant(unknown @ QuantError::NoRange { .. })) => {
                    say(&format!("note: {unknown}; until then bounds are assumed from bit widths\n"));
                    return Ok(compile::compile(model, None, None, options)?);
                }
                stages => return Ok(stages?),
            }
        }
        self.compile(model, options)
    }
}

fn cannot_read(what: &str, span: Span, error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::error("unreadable-file", format!("the {what} cannot be read: {error}"), span, "named here")
        .hint("a file is looked for in the folder of the model; check its name and its kind")
}

fn input_shape(model: &Model) -> Shape {
    let first = model.graph.ids().next();
    first.map_or_else(|| Shape::flat(0), |id| model.graph.node(id).shape.clone())
}

impl CompileOptions {
    /// The driver's options for `scheme`; the encodings are weighed by `costs`, the shipped ones if absent.
    pub(super) fn driver(self, scheme: Scheme, costs: Option<&CostTable>) -> Options<'_> {
        let (encoding, kernel) = (self.encoding, self.kernel.unwrap_or(KernelKind::Auto));
        let kernels = match (kernel, scheme) {
            // A rotation costs the crate `fhe` the same wherever it stands: their number is the cost.
            (KernelKind::Auto, Scheme::FheRs) | (KernelKind::Unified, _) => Kernels::Unified,
            (KernelKind::Auto, Scheme::Bfv) => Kernels::Auto,
            (KernelKind::OutputRotation, _) => Kernels::OutputRotation,
        };
        let encode = match (encoding.unwrap_or(DEFAULT_ENCODING), scheme) {
            // The crate `fhe` computes in slots alone.
            (Encoding::Auto, Scheme::FheRs) | (Encoding::Slots, _) => Encode::Slots,
            (Encoding::Auto, Scheme::Bfv) => Encode::Auto,
            (Encoding::Coefficients, _) => Encode::Coefficients,
        };
        let sparsity = if self.leak_sparsity { Sparsity::Leaked } else { Sparsity::Hidden };
        Options {
            ring: self.ring,
            plain_bits: self.plain_bits,
            encode,
            kernels,
            costs,
            sparsity,
            measured: None,
        }
    }
}

/// Says what leaving out zeros shows to the client, or that nothing was left out though it was asked for.
pub(super) fn tell_sparsity(compiled: &Compiled, asked: bool) {
    match (Leak::of(compiled), asked) {
        (Some(leak), _) => say(&format!("warning: --leak-sparsity: {leak}\n")),
        (None, true) => say("note: --leak-sparsity: there are no weights, so no zeros are left out\n"),
        (None, false) => {}
    }
}

/// Opens and compiles `path` for `scheme`, or loads it if it is compiled.
pub(super) fn load(
    path: &Path,
    options: CompileOptions,
    scheme: Scheme,
    costs: Option<&CostTable>,
) -> Result<Loaded, Failure> {
    load_by(path, options, (scheme, costs), Front::compile)
}

/// As [`load`], to look at the plan only: it need not run.
pub(super) fn load_plan(
    path: &Path,
    options: CompileOptions,
    scheme: Scheme,
    costs: Option<&CostTable>,
) -> Result<Loaded, Failure> {
    load_by(path, options, (scheme, costs), Front::plan)
}

fn load_by(
    path: &Path,
    options: CompileOptions,
    (scheme, costs): (Scheme, Option<&CostTable>),
    stages: fn(&Front, &Model, Options<'_>) -> Result<Stages, Failure>,
) -> Result<Loaded, Failure> {
    let driver = options.driver(scheme, costs);
    let bytes = match open(path)? {
        Opened::Text(bytes) => bytes,
        Opened::Compiled(_) if options.given().is_some() => {
            return Err(Failure::User(format!(
                "{}: already compiled; --ring, --plain-bits, --encoding, --kernel and --leak-sparsity apply to a \
                 .stria file",
                path.display()
            )));
        }
        Opened::Compiled(compiled) => {
            let compiled = compiled.for_scheme(scheme)?;
            tell_sparsity(&compiled, false);
            let inputs = vec![path.to_owned()];
            return Ok(Loaded { compiled, float: None, meaning: Vec::new(), reference: None, inputs });
        }
    };
    let (model, front) = front(path, bytes)?.checked()?;
    let Stages { compiled, float, meaning, reference, .. } = stages(&front, &model, driver)?;
    let compiled = compiled.for_scheme(scheme)?;
    tell_sparsity(&compiled, options.leak_sparsity);
    let reference = Some(reference);
    Ok(Loaded { compiled, float: Some(float), meaning, reference, inputs: front.inputs })
}
