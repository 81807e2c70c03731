//! The plan of fewest seconds.
//!
//! A layer's cost depends on the others through parameters and Galois keys alone. So under given parameters,
//! a regime, each layer takes what is cheapest, keys that others use anyway being free, layer after layer
//! until nothing changes; then the choice gets the parameters that it needs, and again. Regimes to begin with
//! are those of the plans of one kernel for all layers, and of picks of bounded noise, for a deep layer raises
//! everybody's moduli. The cheapest of all ends is the plan, so no plan of one kernel is cheaper.

use super::alternatives::{Alternative, Alternatives, EMITTED, Listing};
use super::facts::{Facts, Prices};
use super::shared::{Choosing, KEY_BYTES, PlanCost, Regime, Shared};
use super::{Compared, Encode, Kernels, Operation, Pick, PlanError, RunnerUp, Weighed, WholePlan};
use super::{Rings, linear_layers, workload};
use crate::circuit::Step;
use crate::cost::CostTable;
use crate::graph::{IntNetwork, IntWeights, NodeId};
use crate::params::{self, Depth, Encoding, Scheme, Workload};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Rounds over all layers, and of parameters after choices.
const MOST_ROUNDS: usize = 8;
/// Prices of a Galois key, in multiples of what it takes, tried until the keys fit [`KEY_BYTES`].
const KEY_PRICES: [f64; 4] = [1.0, 8.0, 64.0, 512.0];
/// Bounds of noise from which regimes are made.
const NOISE_BOUNDS: usize = 6;

/// What a plan is searched for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Ring degree of layers in slots, the most of layers in coefficients.
    pub ring: u32,
    /// The plaintext prime.
    pub plain_modulus: u64,
    /// How parameters are chosen.
    pub choosing: Choosing,
    /// Encodings that layers may take.
    pub encode: Encode,
    /// Kernels that layers in slots may take.
    pub kernels: Kernels,
    /// Measured costs.
    pub table: &'a CostTable,
    /// Weights whose zeros are left out; none hides them.
    pub weights: Option<&'a IntWeights>,
}

/// The plan found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// How each linear layer is computed, in order of execution.
    pub picks: Vec<Pick>,
    /// By what each was chosen.
    pub weighed: Vec<Weighed>,
    /// The plan and those of one kernel for all layers, the cheapest first.
    pub compared: Vec<Compared>,
}

impl Asked<'_> {
    /// Ring degrees that layers in coefficients may have, ascending.
    pub(super) fn coefficient_rings(&self) -> Vec<u32> {
        let least = self.choosing.least_ring.min(self.ring);
        std::iter::successors(Some(least), |ring| ring.checked_mul(2))
            .take_while(|r| *r <= self.ring)
            .collect()
    }
}

/// The plan of fewest seconds for `network`; none if no secure parameters hold any, or the table has no row.
///
/// # Errors
/// The first layer without a kernel.
pub fn search(network: &IntNetwork, asked: &Asked<'_>) -> Result<Option<Found>, PlanError> {
    let search = Search::new(network, asked)?;
    Ok(params::keeping_engines(|| found(&search)))
}

fn found(search: &Search<'_>) -> Option<Found> {
    let best = search.best()?;
    let regime = search.complete(&best.regime);
    let weighed = search.weigh(&regime, &best.choice);
    let mut compared = vec![Compared { plan: WholePlan::Planned, cost: best.cost }];
    compared.extend(search.singles().into_iter().filter_map(|(plan, choice)| {
        let (_, cost) = search.regime(&choice)?;
        Some(Compared { plan, cost })
    }));
    compared.sort_by(|a, b| a.cost.weight().total_cmp(&b.cost.weight()));
    let picks =
        (0..).zip(&best.choice).map(|(layer, &index)| search.alternative(layer, index).pick).collect();
    Some(Found { picks, weighed, compared })
}

/// The index of the alternative of each layer.
type Choice = Vec<usize>;

/// A choice under the parameters that it needs.
struct Whole {
    choice: Choice,
    regime: Regime,
    cost: PlanCost,
}

struct Search<'a> {
    asked: &'a Asked<'a>,
    shared: Shared<'a>,
    /// By operation.
    alternatives: Vec<Alternatives>,
    /// The operation of each layer.
    layers: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(network: &IntNetwork, asked: &'a Asked<'a>) -> Result<Self, PlanError> {
        let linear = linear_layers(network)?;
        let weights = |node: &NodeId| asked.weights.and_then(|all| Some(&*all.0.get(node)?.weight));
        let mut operations: Vec<(Operation, NodeId)> = Vec::new();
        let mut index = HashMap::new();
        let mut layers = Vec::with_capacity(linear.len());
        for (node, operation) in linear {
            // Layers whose zeros count have costs of their own.
            let own = weights(&node).is_some_and(|weights| weights.data.contains(&0)).then_some(node);
            let place = *index.entry((operation, own)).or_insert_with(|| {
                operations.push((operation, node));
                operations.len() - 1
            });
            layers.push(place);
        }
        let shared = Shared::new(asked);
        let rings = asked.coefficient_rings();
        let guess =
            (asked.choosing.params)(Scheme::Bfv, asked.ring, asked.plain_modulus, &Workload::reference());
        let guess = guess.ok().and_then(|params| Prices::of(params, asked.table));
        let listing = Listing {
            encode: asked.encode,
            kernels: asked.kernels,
            ring: asked.ring,
            coefficient_rings: &rings,
            guess: guess.as_ref(),
            emitted: EMITTED,
            weights: None,
        };
        let listed = operations.par_iter().map(|(operation, node)| {
            let listing = Listing { weights: weights(node), ..listing };
            let about = |error: PlanError| error.about(&network.graph.node(*node).name);
            Alternatives::list(operation, listing).map_err(about)
        });
        let alternatives = listed.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?;
        Ok(Self { asked, shared, alternatives, layers })
    }

    fn alternative(&self, layer: usize, index: usize) -> &Alternative {
        &self.alternatives[self.layers[layer]].all[index]
    }

    fn facts(&self, choice: &Choice, rings: Rings) -> Option<Vec<&Facts>> {
        (0..).zip(choice).map(|(layer, &index)| self.alternative(layer, index).at(rings)).collect()
    }

    /// The parameters that `choice` needs and what it takes; none if nothing holds it.
    fn regime(&self, choice: &Choice) -> Option<(Regime, PlanCost)> {
        self.shared.regime(&|rings| self.facts(choice, rings))
    }

    /// The plans of one kernel for all layers, as far as they are allowed and every layer has it.
    fn singles(&self) -> Vec<(WholePlan, Choice)> {
        let single = |of: fn(&Alternatives) -> Option<usize>| -> Option<Choice> {
            self.layers.iter().map(|&operation| of(&self.alternatives[operation])).collect()
        };
        let all = [
            (WholePlan::OutputRotation, single(|a| a.output_rotation)),
            (WholePlan::Unified, single(|a| a.by_rotations)),
            (WholePlan::Coefficients, single(|a| a.coefficients)),
        ];
        all.into_iter().filter_map(|(plan, choice)| Some((plan, choice?))).collect()
    }

    /// The cheapest end of all beginnings.
    fn best(&self) -> Option<Whole> {
        let mut best: Option<Whole> = None;
        let mut take = |found: Option<Whole>| {
            if let Some(found) = found
                && best.as_ref().is_none_or(|best| rank(&found.cost) < rank(&best.cost))
            {
                best = Some(found);
            }
        };
        for (_, choice) in self.singles() {
            let single = self.regime(&choice).map(|(regime, cost)| Whole { choice, regime, cost });
            if let Some(single) = single {
                take(self.settle(&self.complete(&single.regime), &single.choice));
                take(Some(single));
            }
        }
        for regime in self.regimes() {
            if let Some(choice) = self.cheapest(&regime) {
                take(self.settle(&regime, &choice));
            }
        }
        best
    }

    /// Regimes of bounded noise in slots, each with every ring of coefficients.
    fn regimes(&self) -> Vec<Regime> {
        let mut slots: Vec<Option<Rc<Prices>>> = self.bounded().into_iter().map(Some).collect();
        if slots.is_empty() {
            slots.push(None);
        }
        let mut regimes = Vec::new();
        for coefficients in self.asked.coefficient_rings() {
            let rings = Rings { slots: self.asked.ring, coefficients };
            let prices = self.in_coefficients(rings);
            regimes.extend(slots.iter().map(|slots| Regime::new(rings, slots.clone(), prices.clone())));
        }
        regimes
    }

    /// Prices of layers in slots if all alternatives up to some noise are to be held, for several bounds.
    fn bounded(&self) -> Vec<Rc<Prices>> {
        let rings = Rings { slots: self.asked.ring, coefficients: self.asked.ring };
        let all = || self.alternatives.iter().flat_map(|a| &a.all).filter_map(|a| a.at(rings));
        let mut depths: Vec<Depth> = Vec::new();
        for facts in all().filter(|facts| facts.encoding == Encoding::Slots) {
            if !depths.contains(&facts.depth) {
                depths.push(facts.depth);
            }
        }
        let most = |a: &Alternatives| a.all.iter().filter_map(|a| a.at(rings)).map(Facts::values_sent).max();
        let sent =
            self.layers.iter().filter_map(|&o| most(&self.alternatives[o])).fold(0, u64::saturating_add);
        let workload = |depths: &[Depth]| Workload::of(depths.iter().copied(), sent);
        let ring = self.asked.ring;
        let any =
            (self.asked.choosing.params)(Scheme::Bfv, ring, self.asked.plain_modulus, &workload(&depths));
        let Ok(any) = any else { return Vec::new() };
        let mut noisy: Vec<(f64, Depth)> =
            params::noise_bits(&any, &depths).into_iter().zip(depths).collect();
        noisy.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let depths: Vec<Depth> = noisy.into_iter().map(|(_, depth)| depth).collect();
        let mut found: Vec<Rc<Prices>> = Vec::new();
        for bound in 1..=NOISE_BOUNDS {
            let upto = (depths.len() * bound).div_ceil(NOISE_BOUNDS);
            if let Some(prices) = self.shared.prices(ring, workload(&depths[..upto]))
                && !found.iter().any(|known| known.params.modulus_bits == prices.params.modulus_bits)
            {
                found.push(prices);
            }
        }
        found
    }

    /// Prices in coefficients at these rings, for all layers that parameters there hold alone.
    fn in_coefficients(&self, rings: Rings) -> Option<Rc<Prices>> {
        let alternatives = self.layers.iter().filter_map(|&operation| {
            let alternatives = &self.alternatives[operation];
            alternatives.all[alternatives.coefficients?].at(rings)
        });
        let alone = |facts: &&Facts| {
            workload(std::iter::once(*facts), Encoding::Coefficients)
                .is_some_and(|workload| self.shared.prices(rings.coefficients, workload).is_some())
        };
        let held: Vec<&Facts> = alternatives.filter(alone).collect();
        let workload = workload(held.into_iter(), Encoding::Coefficients)?;
        self.shared.prices(rings.coefficients, workload)
    }

    /// `regime` with parameters for an encoding that it lacks, so that layers may change to it.
    fn complete(&self, regime: &Regime) -> Regime {
        let slots = regime.slots.clone().or_else(|| self.bounded().into_iter().next());
        let coefficients = regime.coefficients.clone().or_else(|| self.in_coefficients(regime.rings));
        Regime::new(regime.rings, slots, coefficients)
    }

    /// What is cheapest for each layer by itself; none if one has nothing in this regime.
    fn cheapest(&self, regime: &Regime) -> Option<Choice> {
        let cheapest = |layer: usize| {
            let costs = self.costs(regime, layer).into_iter().enumerate();
            let costs = costs.filter_map(|(index, cost)| Some((index, cost?)));
            costs.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
        };
        (0..self.layers.len()).map(cheapest).collect()
    }

    /// Seconds of the alternatives of a layer, keys apart.
    fn costs(&self, regime: &Regime, layer: usize) -> Vec<Option<f64>> {
        let all = self.alternatives[self.layers[layer]].all.iter();
        all.map(|a| Some(regime.cost(a.at(regime.rings)?)?.seconds())).collect()
    }

    /// From `choice`, what nothing improves: the best of choices and the parameters that they need in turn.
    fn settle(&self, regime: &Regime, choice: &Choice) -> Option<Whole> {
        let mut best: Option<Whole> = None;
        let (mut regime, mut choice) = (regime.clone(), choice.clone());
        for _ in 0..MOST_ROUNDS {
            let next = self.within_key_bytes(&regime, &choice);
            let settled = best.is_some() && next == choice;
            choice = next;
            let Some((needed, cost)) = self.regime(&choice) else { break };
            regime = Regime::new(
                needed.rings,
                needed.slots.clone().or(regime.slots),
                needed.coefficients.clone().or_else(|| self.in_coefficients(needed.rings)),
            );
            if best.as_ref().is_none_or(|best| rank(&cost) < rank(&best.cost)) {
                best = Some(Whole { choice: choice.clone(), regime: regime.clone(), cost });
            }
            if settled {
                break;
            }
        }
        best
    }

    /// Descends with keys as dear as it takes for them to fit.
    fn within_key_bytes(&self, regime: &Regime, choice: &Choice) -> Choice {
        let mut choice = choice.clone();
        for price in KEY_PRICES {
            choice = self.descend(regime, &choice, price * regime.key_weight());
            let facts = self.facts(&choice, regime.rings);
            let cost = facts.and_then(|facts| regime.whole(&facts));
            if cost.is_some_and(|cost| cost.key_bytes <= KEY_BYTES) {
                break;
            }
        }
        choice
    }

    /// Layer after layer takes what is cheapest beside the others' keys, until none changes.
    fn descend(&self, regime: &Regime, choice: &Choice, key: f64) -> Choice {
        let mut choice = choice.clone();
        let costs: Vec<_> = (0..self.layers.len()).map(|layer| self.costs(regime, layer)).collect();
        let mut users = self.users(regime.rings, &choice);
        for _ in 0..MOST_ROUNDS {
            let mut changed = false;
            for layer in 0..choice.len() {
                leave(&mut users, self.steps(regime.rings, layer, choice[layer]));
                let weight = |index: usize| {
                    let new = self.new_keys(regime.rings, &users, layer, index);
                    costs[layer][index].map(|seconds| seconds + new * key)
                };
                let now = weight(choice[layer]).unwrap_or(f64::INFINITY);
                let others = (0..costs[layer].len()).filter_map(|index| Some((index, weight(index)?)));
                if let Some((index, least)) = others.min_by(|(_, a), (_, b)| a.total_cmp(b))
                    && least < now
                {
                    choice[layer] = index;
                    changed = true;
                }
                join(&mut users, self.steps(regime.rings, layer, choice[layer]));
            }
            if !changed {
                break;
            }
        }
        choice
    }

    /// By what each layer was chosen, in the regime of the plan.
    fn weigh(&self, regime: &Regime, choice: &Choice) -> Vec<Weighed> {
        let mut users = self.users(regime.rings, choice);
        let key = regime.key_weight();
        let mut weighed = Vec::with_capacity(choice.len());
        for (layer, &chosen) in choice.iter().enumerate() {
            leave(&mut users, self.steps(regime.rings, layer, chosen));
            let costs = self.costs(regime, layer);
            let weight = |index: usize| {
                costs[index].map(|seconds| seconds + self.new_keys(regime.rings, &users, layer, index) * key)
            };
            let seconds = weight(chosen).unwrap_or(0.0);
            let others = (0..costs.len()).filter(|index| *index != chosen);
            // A plan may rest where parameters follow its choice, not lead it: what would need others is no
            // second choice.
            let others =
                others.filter_map(|index| Some((index, weight(index)?)).filter(|(_, w)| *w >= seconds));
            let runner_up = others
                .min_by(|(_, a), (_, b)| a.total_cmp(b))
                .map(|(index, seconds)| RunnerUp { pick: self.alternative(layer, index).pick, seconds });
            weighed.push(Weighed { seconds, runner_up });
            join(&mut users, self.steps(regime.rings, layer, chosen));
        }
        weighed
    }

    fn steps(&self, rings: Rings, layer: usize, index: usize) -> &[Step] {
        self.alternative(layer, index).at(rings).map_or(&[], |facts| &facts.steps)
    }

    fn users(&self, rings: Rings, choice: &Choice) -> Users {
        let mut users = Users::new();
        for (layer, &index) in choice.iter().enumerate() {
            join(&mut users, self.steps(rings, layer, index));
        }
        users
    }

    /// Keys that no layer uses but this one.
    fn new_keys(&self, rings: Rings, users: &Users, layer: usize, index: usize) -> f64 {
        let steps = self.steps(rings, layer, index);
        let new = steps.iter().filter(|step| users.get(step).is_none_or(|users| *users == 0)).count();
        super::facts::float(new as u64)
    }
}

/// How many layers use each step.
type Users = BTreeMap<Step, u32>;

fn join(users: &mut Users, steps: &[Step]) {
    steps.iter().for_each(|step| *users.entry(*step).or_default() += 1);
}

fn leave(users: &mut Users, steps: &[Step]) {
    for step in steps {
        users.entry(*step).and_modify(|users| *users = users.saturating_sub(1));
    }
}

/// Plans whose keys fit come first, then those of less weight.
fn rank(cost: &PlanCost) -> (bool, f64) {
    (cost.key_bytes > KEY_BYTES, cost.weight())
}
