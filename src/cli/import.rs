//! `stria import`: an ONNX model as a `.stria` file and its weights.

use super::failure::Failure;
use super::output;
use super::say::say;
use crate::import::{DEFAULT_MEMORY, ImportError, Options, import};
use crate::input::{self, stage};
use clap::Args;
use std::path::{Path, PathBuf};

/// Weights that take a while to write.
const MANY_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  stria import resnet20.onnx -o resnet20.stria --mean 0.4914,0.4822,0.4465 \
    --std 0.247,0.2435,0.2616 --calibrate images.safetensors\n\n\
    Reads opsets 9 to 20 as PyTorch's exporters and tf2onnx write them, with data in files beside the model. \
    What cannot be run is named, all of it at once."
)]
pub(super) struct ImportArgs {
    /// The ONNX model.
    onnx: PathBuf,
    /// The .stria file to write; its weights go beside it, as .safetensors.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Images from which ranges are measured: .safetensors, .npy, .png or a folder of .png files.
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Mean of the pixels that training subtracted, of 0 to 1: one number, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_negative_numbers = true, value_parser = number)]
    mean: Option<Vec<f64>>,
    /// Standard deviation that training divided by.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', value_parser = positive)]
    std: Option<Vec<f64>>,
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

pub(super) fn run(args: &ImportArgs) -> Result<(), Failure> {
    let model = &args.output;
    if model.extension().is_none_or(|e| e != "stria") {
        return Err(Failure::User(format!("{}: the output's name must end in .stria", model.display())));
    }
    let weights = model.with_extension("safetensors");
    let read: Vec<PathBuf> = std::iter::once(args.onnx.clone()).chain(args.calibrate.clone()).collect();
    for file in [model, &weights] {
        output::reachable(file)?;
        output::spare(file, &read)?;
    }
    let options = options(args, &weights)?;
    let bytes = input::read(&args.onnx, args.memory)?;
    let long = bytes.len() as u64 > MANY_BYTES;
    let progress = |what: &str| {
        if long {
            say(&format!("{what}\n"));
        }
    };
    progress("decoding");
    let folder = args.onnx.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    let imported = import(bytes, folder, &options).map_err(|e| failure(&args.onnx, &e))?;
    if let Some(images) = &args.calibrate {
        let shape = imported.model.graph.node(crate::graph::NodeId(0)).shape.clone();
        input::load(images, &imported.model.header.input, &shape)?;
    }
    progress("writing");
    let staged = stage(&weights, |out| imported.weights.write(out))?;
    let text = stage(model, |out| out.write_all(imported.text.as_bytes()))?;
    staged.commit()?;
    text.commit()?;
    for note in &imported.notes {
        say(&format!("note: {note}\n"));
    }
    let layers = imported.model.graph.len();
    let summary = format!(
        "{}: {layers} layers; {}: {} tensors\n",
        model.display(),
        weights.display(),
        imported.weights.len()
    );
    output::write(&summary, None)
}

fn options(args: &ImportArgs, weights: &Path) -> Result<Options, Failure> {
    let name = |path: &Path| match path.file_name().and_then(|n| n.to_str()) {
        Some(name) if !name.contains(['"', '\n']) => Ok(name.to_owned()),
        Some(_) | None => Err(Failure::User(format!("{}: choose a name without quotes", path.display()))),
    };
    let stem = args.output.file_stem().map(|s| s.to_string_lossy().into_owned());
    Ok(Options {
        name: stem.unwrap_or_default(),
        weights: name(weights)?,
        calibration: args.calibrate.as_deref().map(|file| beside(file, &args.output)).transpose()?,
        mean: args.mean.clone(),
        std: args.std.clone(),
        memory: args.memory,
    })
}

/// How `model` names `file`: relative to its folder if it is there, else from the root.
fn beside(file: &Path, model: &Path) -> Result<String, Failure> {
    let real = |path: &Path| {
        std::fs::canonicalize(path).map_err(|source| input::InputError::Io { path: path.to_owned(), source })
    };
    let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (file, folder) = (real(file)?, real(folder)?);
    let name = file.strip_prefix(&folder).unwrap_or(&file);
    match name.to_str().filter(|name| !name.contains(['"', '\n'])) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Failure::User(format!("{}: choose a name without quotes", file.display()))),
    }
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
        | ImportError::Tensor { .. }
        | ImportError::External { .. }
        | ImportError::TooManyNodes { .. }
        | ImportError::Limit(_)
        | ImportError::Unsupported(_)
        | ImportError::Normalisation { .. } => Failure::User(message),
    }
}
