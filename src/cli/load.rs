//! Opens a model: `.stria` with the files that it names, or `.striac`.

use super::failure::Failure;
use super::{CompileOptions, Encoding};
use crate::compile::{self, Options, Stages};
use crate::compiled::{Compiled, MAGIC};
use crate::diag::{Diagnostics, SourceFile};
use crate::graph::{Model, WeightsDecl};
use crate::input::{self, SafetensorsWeights};
use crate::passes::FloatModel;
use crate::quant::{RandomWeights, random_images};
use crate::resolve;
use crate::syntax::{self, Ast};
use crate::tensor::Tensor;
use crate::weights::WeightSource;
use std::path::{Path, PathBuf};

/// The most bytes of a model's text or of a compiled network.
const MAX_MODEL_BYTES: u64 = 4 << 30;

/// A model that is ready to run, with what is known of where it came from.
pub(super) struct Loaded {
    pub compiled: Compiled,
    /// The float network, if the model came from its source.
    pub float: Option<FloatModel>,
}

/// A model's text, parsed and resolved.
pub(super) struct Front {
    pub source: SourceFile,
    pub ast: Option<Ast>,
    pub model: Option<Model>,
    pub weights: Option<SafetensorsWeights>,
    pub diagnostics: Diagnostics,
    calibration: Option<PathBuf>,
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let about = |e: std::io::Error| Failure::User(format!("{}: {e}", path.display()));
    let size = std::fs::metadata(path).map_err(about)?.len();
    if size > MAX_MODEL_BYTES {
        return Err(Failure::User(format!("{}: {size} bytes, at most {MAX_MODEL_BYTES}", path.display())));
    }
    std::fs::read(path).map_err(about)
}

/// Parses and resolves `path`; diagnostics are returned, not printed.
pub(super) fn front(path: &Path) -> Result<Front, Failure> {
    let bytes = read(path)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        Failure::User(format!(
            "{name}: not UTF-8 text at byte {}; save the file as UTF-8",
            e.utf8_error().valid_up_to()
        ))
    })?;
    let source = SourceFile { name, text };
    let empty = |source, diagnostics| Front {
        source,
        ast: None,
        model: None,
        weights: None,
        diagnostics,
        calibration: None,
    };
    let ast = match syntax::parse(&source) {
        Ok(ast) => ast,
        Err(diagnostics) => return Ok(empty(source, diagnostics)),
    };
    let declared = resolve::declared(&ast);
    let beside = |file: &str| path.parent().unwrap_or(Path::new("")).join(file);
    let weights = match &declared.weights {
        WeightsDecl::File(file) => Some(SafetensorsWeights::open(&beside(file))?),
        WeightsDecl::None | WeightsDecl::Random(_) => None,
    };
    let source_of_weights = weights.as_ref().map(|w| w as &dyn WeightSource);
    let (model, diagnostics) = resolve::resolve(&ast, source_of_weights);
    let calibration = declared.calibration.as_deref().map(beside);
    Ok(Front { source, ast: Some(ast), model, weights, diagnostics, calibration })
}

impl Front {
    /// Prints the diagnostics to stderr and gives the model, if there is no error.
    pub(super) fn checked(self) -> Result<(Model, Self), Failure> {
        if !self.diagnostics.0.is_empty() {
            eprint!("{}", self.diagnostics.render(&self.source));
        }
        let errors = self.diagnostics.has_errors();
        let mut front = self;
        match front.model.take() {
            Some(model) if !errors => Ok((model, front)),
            _ => Err(Failure::User(String::new())),
        }
    }

    /// The calibration images that the model names.
    pub(super) fn calibration(&self, model: &Model) -> Result<Option<Vec<Tensor<f32>>>, Failure> {
        let shape = input_shape(model);
        match (&self.calibration, &model.header.weights) {
            (Some(path), _) => Ok(Some(input::load(path, &model.header.input, &shape)?.images)),
            // Weights that mean nothing are calibrated on images that mean nothing.
            (None, WeightsDecl::Random(seed)) => Ok(Some(random_images(&shape, (-1.0, 1.0), 4, *seed))),
            (None, WeightsDecl::None | WeightsDecl::File(_)) => Ok(None),
        }
    }

    /// All the stages of `model`.
    pub(super) fn compile(&self, model: &Model, options: Options) -> Result<Stages, Failure> {
        let calibration = self.calibration(model)?;
        let random;
        let weights: Option<&dyn WeightSource> = match (&self.weights, &model.header.weights) {
            (Some(file), _) => Some(file),
            (None, WeightsDecl::Random(seed)) => {
                random = RandomWeights::for_model(model, *seed);
                Some(&random)
            }
            (None, WeightsDecl::None | WeightsDecl::File(_)) => None,
        };
        Ok(compile::compile(model, weights, calibration.as_deref(), options)?)
    }
}

fn input_shape(model: &Model) -> crate::tensor::Shape {
    let first = model.graph.ids().next();
    first.map_or_else(|| crate::tensor::Shape::flat(0), |id| model.graph.node(id).shape.clone())
}

impl CompileOptions {
    /// The driver's options.
    pub(super) fn driver(self) -> Result<Options, Failure> {
        match self.encoding {
            Encoding::Auto | Encoding::Slots => Ok(Options { ring: self.ring, plain_bits: self.plain_bits }),
            Encoding::Coefficients => Err(Failure::not_built("--encoding coefficients", "slots")),
        }
    }
}

/// Opens and compiles `path`, or loads it if it is compiled.
pub(super) fn load(path: &Path, options: CompileOptions) -> Result<Loaded, Failure> {
    let driver = options.driver()?;
    if is_compiled(path)? {
        if options.ring.is_some() || options.plain_bits.is_some() {
            return Err(Failure::User(format!(
                "{}: already compiled; --ring and --plain-bits apply to a .stria file",
                path.display()
            )));
        }
        let compiled = Compiled::from_bytes(&read(path)?)
            .map_err(|e| Failure::User(format!("{}: {e}", path.display())))?;
        return Ok(Loaded { compiled, float: None });
    }
    let (model, front) = front(path)?.checked()?;
    let stages = front.compile(&model, driver)?;
    Ok(Loaded { compiled: stages.compiled, float: Some(stages.float) })
}

fn is_compiled(path: &Path) -> Result<bool, Failure> {
    use std::io::Read;
    let about = |e: std::io::Error| Failure::User(format!("{}: {e}", path.display()));
    let mut start = Vec::with_capacity(MAGIC.len());
    let file = std::fs::File::open(path).map_err(about)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(about)?;
    Ok(start == MAGIC || path.extension().is_some_and(|e| e == "striac"))
}
