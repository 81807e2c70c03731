//! What the layers of a plan share: parameters, which the deepest layer decides for all in its encoding, and
//! Galois keys, of which equal steps need one. The cost of a whole plan.

use super::facts::{Facts, LayerCost, Prices, float};
use super::{Asked, Rings, workload};
use crate::circuit::Step;
use crate::cost::LAN;
use crate::params::{self, Depth, Encoding, ParamsError, Scheme, SchemeParams, Workload};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// The most bytes of the Galois keys of a network.
pub const KEY_BYTES: u64 = 64_000_000;

/// Inferences that share the Galois keys when plans are weighed: keys are made and sent once for a client.
pub const KEY_INFERENCES: f64 = 10.0;

/// How parameters are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choosing {
    /// The parameters for ring degree, plaintext prime and workload.
    pub params: fn(Scheme, u32, u64, &Workload) -> Result<SchemeParams, ParamsError>,
    /// The least ring degree of layers in coefficients.
    pub least_ring: u32,
}

/// What the linear layers of a network take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanCost {
    /// All layers of an inference.
    pub layers: LayerCost,
    /// Distinct Galois keys.
    pub galois_keys: u64,
    /// Bytes of all evaluation keys, sent once.
    pub key_bytes: u64,
    /// Seconds of making and sending them, once.
    pub key_seconds: f64,
}

impl PlanCost {
    /// Seconds of an inference, keys apart.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.layers.seconds()
    }

    /// By what plans are compared: the seconds of an inference and its share of the keys.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.seconds() + self.key_seconds / KEY_INFERENCES
    }
}

/// Price lists of both encodings: all that a layer's cost depends on but for other layers' Galois keys.
#[derive(Clone, Debug)]
pub(super) struct Regime {
    pub rings: Rings,
    pub slots: Option<Rc<Prices>>,
    pub coefficients: Option<Rc<Prices>>,
    /// Depths that were asked for, with whether the parameters hold them.
    held: RefCell<Vec<(Encoding, Depth, bool)>>,
}

/// Prices of the parameters that a ring and a workload lead to, if there are any.
type KnownPrices = (u32, Workload, Option<Rc<Prices>>);

/// Chooses parameters, each once.
pub(super) struct Shared<'a> {
    asked: &'a Asked<'a>,
    known: RefCell<Vec<KnownPrices>>,
}

impl Regime {
    pub(super) fn new(rings: Rings, slots: Option<Rc<Prices>>, coefficients: Option<Rc<Prices>>) -> Self {
        Self { rings, slots, coefficients, held: RefCell::default() }
    }

    pub(super) fn of(&self, encoding: Encoding) -> Option<&Prices> {
        match encoding {
            Encoding::Slots => self.slots.as_deref(),
            Encoding::Coefficients => self.coefficients.as_deref(),
        }
    }

    /// What `facts` take; none if no parameters are there for them or those do not hold them.
    pub(super) fn cost(&self, facts: &Facts) -> Option<LayerCost> {
        let prices = self.of(facts.encoding)?;
        self.holds(prices, facts).then(|| facts.cost(prices))
    }

    fn holds(&self, prices: &Prices, facts: &Facts) -> bool {
        let mut held = self.held.borrow_mut();
        if let Some((.., held)) = held.iter().find(|(e, d, _)| (*e, *d) == (facts.encoding, facts.depth)) {
            return *held;
        }
        let workload = Workload::of([facts.depth], prices.params.workload.values_sent);
        let fit = params::fit(Scheme::Bfv, &prices.params, &workload.encoded(facts.encoding));
        held.push((facts.encoding, facts.depth, fit.is_ok()));
        fit.is_ok()
    }

    /// Seconds that one Galois key more adds to an inference.
    pub(super) fn key_weight(&self) -> f64 {
        self.slots.as_deref().map_or(0.0, |prices| {
            (prices.costs.keygen + LAN.seconds(prices.sizes.galois_key, 0)) / KEY_INFERENCES
        })
    }

    /// What layers of these facts take together; none if they do not run in this regime.
    pub(super) fn whole(&self, layers: &[&Facts]) -> Option<PlanCost> {
        let mut all = LayerCost::default();
        for facts in layers {
            let cost = self.cost(facts)?;
            all.server += cost.server;
            all.client += cost.client;
            all.bytes += cost.bytes;
        }
        let steps: BTreeSet<Step> = layers.iter().flat_map(|facts| facts.steps.iter().copied()).collect();
        let galois_keys = steps.len() as u64;
        let used = |encoding| layers.iter().any(|facts| facts.encoding == encoding);
        let bytes = |encoding, keys| {
            let prices = self.of(encoding).filter(|_| used(encoding));
            prices.map_or(0, |prices| prices.sizes.key_bytes(keys))
        };
        let key_bytes = bytes(Encoding::Slots, galois_keys) + bytes(Encoding::Coefficients, 0);
        let making = self.slots.as_deref().map_or(0.0, |prices| prices.costs.keygen) * float(galois_keys);
        let key_seconds = making + LAN.seconds(key_bytes, 0);
        Some(PlanCost { layers: all, galois_keys, key_bytes, key_seconds })
    }
}

impl<'a> Shared<'a> {
    pub(super) fn new(asked: &'a Asked<'a>) -> Self {
        Self { asked, known: RefCell::default() }
    }

    /// Prices under the parameters for `workload` at `ring`; none if there are none that hold it.
    pub(super) fn prices(&self, ring: u32, workload: Workload) -> Option<Rc<Prices>> {
        let mut known = self.known.borrow_mut();
        if let Some((.., prices)) = known.iter().find(|(r, w, _)| (*r, w) == (ring, &workload)) {
            return prices.clone();
        }
        let chosen = (self.asked.choosing.params)(Scheme::Bfv, ring, self.asked.plain_modulus, &workload);
        let fits = chosen.ok().filter(|params| params::fit(Scheme::Bfv, params, &workload).is_ok());
        let prices = fits.and_then(|params| Prices::of(params, self.asked.table)).map(Rc::new);
        known.push((ring, workload, prices.clone()));
        prices
    }

    /// The parameters that layers with `facts` at each ring would get, by the rules of a compiled network;
    /// none if nothing holds them.
    pub(super) fn regime<'f>(
        &self,
        facts: &dyn Fn(Rings) -> Option<Vec<&'f Facts>>,
    ) -> Option<(Regime, PlanCost)> {
        self.asked.coefficient_rings().into_iter().find_map(|coefficients| {
            let rings = Rings { slots: self.asked.ring, coefficients };
            let layers = facts(rings)?;
            let set = |encoding| match workload(layers.iter().copied(), encoding) {
                Some(workload) => self.prices(rings.of(encoding), workload).map(Some),
                None => Some(None),
            };
            let regime = Regime::new(rings, set(Encoding::Slots)?, set(Encoding::Coefficients)?);
            let cost = regime.whole(&layers)?;
            Some((regime, cost))
        })
    }
}
