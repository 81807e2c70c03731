//! Lists the choices of a convolution, each with what it costs.

use super::super::KernelError;
use super::super::taps::{self, Blocks, TapPlan};
use super::alignment::{Alignment, ciphertexts};
use super::choice::{Arrangement, Choice, Operand, Split};
use super::tally::Tally;
use super::{check_ring, check_sizes, tally_of};
use crate::tensor::ConvGeometry;

/// Candidates may take this many times the fewest ciphertexts.
const SPARE: usize = 2;
/// Rotations that a ciphertext more is worth when candidates are ranked: its encryption, its decryption and
/// its 100 kB cost at least that.
const CIPHERTEXT: u64 = 6;
/// The same for a Galois key: it is made and sent once for all inputs and all layers that use it.
const KEY: u64 = 1;
/// Polyphase parts an axis that are looked at.
const FRAGMENTS: [usize; 3] = [1, 2, 4];

/// A choice and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How the layer is laid out and scheduled.
    pub choice: Choice,
    /// What that costs.
    pub tally: Tally,
}

impl Candidate {
    /// Orders candidates by rotations, ciphertexts and Galois keys, then external rotations and products.
    fn rank(&self) -> impl Ord + use<> {
        let t = &self.tally;
        let cost = t.rotations() + CIPHERTEXT * t.ciphertexts() + KEY * t.galois_keys;
        (cost, t.rotations(), t.external, t.plain_mults, self.choice)
    }
}

/// The choices of `g` that a planner may weigh, the best by [`Candidate::rank`] first: for each arrangement
/// within [`SPARE`] of the fewest ciphertexts, the splits that no other beats both in rotations of inputs
/// and in rotations of sums. None has the client send a turned copy of its share where the server would turn the
/// first one: by measured costs that is dearer than the rotation, which a test holds.
pub(in super::super) fn candidates(g: &ConvGeometry, ring: usize) -> Result<Vec<Candidate>, KernelError> {
    check_ring(ring)?;
    check_sizes(g)?;
    let mut all: Vec<(Arrangement, TapPlan)> = Vec::new();
    for fragments in FRAGMENTS {
        for blocks in [Blocks::PowerOfTwo, Blocks::Tight, Blocks::Spectrum] {
            match taps::plan(g, ring, fragments, blocks) {
                Ok(plan) => {
                    let list = arrangements(g, &plan, fragments, blocks);
                    all.extend(list.into_iter().map(|a| (a, plan.clone())));
                }
                Err(error) if (fragments, blocks) == (1, Blocks::PowerOfTwo) => return Err(error),
                Err(_) => {}
            }
        }
    }
    let sizes: Vec<usize> = all.iter().map(|(a, plan)| ciphertexts(g, plan, a)).collect();
    let most = sizes.iter().copied().min().unwrap_or(0).saturating_mul(SPARE);
    let mut refused = None;
    let mut found: Vec<Candidate> = Vec::new();
    for ((arrangement, plan), _) in all.into_iter().zip(sizes).filter(|(_, size)| *size <= most) {
        match Alignment::new(g, plan, arrangement).and_then(|a| splits(&a)) {
            Ok(candidates) => found.extend(candidates),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    found.sort_by_key(Candidate::rank);
    match refused {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

/// The choice of the literature: taps turn inputs, diagonals turn sums, and outputs repeat rather than
/// idle blocks compute others.
pub(in super::super) fn output_rotation(g: &ConvGeometry, ring: usize) -> Result<Choice, KernelError> {
    check_ring(ring)?;
    check_sizes(g)?;
    let plan = taps::plan(g, ring, 1, Blocks::PowerOfTwo)?;
    let groups = g.groups.count();
    let capacity = plan.capacity();
    let lanes = groups.next_power_of_two().min(capacity);
    let period = (g.c_in / groups).next_power_of_two().min(capacity / lanes);
    let diagonals = (g.c_out / groups).next_power_of_two().min(period);
    let arrangement = Arrangement { fragments: 1, blocks: Blocks::PowerOfTwo, lanes, period, diagonals };
    Ok(Choice { arrangement, split: Split::OUTPUT_ROTATION })
}

/// The arrangements on the grid of `plan`. Fragments of several channels that meet are left out: they have
/// more diagonals than they save shifts. Spectra have no shifts to save.
fn arrangements(g: &ConvGeometry, plan: &TapPlan, fragments: usize, blocks: Blocks) -> Vec<Arrangement> {
    let (groups, capacity) = (g.groups.count(), plan.capacity());
    let pointwise = g.kernel == (1, 1);
    if fragments > 1 && (pointwise || fragments > g.out_size().0.max(g.out_size().1)) {
        return Vec::new();
    }
    if blocks == Blocks::Spectrum && (fragments > 1 || pointwise) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut push = |lanes, period, diagonals| {
        if fragments == 1 || period == 1 {
            found.push(Arrangement { fragments, blocks, lanes, period, diagonals });
        }
    };
    match blocks {
        Blocks::Tight => push(groups.min(capacity), 1, 1),
        Blocks::PowerOfTwo | Blocks::Spectrum => {
            let most = groups.next_power_of_two().min(capacity);
            for lanes in [most, most / 2] {
                if lanes == 0 {
                    continue;
                }
                let widest = (g.c_in / groups).next_power_of_two().min(capacity / lanes);
                for period in powers(widest) {
                    powers(period).for_each(|diagonals| push(lanes, period, diagonals));
                }
            }
        }
    }
    found
}

/// The powers of two up to `most`, which is one.
fn powers(most: usize) -> impl Iterator<Item = usize> {
    (0..=most.ilog2()).map(|k| 1 << k)
}

/// The splits of one arrangement that no other beats.
fn splits(alignment: &Alignment) -> Result<Vec<Candidate>, KernelError> {
    let mut all: Vec<Candidate> = Vec::new();
    let shifts = alignment.plan.taps.iter().any(|tap| tap.shift != (0, 0));
    let as_one = |split: &Split| (split.rows, split.columns) == (Operand::Inputs, Operand::Inputs);
    // Where nothing is shifted it does not matter what a shift would turn.
    for split in Split::all(alignment.arrangement.diagonals).filter(|split| shifts || as_one(split)) {
        let choice = Choice { arrangement: alignment.arrangement, split };
        all.push(Candidate { choice, tally: tally_of(alignment, split)? });
    }
    all.sort_by_key(|c| (c.tally.of_inputs, c.rank()));
    let mut least = u64::MAX;
    all.retain(|c| {
        let of_sums = c.tally.rotations() - c.tally.of_inputs;
        let better = of_sums < least;
        least = least.min(of_sums);
        better
    });
    Ok(all)
}
