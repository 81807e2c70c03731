//! Whether a circuit fits its parameters, in numbers, for both schemes.

use super::bfv::{engine, hiding};
use super::noise::{check_depth, noise_margin, privacy_bits};
use super::{Depth, Invalid, ParamsError, Scheme, SchemeParams, Workload, bit_length};
use crate::rlwe::{Hiding, RlweError};

/// How a circuit lies within its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// log2 of the largest noise of a result before it leaves the server.
    pub noise_bits: f64,
    /// log2 of the noise up to which a result decrypts.
    pub room_bits: f64,
    /// log2 of the flooding that is added to a reply; none where rounding has to hide the noise.
    pub flood_bits: Option<f64>,
    /// Statistical distance of what replies tell beyond their message, in bits: of a whole inference where
    /// there is flooding, else of one reply. 0: nothing is hidden.
    pub hidden_bits: f64,
    /// Bits of a coefficient of a reply; none where it keeps whole primes.
    pub reply_bits: Option<u32>,
}

/// How a circuit of `workload` lies within `params`.
///
/// # Errors
/// If it would not decrypt, or under [`Scheme::Bfv`] not hide its noise.
pub fn fit(scheme: Scheme, params: &SchemeParams, workload: &Workload) -> Result<Fit, ParamsError> {
    match scheme {
        Scheme::FheRs => {
            super::require_encoding(scheme, workload)?;
            workload.depths.iter().try_for_each(|&depth| check_depth(params, depth))?;
            let least = |of: &dyn Fn(Depth) -> f64| {
                workload.depths.iter().map(|&d| of(d)).fold(f64::INFINITY, f64::min)
            };
            let margin = least(&|depth| noise_margin(params, depth));
            let all: f64 = params.modulus_bits.iter().map(|&bits| f64::from(bits)).sum();
            let room_bits = all - f64::from(bit_length(params.plain_modulus)) - 1.0;
            Ok(Fit {
                noise_bits: room_bits - margin,
                room_bits,
                flood_bits: None,
                hidden_bits: least(&|depth| privacy_bits(params, depth)).max(0.0),
                reply_bits: None,
            })
        }
        Scheme::Bfv => {
            let engine = engine(params).map_err(|_| ParamsError::Invalid(Invalid::KeySwitch))?;
            let hiding = hiding(&engine, workload);
            let reply_bits = hiding.reply_bits(&engine, engine.top()).map_err(|error| {
                let RlweError::Flood { needed, room } = error else {
                    return ParamsError::Invalid(Invalid::KeySwitch);
                };
                ParamsError::Flood {
                    depth: workload.depths.first().copied().unwrap_or_default(),
                    ring: params.ring,
                    plain_bits: bit_length(params.plain_modulus),
                    needed,
                    room,
                }
            })?;
            Ok(Fit {
                noise_bits: hiding.noise.bits(&engine),
                room_bits: engine.room_bits(engine.top()),
                flood_bits: Some(hiding.flood_bits(&engine)),
                hidden_bits: Hiding::BITS,
                reply_bits: Some(reply_bits),
            })
        }
    }
}
