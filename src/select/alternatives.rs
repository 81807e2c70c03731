//! The ways to compute each linear layer that are worth weighing, with their facts.
//!
//! Closed counts rank all candidates of a kernel under guessed parameters; the best of them are emitted,
//! fused and counted, as many as a budget of products allows. Layers of one operation share the list.

use super::facts::{Facts, Prices};
use super::{Encode, Kernels, Operation, Pick, PlanError, Rings};
use crate::circuit::Counts;
use crate::kernels::{Blocks, Candidate, Kernel, KernelError};
use crate::params::Encoding;
use crate::tensor::Tensor;

/// Products emitted for one operation beyond the first few candidates.
const MOST_PRODUCTS: u64 = 300_000;
/// The fewest and the most candidates that are emitted for a plan.
pub(super) const EMITTED: (usize, usize) = (3, 24);
/// Candidates dearer than the best by this factor are not emitted beyond the first few.
const SPREAD: f64 = 2.0;

/// One way to compute an operation.
#[derive(Clone, Debug)]
pub(super) struct Alternative {
    pub pick: Pick,
    /// Facts by ring degree; several in coefficients, whose ring is chosen for the whole network.
    facts: Vec<(u32, Facts)>,
}

/// The alternatives of an operation, and which of them are those that plans are compared with.
#[derive(Clone, Debug, Default)]
pub(super) struct Alternatives {
    pub all: Vec<Alternative>,
    pub output_rotation: Option<usize>,
    pub by_rotations: Option<usize>,
    pub coefficients: Option<usize>,
}

/// What alternatives are listed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing<'a> {
    pub encode: Encode,
    pub kernels: Kernels,
    /// Ring degree of layers in slots.
    pub ring: u32,
    /// Ring degrees of layers in coefficients.
    pub coefficient_rings: &'a [u32],
    /// Guessed prices of layers in slots; candidates stay in order of rotations without.
    pub guess: Option<&'a Prices>,
    /// The fewest and the most candidates that are emitted.
    pub emitted: (usize, usize),
    /// Weights whose zeros are left out.
    pub weights: Option<&'a Tensor<i8>>,
}

impl Alternative {
    /// Its facts at these rings.
    pub(super) fn at(&self, rings: Rings) -> Option<&Facts> {
        let ring = rings.of(self.encoding());
        self.facts.iter().find(|(of, _)| *of == ring).map(|(_, facts)| facts)
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.pick.encoding()
    }
}

impl Alternatives {
    /// Those of `operation`; there is at least one.
    ///
    /// # Errors
    /// Why there is none, in slots if both encodings are asked for.
    pub(super) fn list(operation: &Operation, listing: Listing<'_>) -> Result<Self, PlanError> {
        let mut found = Self::default();
        let mut refused = None;
        if listing.encode != Encode::Coefficients {
            refused = found.list_slots(operation, listing)?.err();
        }
        if listing.encode != Encode::Slots {
            refused = refused.or(found.list_coefficients(operation, listing)?.err());
        }
        match refused {
            Some(source) if found.all.is_empty() => Err(PlanError::Kernel { layer: String::new(), source }),
            _ => Ok(found),
        }
    }

    fn list_slots(
        &mut self,
        operation: &Operation,
        listing: Listing<'_>,
    ) -> Result<Result<(), KernelError>, PlanError> {
        let rings = Rings { slots: listing.ring, coefficients: listing.ring };
        let ring = listing.ring as usize;
        let (literature, rotations) = match (operation.output_rotation(ring), operation.by_rotations(ring)) {
            (Ok(a), Ok(b)) => (Pick::of(&a), Pick::of(&b)),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        if listing.kernels != Kernels::Unified {
            self.output_rotation = Some(self.add(operation, literature, rings, listing.weights)?);
        }
        if listing.kernels != Kernels::OutputRotation {
            self.by_rotations = Some(self.add(operation, rotations, rings, listing.weights)?);
        }
        if listing.kernels == Kernels::Auto {
            match shortlist(operation, listing) {
                Ok(picks) => {
                    for pick in picks {
                        self.add(operation, pick, rings, listing.weights)?;
                    }
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(()))
    }

    fn list_coefficients(
        &mut self,
        operation: &Operation,
        listing: Listing<'_>,
    ) -> Result<Result<(), KernelError>, PlanError> {
        let mut facts = Vec::new();
        let mut refused = Ok(());
        for &ring in listing.coefficient_rings {
            let rings = Rings { slots: listing.ring, coefficients: ring };
            match Facts::find(operation, Pick::Coefficients, rings, listing.weights) {
                Ok(found) => facts.push((ring, found)),
                Err(PlanError::Kernel { source, .. }) => refused = Err(source),
                Err(error) => return Err(error),
            }
        }
        if !facts.is_empty() {
            self.coefficients = Some(self.all.len());
            self.all.push(Alternative { pick: Pick::Coefficients, facts });
            return Ok(Ok(()));
        }
        Ok(refused)
    }

    /// Finds the facts of `pick` unless they are known; gives its place.
    fn add(
        &mut self,
        operation: &Operation,
        pick: Pick,
        rings: Rings,
        weights: Option<&Tensor<i8>>,
    ) -> Result<usize, PlanError> {
        if let Some(place) = self.all.iter().position(|known| known.pick == pick) {
            return Ok(place);
        }
        let facts = vec![(rings.slots, Facts::find(operation, pick, rings, weights)?)];
        self.all.push(Alternative { pick, facts });
        Ok(self.all.len() - 1)
    }
}

/// The picks in slots that closed counts put first.
fn shortlist(operation: &Operation, listing: Listing<'_>) -> Result<Vec<Pick>, KernelError> {
    let ring = listing.ring as usize;
    let (candidates, mut picks) = match *operation {
        Operation::Conv(ref g) => (Kernel::candidates(g, ring)?, Vec::new()),
        Operation::Features { inputs, outputs } => {
            (Kernel::linear_candidates(inputs, outputs, ring)?, vec![Pick::Diagonals])
        }
    };
    let price = |candidate: &Candidate| listing.guess.map_or(0.0, |guess| closed(candidate, guess));
    let mut priced: Vec<(f64, Candidate)> = candidates.into_iter().map(|c| (price(&c), c)).collect();
    // Stable: equal prices stay in order of rotations.
    priced.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let best = priced.first().map_or(0.0, |(price, _)| *price);
    let mut products = 0;
    for (taken, (price, candidate)) in priced.iter().take(listing.emitted.1).enumerate() {
        products += candidate.tally.plain_mults;
        if taken >= listing.emitted.0 && (products > MOST_PRODUCTS || *price > SPREAD * best) {
            break;
        }
        picks.push(Pick::Steps(candidate.choice));
    }
    Ok(picks)
}

/// Seconds of a candidate by closed counts, as if rotations of sums shared one division an output.
fn closed(Candidate { choice, tally }: &Candidate, guess: &Prices) -> f64 {
    let of_sums = tally.rotations() - tally.of_inputs;
    let counts = Counts {
        internal: tally.internal,
        external: tally.external,
        key_switches: tally.rotations(),
        hoisted_groups: tally.ciphertexts_in.min(tally.of_inputs) + of_sums,
        sum_rotations: of_sums,
        rotate_sums: tally.ciphertexts_out.min(of_sums),
        plain_mults: tally.plain_mults,
        adds: tally.adds,
        plain_adds: tally.ciphertexts(),
        ciphertexts_in: tally.ciphertexts_in,
        ciphertexts_out: tally.ciphertexts_out,
        ..Counts::default()
    };
    let spectral = choice.arrangement.blocks == Blocks::Spectrum;
    guess.cost_of(&counts, spectral, tally.ciphertexts_out * guess.sizes.reply).seconds()
}
