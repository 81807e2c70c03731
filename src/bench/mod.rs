//! Networks measured layer by layer: each linear layer, and each non-linear step, runs by itself on random
//! shares, both parties in this process, stage after stage.
//!
//! A layer's weights, plaintexts and ciphertexts are dropped before the next layer begins, so memory is that of
//! the largest layer, and networks without weights run on random ones. What a layer computes is compared with
//! the integer layer, bit for bit, every time that it runs. Knows no files and prints nothing.

mod linear;
mod nonlinear;
mod random;
mod transfers;

pub use linear::{Job, Measured, Parties, Times};
pub use nonlinear::{StepTimes, Steps};
pub use random::{random_values, random_weights};
pub use transfers::transfer_costs;

use crate::backend::BackendError;
use crate::exec::ExecError;
use crate::graph::ReferenceError;
use crate::kernels::KernelError;
use crate::protocol::NonLinearError;

/// Why a layer could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The scheme failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The circuit failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The weights do not fit the kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The integer layer failed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A non-linear step failed.
    #[error(transparent)]
    NonLinear(#[from] NonLinearError),
    /// A layer computed something else than the integer layer: an error of ours.
    #[error("layer `{layer}`: {differ} of {values} values are not those of the integer layer")]
    Wrong {
        /// The layer.
        layer: String,
        /// Values that differ.
        differ: usize,
        /// Values in all.
        values: usize,
    },
    /// Network, plan and circuit do not belong together: an error of ours.
    #[error("internal error: layer `{0}` has no plan, parameters or operand")]
    Graph(String),
    /// A party's thread died: an error of ours.
    #[error("internal error: a party's thread ended without a result")]
    Thread,
}
