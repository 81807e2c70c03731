//! `stria import`: an ONNX model as a `.stria` file, its weights, and the ranges measured on images.

use super::bits::{BitsOptions, Prime, Ranges, Text};
use super::execute::progress_bar;
use super::failure::Failure;
use super::say::say;
use super::{clipped, output};
use crate::compile;
use crate::diag::SourceFile;
use crate::graph::NodeId;
use crate::import::{DEFAULT_MEMORY, ImportError, Imported, ONNX_FILE, Options, import};
use crate::input::{self, InputError, Staged, stage};
use crate::passes::FloatModel;
use crate::quant::Statistics;
use crate::syntax;
use clap::Args;
use std::path::{Path, PathBuf};

/// Weights that take a while to write.
const MANY_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stria import resnet20.onnx -o resnet20.stria --mean 0.4914,0.4822,0.4465 \
    --std 0.247,0.2435,0.2616 --calibrate images.safetensors --max-drop 0.5\n\n\
    Reads opsets 9 to 20 as PyTorch's exporters and tf2onnx write them, with data in files beside the model. \
    What cannot be run is named, all of it at once. With --calibrate ranges are measured once, on all its \
    images or the first --limit, and written beside the model as .ranges.safetensors."
)]
pub(super) struct ImportArgs {
    /// The ONNX model.
    onnx: PathBuf,
    /// The .stria file to write; its weights go beside it, as .safetensors.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Images on which ranges are measured: .safetensors, .npy, .png or a folder of .png files.
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Measure on the first N images only.
    #[arg(long, value_name = "N", requires = "calibrate", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    bits: BitsOptions,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Mean of the pixels that training subtracted, of 0 to 1: one number, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_negative_numbers = true, value_parser = number)]
    mean: Option<Vec<f64>>,
    /// Standard deviation of the pixels that training divided by, of 0 to 1.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', value_parser = positive)]
    std: Option<Vec<f64>>,
    /// Raw images are smaller than the network's input by N pixels on each side: 28x28 for 32x32 is 2.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pad: u32,
    /// Take this output of the graph, if it has several.
    #[arg(long, value_name = "NAME")]
    graph_output: Option<String>,
    /// The most bytes of memory, about; checked before anything is decoded or computed.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MEMORY)]
    memory: u64,
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("`{text}` is not a number"))?;
    if number.is_finite() { Ok(number) } else { Err(format!("`{text}` is not finite")) }
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|n| if n > 0.0 { Ok(n) } else { Err(format!("`{text}` is not positive")) })
}

/// The files that an import writes.
struct Outputs {
    model: PathBuf,
    weights: PathBuf,
    ranges: Option<PathBuf>,
}

impl Outputs {
    /// Names them, and refuses before any work what cannot be written.
    fn of(args: &ImportArgs) -> Result<Self, Failure> {
        let model = args.output.clone();
        if model.extension().is_none_or(|e| e != "stria") {
            return Err(Failure::User(format!("{}: the output's name must end in .stria", model.display())));
        }
        if args.bits.wanted() && args.calibrate.is_none() {
            return Err(Failure::User("--max-drop needs ranges: give images by --calibrate".into()));
        }
        let weights = model.with_extension("safetensors");
        let ranges = args.calibrate.is_some().then(|| model.with_extension("ranges.safetensors"));
        let outputs = Self { model, weights, ranges };
        let read: Vec<PathBuf> = std::iter::once(args.onnx.clone()).chain(args.calibrate.clone()).collect();
        for file in outputs.all() {
            output::reachable(file)?;
            output::spare(file, &read)?;
        }
        let there: Vec<_> = outputs.all().filter(|f| f.exists()).map(|f| f.display().to_string()).collect();
        if !args.force && !there.is_empty() {
            let there = there.join(", ");
            return Err(Failure::User(format!("{there}: already there; --force replaces what is there")));
        }
        Ok(outputs)
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.model, &self.weights].into_iter().chain(&self.ranges)
    }
}

/// Refuses a normalisation of pixels of 0 to 255: those that it applies to are scaled to 0 to 1 before.
fn require_scaled(args: &ImportArgs) -> Result<(), Failure> {
    let options = [("--mean", &args.mean, "a mean"), ("--std", &args.std, "a deviation")];
    for (option, numbers, what) in options {
        if let Some(number) = numbers.iter().flatten().find(|number| **number > 1.0) {
            return Err(Failure::User(format!(
                "{option} {number}: pixels are scaled to 0 to 1 first, where {what} is at most 1; divide those of \
                 pixels of 0 to 255 by 255"
            )));
        }
    }
    Ok(())
}

pub(super) fn run(args: &ImportArgs) -> Result<(), Failure> {
    require_scaled(args)?;
    let outputs = Outputs::of(args)?;
    let options = options(args, &outputs)?;
    let bytes = onnx_bytes(&args.onnx, args.memory)?;
    let long = bytes.len() as u64 > MANY_BYTES;
    let progress = |what: &str| {
        if long {
            say(&format!("{what}\n"));
        }
    };
    progress("decoding");
    let mut imported = import(bytes, Some(&args.onnx), &options).map_err(|e| failure(&args.onnx, &e))?;
    let measured = calibrated(args, &mut imported)?;
    progress("writing");
    let mut staged = vec![stage(&outputs.weights, |out| imported.weights.write(out))?];
    if let (Some(measured), Some(file)) = (&measured, &outputs.ranges) {
        let bytes = measured.to_bytes().map_err(Failure::user)?;
        staged.push(stage(file, |out| out.write_all(&bytes))?);
    }
    staged.push(stage(&outputs.model, |out| out.write_all(imported.text.as_bytes()))?);
    staged.into_iter().try_for_each(Staged::commit)?;
    for note in &imported.notes {
        say(&format!("note: {note}\n"));
    }
    if let (Some(measured), Some(file)) = (&measured, &outputs.ranges) {
        say(&format!("note: {}: ranges, measured on {} images\n", file.display(), measured.images()));
    }
    let layers = imported.model.graph.len();
    let summary = format!(
        "{}: {layers} layers; {}: {} tensors\n",
        outputs.model.display(),
        outputs.weights.display(),
        imported.weights.len()
    );
    output::write(&summary, None)
}

/// Measures the ranges, and writes into the text the bits that `--max-drop` finds.
fn calibrated(args: &ImportArgs, imported: &mut Imported) -> Result<Option<Statistics>, Failure> {
    let Some(file) = &args.calibrate else { return Ok(None) };
    let shape = imported.model.graph.node(NodeId(0)).shape.clone();
    let mut data = input::load(file, &imported.model.header.input, &shape)?;
    data.keep(0, args.limit.map_or(usize::MAX, |n| n as usize));
    if data.images.is_empty() {
        return Err(Failure::User(format!("{}: no images", file.display())));
    }
    clipped::tell_import(file, &data.images, &imported.model);
    let float = compile::float_model(&imported.model, Some(&imported.weights), &mut |_, _, _| {})?;
    let FloatModel { model, weights: Some(weights) } = &float else {
        return Err(Failure::Internal("an imported model has no weights".into()));
    };
    let bar = progress_bar(data.images.len(), "measuring ranges");
    let measured = Statistics::measure(model, weights, &data.images);
    bar.finish_and_clear();
    let measured = measured.map_err(Failure::user)?;
    if args.bits.wanted() {
        let name = args.output.display().to_string();
        let source = SourceFile { name, text: imported.text.clone() };
        let ast = syntax::parse(&source).map_err(|found| Failure::Internal(found.render(&source)))?;
        let text = Text { source: &source, ast: Some(&ast), weights: Some(&imported.weights) };
        let ranges = Ranges { images: Some(&data), measured: Some(&measured) };
        let prime = Prime { ring: imported.model.header.ring, bits: None };
        if let Some((text, model)) = args.bits.search(text, &imported.model, &float, Some(ranges), prime)? {
            (imported.text, imported.model) = (text, model);
        }
    }
    Ok(Some(measured))
}

fn options(args: &ImportArgs, outputs: &Outputs) -> Result<Options, Failure> {
    let name = |path: &Path| match path.file_name().and_then(|n| n.to_str()) {
        Some(name) if !name.contains(['"', '\n']) => Ok(name.to_owned()),
        Some(_) | None => Err(Failure::User(format!("{}: choose a name without quotes", path.display()))),
    };
    let stem = args.output.file_stem().map(|s| s.to_string_lossy().into_owned());
    Ok(Options {
        name: stem.unwrap_or_default(),
        weights: name(&outputs.weights)?,
        calibration: outputs.ranges.as_deref().map(name).transpose()?,
        mean: args.mean.clone(),
        std: args.std.clone(),
        pad: args.pad as usize,
        output: args.graph_output.clone(),
        memory: args.memory,
    })
}

/// The model's bytes, if the limit of memory allows them.
fn onnx_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let error = match input::read(path, limit) {
        Ok(bytes) => return Ok(bytes),
        Err(error) => error,
    };
    if !matches!(error, InputError::TooLarge { .. }) {
        return Err(error.into());
    }
    let length = std::fs::metadata(path).map_or(0, |m| m.len());
    let needed = length.max(limit.saturating_add(1));
    Err(failure(path, &ImportError::Memory { what: ONNX_FILE.to_owned(), needed, limit }))
}

fn failure(onnx: &Path, error: &ImportError) -> Failure {
    let message = format!("{}: {error}", onnx.display());
    match error {
        ImportError::Broken(_) => Failure::Internal(message),
        ImportError::Malformed { .. }
        | ImportError::Fields(_)
        | ImportError::NoGraph
        | ImportError::Opset { .. }
        | ImportError::Memory { .. }
        | ImportError::Input(_)
        | ImportError::Outputs { .. }
        | ImportError::NoOutput { .. }
        | ImportError::Frame { .. }
        | ImportError::Tensor { .. }
        | ImportError::External { .. }
        | ImportError::TooManyNodes { .. }
        | ImportError::Limit(_)
        | ImportError::Unsupported(_)
        | ImportError::Normalisation { .. } => Failure::User(message),
    }
}
