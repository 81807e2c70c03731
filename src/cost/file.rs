//! A cost table as a YAML file: written by a calibration, read back and checked.
//!
//! Invariant: a table that comes from a file has rows, no two of one encoding, ring, number of primes and
//! form of key switch, and only
//! seconds that an operation can take, so no estimate is negative or no number. Gets and gives text, knows
//! no paths.

use super::{CostTable, OpCosts, TfheCosts, TransferCosts};
use crate::params::{Encoding, Scheme};
use serde::{Deserialize, Serialize};

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 2;
const MAX_ROWS: usize = 64;
const MAX_PRIMES: u32 = 16;
/// The most that an operation may take.
const MAX_SECONDS: f64 = 3600.0;
const HEADING: &str = "# Seconds of each operation on one thread, by encoding, ring degree, ciphertext primes and key switch.\n";

/// Measured costs of one backend, and what measured them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostFile {
    version: u32,
    backend: String,
    crate_version: String,
    /// Of the machine that the shipped costs were measured on, in files from before this was measured.
    #[serde(default)]
    transfers: TransferCosts,
    rows: Vec<OpCosts>,
    /// Costs of the non-interactive mode; older files, and those of programs without it, have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tfhe: Option<TfheCosts>,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

/// A cost file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CostFileError {
    /// No YAML, or not of this form.
    #[error("not a cost file: {0}")]
    Form(#[from] serde_yaml::Error),
    /// A version that this program does not read.
    #[error("a cost file of version {0}, this program reads version {VERSION}; calibrate again")]
    Version(u64),
    /// Measured on another backend.
    #[error("costs of backend `{found}`, needed are those of `{needed}`")]
    Backend {
        /// Whose costs they are.
        found: String,
        /// Whose are needed.
        needed: &'static str,
    },
    /// No rows or too many.
    #[error("{0} rows, a cost file has 1 to {MAX_ROWS}")]
    Rows(usize),
    /// A ring that is no power of two in 16..=65536, or not 1 to 16 primes.
    #[error("row {row}: ring {ring} with {primes} primes cannot be")]
    Set {
        /// Which row, from 1.
        row: usize,
        /// Its ring.
        ring: u32,
        /// Its primes.
        primes: u32,
    },
    /// Two rows of the same encoding, ring, primes and form of key switch.
    #[error("row {row}: ring {ring} with {primes} primes and this key switch has a row already")]
    Repeated {
        /// The second of them, from 1.
        row: usize,
        /// Its ring.
        ring: u32,
        /// Its primes.
        primes: u32,
    },
    /// Seconds that no transfer takes.
    #[error("`{operation}` cannot take {seconds} seconds: more than 0 and at most {MAX_SECONDS}")]
    Transfer {
        /// Making or using one.
        operation: &'static str,
        /// Its seconds.
        seconds: f64,
    },
    /// Seconds that no operation of the non-interactive mode takes.
    #[error("`{operation}` cannot take {seconds} seconds: more than 0 and at most {MAX_SECONDS}")]
    TfheSeconds {
        /// The operation.
        operation: &'static str,
        /// Its seconds.
        seconds: f64,
    },
    /// Seconds that no operation takes.
    #[error("row {row}: `{operation}` cannot take {seconds} seconds: more than 0 and at most {MAX_SECONDS}")]
    Seconds {
        /// Which row, from 1.
        row: usize,
        /// The operation.
        operation: &'static str,
        /// Its seconds.
        seconds: f64,
    },
}

impl CostFile {
    /// Costs that this program measured of `scheme`'s backend, or that it ships with.
    #[must_use]
    pub fn measured(scheme: Scheme, rows: Vec<OpCosts>, transfers: TransferCosts) -> Self {
        let crate_version = env!("CARGO_PKG_VERSION").into();
        Self { version: VERSION, backend: scheme.name().into(), crate_version, transfers, rows, tfhe: None }
    }

    /// The same with costs of the non-interactive mode.
    #[must_use]
    pub fn with_tfhe(self, tfhe: TfheCosts) -> Self {
        Self { tfhe: Some(tfhe), ..self }
    }

    /// The costs of the non-interactive mode, if it has any.
    #[must_use]
    pub fn tfhe(&self) -> Option<TfheCosts> {
        self.tfhe
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If a number is not one that would be read back.
    pub fn to_yaml(&self) -> Result<String, CostFileError> {
        self.check()?;
        Ok(format!("{HEADING}{}", serde_yaml::to_string(self)?))
    }

    /// Reads a file's bytes; whoever reads them from outside limits their number.
    ///
    /// # Errors
    /// If they are no cost file of this version, or a row is not as it should be.
    pub fn from_yaml(bytes: &[u8]) -> Result<Self, CostFileError> {
        let Head { version } = serde_yaml::from_slice(bytes)?;
        if version != u64::from(VERSION) {
            return Err(CostFileError::Version(version));
        }
        let file: Self = serde_yaml::from_slice(bytes)?;
        file.check()?;
        Ok(file)
    }

    /// The version of the program that measured, if it is another one.
    #[must_use]
    pub fn other_program(&self) -> Option<&str> {
        (self.crate_version != env!("CARGO_PKG_VERSION")).then_some(&self.crate_version)
    }

    /// The table of `scheme`'s backend, under the name that reports give it.
    ///
    /// # Errors
    /// If another backend was measured.
    pub fn table(&self, scheme: Scheme, name: &str) -> Result<CostTable, CostFileError> {
        if self.backend != scheme.name() {
            return Err(CostFileError::Backend { found: self.backend.clone(), needed: scheme.name() });
        }
        Ok(CostTable { name: name.into(), rows: self.rows.clone(), transfers: self.transfers })
    }

    fn check(&self) -> Result<(), CostFileError> {
        if !(1..=MAX_ROWS).contains(&self.rows.len()) {
            return Err(CostFileError::Rows(self.rows.len()));
        }
        for (i, costs) in self.rows.iter().enumerate() {
            let (row, ring, primes) = (i + 1, costs.ring, costs.primes);
            let known_ring = ring.is_power_of_two() && (16..=1 << 16).contains(&ring);
            if !known_ring || !(1..=MAX_PRIMES).contains(&primes) {
                return Err(CostFileError::Set { row, ring, primes });
            }
            let key = |costs: &OpCosts| (costs.encoding, costs.ring, costs.primes, costs.key_switch);
            if self.rows.iter().take(i).any(|other| key(other) == key(costs)) {
                return Err(CostFileError::Repeated { row, ring, primes });
            }
            if let Some((operation, seconds)) = impossible(costs) {
                return Err(CostFileError::Seconds { row, operation, seconds });
            }
        }
        let TransferCosts { make, spend } = self.transfers;
        for (operation, seconds) in [("transfers.make", make), ("transfers.spend", spend)] {
            if !(f64::MIN_POSITIVE..=MAX_SECONDS).contains(&seconds) {
                return Err(CostFileError::Transfer { operation, seconds });
            }
        }
        for (operation, seconds) in self.tfhe.iter().flat_map(TfheCosts::operations) {
            if seconds == 0.0 || wrong(seconds) {
                return Err(CostFileError::TfheSeconds { operation, seconds });
            }
        }
        Ok(())
    }
}

fn wrong(seconds: f64) -> bool {
    !(0.0..=MAX_SECONDS).contains(&seconds)
}

/// The first operation whose seconds cannot be. What is the difference of two measurements may be 0, and so
/// may a rotation of coefficients, which there is none of.
fn impossible(costs: &OpCosts) -> Option<(&'static str, f64)> {
    let differences = [
        ("hoisted", costs.hoisted),
        ("extended", costs.extended),
        ("sum_rotation", costs.sum_rotation),
        ("division", costs.division),
        ("mult", costs.mult),
        ("extended_mult", costs.extended_mult),
        ("keygen", costs.keygen),
    ];
    let rotate = match costs.encoding {
        Encoding::Slots => costs.rotate,
        Encoding::Coefficients => costs.rotate.max(f64::MIN_POSITIVE),
    };
    let measured = [
        ("rotate", rotate),
        ("encode", costs.encode),
        ("extended_encode", costs.extended_encode),
        ("add", costs.add),
        ("add_plain", costs.add_plain),
        ("load", costs.load),
        ("store", costs.store),
        ("encrypt", costs.encrypt),
        ("decrypt", costs.decrypt),
    ];
    let zero_or_wrong = measured.into_iter().find(|&(_, seconds)| seconds == 0.0 || wrong(seconds));
    differences.into_iter().find(|&(_, seconds)| wrong(seconds)).or(zero_or_wrong)
}
