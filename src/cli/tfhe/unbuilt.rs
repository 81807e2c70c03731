//! The four steps in a program without the crate `tfhe`: they say how to get it.

use super::{DecryptArgs, EncryptArgs, EvaluateArgs, KeygenArgs, require_built};
use crate::cli::failure::Failure;

pub(in crate::cli) fn keygen(_: &KeygenArgs) -> Result<(), Failure> {
    require_built()
}

pub(in crate::cli) fn encrypt(_: &EncryptArgs) -> Result<(), Failure> {
    require_built()
}

pub(in crate::cli) fn evaluate(_: &EvaluateArgs) -> Result<(), Failure> {
    require_built()
}

pub(in crate::cli) fn decrypt(_: &DecryptArgs) -> Result<(), Failure> {
    require_built()
}
