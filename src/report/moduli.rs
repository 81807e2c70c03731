//! Whose moduli a report shows, and why they were chosen.

use crate::compiled::Compiled;
use crate::params::{KeySwitching, Scheme};
use serde::Serialize;
use std::fmt;

/// The choice of moduli, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moduli {
    /// Backend that they are for.
    pub backend: &'static str,
    /// How many of the moduli, the last ones, are special.
    pub special: u32,
    /// How key switching keeps its noise down.
    pub key_switch: String,
    /// log2 of the largest noise of a result; none if the circuit does not fit.
    pub noise_bits: Option<f64>,
    /// log2 of the flooding that hides it; none without flooding.
    pub flood_bits: Option<f64>,
    /// log2 of the noise up to which a result decrypts; none if the circuit does not fit.
    pub room_bits: Option<f64>,
    /// Bits of statistical distance that hide the weights in the replies; 0 for nothing.
    pub hidden_bits: f64,
    /// Why these, or why none fit.
    pub reason: String,
}

pub(super) fn moduli(compiled: &Compiled) -> Moduli {
    let key_switch = compiled.params.key_switch;
    let special = match key_switch {
        KeySwitching::Special { special, .. } => special,
        KeySwitching::Primes | KeySwitching::Digits { .. } => 0,
    };
    let tenth = |bits: f64| (bits * 10.0).round() / 10.0;
    let fit = compiled.fits();
    let reason = match (&fit, compiled.scheme) {
        (Ok(fit), Scheme::Bfv) => format!(
            "the fewest primes under which noise of {:.0} bits, flooded to {:.0}, stays below {:.0}: all \
             replies of an inference together are within 2^-{:.0} of telling nothing of the weights",
            fit.noise_bits,
            fit.flood_bits.unwrap_or(0.0),
            fit.room_bits,
            fit.hidden_bits
        ),
        (Ok(fit), Scheme::FheRs) => format!(
            "the fewest primes under which noise of {:.0} bits stays below {:.0}; rounding hides it in a \
             reply to 2^-{:.0}, there is no flooding",
            fit.noise_bits, fit.room_bits, fit.hidden_bits
        ),
        (Err(error), _) => format!("the closest, but no secure moduli fit: {error}"),
    };
    let fit = fit.ok();
    Moduli {
        backend: compiled.scheme.name(),
        special,
        key_switch: key_switch.to_string(),
        noise_bits: fit.map(|fit| tenth(fit.noise_bits)),
        flood_bits: fit.and_then(|fit| fit.flood_bits).map(tenth),
        room_bits: fit.map(|fit| tenth(fit.room_bits)),
        hidden_bits: fit.map_or(0.0, |fit| tenth(fit.hidden_bits)),
        reason,
    }
}

impl fmt::Display for Moduli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}: {}", self.backend, self.key_switch, self.reason)
    }
}
