//! What an operation would take that the network does not have: for advice on small changes.

use super::alternatives::{Alternatives, Listing};
use super::facts::{Facts, LayerCost, Prices};
use super::shared::Regime;
use super::{Encode, Kernels, Operation, Pick, Rings};
use crate::cost::CostTable;
use crate::params::{self, Scheme, SchemeParams, Sets, Workload};
use std::rc::Rc;

/// Candidates that are emitted for a quote.
const EMITTED: (usize, usize) = (2, 2);

/// The cheapest way to compute an operation under the parameters of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// How.
    pub pick: Pick,
    /// What it does.
    pub facts: Facts,
    /// What it takes, Galois keys apart.
    pub cost: LayerCost,
}

/// Quotes under the parameters of one network.
pub struct Quotes {
    regime: Regime,
    encode: Encode,
}

impl Quotes {
    /// Quotes in the encodings of `encode` under `sets`; for slots, which the network may not use yet, under
    /// the parameters of usual networks.
    #[must_use]
    pub fn new(sets: Sets<'_>, rings: Rings, encode: Encode, table: &CostTable) -> Self {
        let prices = |params: SchemeParams| Prices::of(params, table).map(Rc::new);
        let usual = || {
            let t = sets.plain_modulus()?;
            params::choose(Scheme::Bfv, rings.slots, t, &Workload::reference()).ok()
        };
        let slots = sets.slots.cloned().or_else(usual).and_then(prices);
        let coefficients = sets.coefficients.cloned().and_then(prices);
        Self { regime: Regime::new(rings, slots, coefficients), encode }
    }

    /// The cheapest way to compute `operation`; none if there is none.
    #[must_use]
    pub fn of(&self, operation: &Operation) -> Option<Quote> {
        let rings = self.regime.rings;
        let listing = Listing {
            encode: self.encode,
            kernels: Kernels::Auto,
            ring: rings.slots,
            coefficient_rings: &[rings.coefficients],
            guess: self.regime.slots.as_deref(),
            emitted: EMITTED,
            weights: None,
        };
        let alternatives = Alternatives::list(operation, listing).ok()?;
        let quotes = alternatives.all.iter().filter_map(|alternative| {
            let facts = alternative.at(rings)?;
            let cost = self.regime.cost(facts)?;
            Some(Quote { pick: alternative.pick, facts: facts.clone(), cost })
        });
        quotes.min_by(|a, b| a.cost.seconds().total_cmp(&b.cost.seconds()))
    }

    /// Channels of the ciphertexts that `pick` lays `operation` out in, in and out.
    #[must_use]
    pub fn capacities(&self, operation: &Operation, pick: Pick) -> Option<(usize, usize)> {
        let kernel = operation.kernel(pick, self.regime.rings).ok()?;
        Some((kernel.input().capacity(), kernel.output().capacity()))
    }

    /// Blocks for maps of `size` in a ciphertext in slots: the groups from which on no rotation is external.
    #[must_use]
    pub fn blocks(&self, (rows, columns): (usize, usize)) -> usize {
        let half = self.regime.rings.slots as usize / 2;
        2 * (half / rows.saturating_mul(columns).next_power_of_two())
    }
}
