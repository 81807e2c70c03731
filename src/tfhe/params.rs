//! The parameters of this mode and the variances of its operations, in squares of the torus (the modulus is 1).
//!
//! Those of `V1_1_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128` of the crate `tfhe`: 132 bits by the lattice
//! estimator, binary secrets, GLWE dimension 1, native modulus 2^64. The formulas are those of the crate's
//! `noise_formulas`, written for these numbers, but for the means of rounding errors, which are taken off
//! here; a test compares them with the crate's, another with noise that is measured.

/// Dimension of the small LWE key, under which bootstraps start.
pub const LWE_DIMENSION: usize = 866;
/// Ring degree N of GLWE ciphertexts, and dimension of the large LWE key.
pub const RING: usize = 2048;
/// Standard deviation of the noise of the key-switching key.
pub const LWE_STD: f64 = 2.046_151_696_979_124e-6;
/// Standard deviation of the noise of fresh GLWE ciphertexts and of the bootstrapping key.
pub const GLWE_STD: f64 = 2.845_267_479_601_915e-15;
/// Digits of the bootstrapping key: log2 of their base.
pub const BOOTSTRAP_BASE_LOG: usize = 23;
/// Digits of the bootstrapping key: how many.
pub const BOOTSTRAP_LEVELS: usize = 1;
/// Digits of the key-switching key: log2 of their base.
pub const SWITCH_BASE_LOG: usize = 3;
/// Digits of the key-switching key: how many.
pub const SWITCH_LEVELS: usize = 5;
/// Security that is claimed, in bits.
pub const SECURITY_BITS: u32 = 128;
/// log2 of the positions of a blind rotation, 2 N.
pub const POSITIONS_LOG: u32 = 12;
/// One unit of an encrypted input value: 2^-32 of the torus, so that an input needs to know no model's scales.
pub const INPUT_STEP: u64 = 1 << 32;

/// Bytes of the seeded evaluation keys: both bodies, without their seeds.
pub const EVALUATION_KEY_BYTES: u64 =
    8 * (RING * SWITCH_LEVELS + LWE_DIMENSION * BOOTSTRAP_LEVELS * 2 * RING) as u64;

/// Variances that operations add.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variances {
    /// Of a fresh coefficient.
    pub fresh: f64,
    /// Of a result of a bootstrap, whatever went in.
    pub bootstrap: f64,
    /// Added by a key switch, the mean of its rounding taken off.
    pub key_switch: f64,
    /// Added by rounding to the positions of a blind rotation, the mean taken off.
    pub modulus_switch: f64,
}

impl Variances {
    /// Of the parameters above.
    #[must_use]
    pub fn new() -> Self {
        let (n, big) = (LWE_DIMENSION as f64, RING as f64);
        let (levels, base) = (SWITCH_LEVELS as f64, 2_f64.powf(SWITCH_BASE_LOG as f64));
        let digit = |base: f64| base * base / 12.0 + 1.0 / 6.0;
        let key_switch = levels * big * LWE_STD.powi(2) * digit(base) + big / 48.0 * base.powf(-2.0 * levels);
        let base = 2_f64.powf(BOOTSTRAP_BASE_LOG as f64);
        // Transforms in floating point with 53 bits of mantissa: measured by the crate's authors.
        let transforms =
            0.00705 * (base / 2_f64.powi(53)).powi(2) * big.powf(2.220_03) * 2_f64.powf(1.018_27);
        let product = 2.0 * big * GLWE_STD.powi(2) * digit(base);
        let rounding = (big / 2.0 + 1.0) / 24.0 * base.powi(-2);
        Self {
            fresh: GLWE_STD.powi(2),
            bootstrap: n * (transforms + product + rounding),
            key_switch,
            modulus_switch: (n / 48.0 + 1.0 / 12.0) * 4_f64.powf(-f64::from(POSITIONS_LOG)),
        }
    }
}

impl Default for Variances {
    fn default() -> Self {
        Self::new()
    }
}
