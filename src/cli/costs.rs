//! The option `--costs`: a table that `stria calibrate` has written.

use super::failure::Failure;
use super::say::say;
use crate::cost::{CostFile, CostFileError, CostTable};
use crate::input;
use crate::params::Scheme;
use crate::tfhe;
use clap::Args;
use std::path::PathBuf;

/// The most bytes of a cost file.
const MAX_BYTES: u64 = 64 << 10;

/// Option of every command that predicts.
#[derive(Clone, Debug, Args)]
pub(super) struct CostsOption {
    /// Predict with these costs, a file of `stria calibrate`, instead of the shipped ones.
    #[arg(long = "costs", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Where costs come from.
pub(super) enum Costs {
    /// Measured elsewhere, part of the program.
    Shipped,
    /// From a file, with its name.
    File(String, CostFile),
}

impl CostsOption {
    /// Reads and checks the file, if there is one.
    pub(super) fn read(&self) -> Result<Costs, Failure> {
        let Some(path) = &self.file else { return Ok(Costs::Shipped) };
        let name = path.display().to_string();
        let file = CostFile::from_yaml(&input::read(path, MAX_BYTES)?).map_err(|e| about(&name, &e))?;
        if let Some(version) = file.other_program() {
            say(&format!("warning: {name}: measured with stria {version}; calibrate again\n"));
        }
        Ok(Costs::File(name, file))
    }
}

impl Costs {
    /// The table of `scheme`'s backend.
    pub(super) fn table(&self, scheme: Scheme) -> Result<CostTable, Failure> {
        match self {
            Self::Shipped => Ok(CostTable::shipped(scheme)),
            Self::File(name, file) => file.table(scheme, name).map_err(|e| about(name, &e)),
        }
    }

    /// The costs of the non-interactive mode, and what reports call them.
    pub(super) fn tfhe(&self) -> tfhe::report::Costs {
        let shipped = tfhe::report::Costs::shipped;
        let Self::File(name, file) = self else { return shipped() };
        let Some(seconds) = file.tfhe() else {
            say(&format!(
                "note: {name}: no costs of --mode tfhe; calibrate again. The shipped ones are used\n"
            ));
            return shipped();
        };
        tfhe::report::Costs { name: name.clone(), seconds }
    }
}

fn about(name: &str, error: &CostFileError) -> Failure {
    Failure::User(format!("{name}: {error}"))
}
