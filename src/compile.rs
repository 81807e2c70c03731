//! The driver: source text to everything that is needed to run, one line a stage.
//!
//! Files and printing belong to the caller: it opens what [`declared`](crate::resolve::declared) names
//! and prints the stages that it wants.

use crate::compiled::{Compiled, CompiledError};
use crate::graph::Model;
use crate::params::{self, ParamsError};
use crate::passes::{FloatModel, PassError, run_float};
use crate::quant::{FloatWeights, QuantError, quantise};
use crate::tensor::Tensor;
use crate::weights::WeightSource;

/// What the command line may change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Ring degree instead of the model's.
    pub ring: Option<u32>,
    /// Bits of the plaintext prime instead of the smallest that fits.
    pub plain_bits: Option<u32>,
}

/// Why a resolved model could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A pass broke the graph: an error of ours.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// Quantisation.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// No parameters.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// No plan or circuit.
    #[error(transparent)]
    Compiled(#[from] CompiledError),
}

/// What the stages after resolution produced.
#[derive(Debug)]
pub struct Stages {
    /// The float model after its passes, with its weights if it has any.
    pub float: FloatModel,
    /// The text of the graph after each pass, in order.
    pub after_passes: Vec<(&'static str, String)>,
    /// The compiled network.
    pub compiled: Compiled,
}

/// Compiles a resolved model.
///
/// # Errors
/// The first stage that fails.
pub fn compile(
    model: &Model,
    source: Option<&dyn WeightSource>,
    calibration: Option<&[Tensor<f32>]>,
    options: Options,
) -> Result<Stages, CompileError> {
    let weights = source.map(|source| FloatWeights::load(model, source)).transpose()?;
    let mut float = FloatModel { model: model.clone(), weights };
    let mut after_passes = Vec::new();
    run_float(&mut float, &mut |pass, changes, after| {
        after_passes.push((pass, format!("{changes} changes\n{}", after.model)));
    })?;
    let quantised = quantise(&float.model, float.weights.as_ref(), calibration)?;
    let ring = options.ring.unwrap_or(model.header.ring);
    let params = params::choose(ring, quantised.network.largest_accumulator(), options.plain_bits)?;
    let compiled = Compiled::new(quantised.network, quantised.weights, params)?;
    Ok(Stages { float, after_passes, compiled })
}
