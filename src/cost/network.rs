//! What talking takes: bytes and rounds over a network of known speed.

use serde::Serialize;

/// A network between both parties.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Network {
    /// Bits a second, both directions together.
    pub bandwidth: f64,
    /// Seconds of a round trip.
    pub round_trip: f64,
}

/// 3 Gbit/s and 0.8 ms, as in the literature (Cheetah, 2022).
pub const LAN: Network = Network { bandwidth: 3e9, round_trip: 0.8e-3 };

/// 200 Mbit/s and 40 ms, as in the literature (Cheetah, 2022).
pub const WAN: Network = Network { bandwidth: 200e6, round_trip: 40e-3 };

impl Network {
    /// Seconds for `bytes` in `rounds`, none of which overlaps with another or with computation.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "bytes and rounds are far below 2^52")]
    pub fn seconds(&self, bytes: u64, rounds: u64) -> f64 {
        bytes as f64 * 8.0 / self.bandwidth + rounds as f64 * self.round_trip
    }
}
