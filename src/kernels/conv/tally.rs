//! Counts of a convolution without its instructions.
//!
//! Output ciphertexts of one profile need the same products, and rounds of the same profiles the same
//! rotations, so each is walked once. Tests hold the counts against those of the emitted instructions.

use super::super::KernelError;
use super::super::chain::{signed, turns};
use super::alignment::{Alignment, Class};
use super::choice::Arrangement;
use super::offsets::{Giant, Offsets};
use super::schedule::{Target, walk};
use crate::circuit::{BlockGeometry, RotationKind, Step};
use std::collections::{BTreeMap, BTreeSet};

/// What a convolution costs under one choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rotations that align taps.
    pub internal: u64,
    /// Rotations that align channels.
    pub external: u64,
    /// Of both, those of inputs: they are hoisted.
    pub of_inputs: u64,
    /// Galois keys.
    pub galois_keys: u64,
    /// Products of ciphertext and plaintext.
    pub plain_mults: u64,
    /// Additions of ciphertexts, also inside dot products.
    pub adds: u64,
    /// Ciphertexts that the client sends.
    pub ciphertexts_in: u64,
    /// Ciphertexts that the server returns.
    pub ciphertexts_out: u64,
}

impl Tally {
    /// All rotations.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.internal + self.external
    }

    /// Ciphertexts sent either way.
    #[must_use]
    pub fn ciphertexts(&self) -> u64 {
        self.ciphertexts_in + self.ciphertexts_out
    }
}

/// What is needed of the input ciphertexts of one round, phase, tile pair and class.
type Wanted = BTreeMap<(usize, usize, bool), BTreeSet<u32>>;

struct Counter<'a> {
    a: &'a Alignment,
    offsets: &'a Offsets,
    geometry: BlockGeometry,
    tally: Tally,
    /// Steps in `0..N/2`, and the exchange of rows.
    steps: BTreeSet<Option<i64>>,
}

/// Counts `a` under `offsets`.
pub(super) fn tally(a: &Alignment, offsets: &Offsets, geometry: BlockGeometry) -> Result<Tally, KernelError> {
    let mut rounds: BTreeMap<BTreeSet<u32>, u64> = BTreeMap::new();
    for profiles in a.profile_of.chunks(a.outputs.per_round) {
        *rounds.entry(profiles.iter().copied().collect()).or_default() += 1;
    }
    let mut parts = vec![0; a.profiles.len()];
    for &profile in &a.profile_of {
        parts[profile as usize] += 1;
    }
    let mut counter = Counter { a, offsets, geometry, tally: Tally::default(), steps: BTreeSet::new() };
    let mut wanted = vec![Wanted::new(); parts.len()];
    for (profile, wanted) in (0..).zip(&mut wanted) {
        counter.outputs(profile, parts[profile as usize], wanted)?;
    }
    for (profiles, times) in rounds {
        let mut all = Wanted::new();
        for &profile in &profiles {
            for (input, babies) in &wanted[profile as usize] {
                all.entry(*input).or_default().extend(babies);
            }
        }
        counter.inputs(&all, times);
    }
    let sets = |phases: usize, parts: usize| (phases * a.plan.grid.pairs() * parts) as u64;
    let mut tally = counter.tally;
    tally.ciphertexts_in = sets(a.plan.inputs.len(), a.inputs.parts);
    tally.ciphertexts_out = sets(a.plan.outputs.len(), a.outputs.parts);
    tally.galois_keys = counter.steps.len() as u64;
    Ok(tally)
}

impl Counter<'_> {
    /// Counts the products and sums of the `times` outputs of `profile` in each phase and tile pair.
    fn outputs(&mut self, profile: u32, times: u64, wanted: &mut Wanted) -> Result<(), KernelError> {
        for phase in 0..self.a.plan.outputs.len() {
            for pair in 0..self.a.plan.grid.pairs() {
                let mut giants: Vec<usize> = Vec::new();
                let mut products = 0;
                walk(self.a, self.offsets, Target { phase, pair, profile }, &mut |p| {
                    if giants.last() != Some(&p.giant) {
                        giants.push(p.giant);
                    }
                    products += (p.inputs * p.babies.len()) as u64;
                    wanted.entry((p.phase, pair, p.class == Class::Last)).or_default().extend(p.babies);
                });
                if giants.is_empty() {
                    let part = self.a.profile_of.iter().position(|&p| p == profile).unwrap_or(0);
                    let set = phase * self.a.plan.grid.pairs() + pair;
                    return Err(KernelError::NoTerm(set * self.a.outputs.parts + part));
                }
                let folds = self.folds();
                let (internal, external) = self.sums(&giants);
                self.tally.plain_mults += times * products;
                self.tally.adds += times * (products - 1 + folds);
                self.tally.internal += times * internal;
                self.tally.external += times * (external + folds);
            }
        }
        Ok(())
    }

    /// Rotations that join partial sums: one for each coordinate of a giant step that is not 0, where
    /// steps that agree in the coordinates before it and in it share it.
    fn sums(&mut self, giants: &[usize]) -> (u64, u64) {
        let (offsets, a) = (self.offsets, self.a);
        let all: Vec<Giant> = giants.iter().map(|&index| offsets.giants[index]).collect();
        let grid = a.plan.grid;
        let baby = offsets.split.baby_diagonals.min(a.places_per_row());
        let places = signed(baby * a.arrangement.lanes * grid.block);
        let (mut internal, mut external) = (0, 0);
        for row in all.chunk_by(|x, y| a.diagonal(x.diagonal).0 == a.diagonal(y.diagonal).0) {
            if a.diagonal(row[0].diagonal).0 == 1 {
                external += 1;
                self.steps.insert(None);
            }
            let of = |giant: &Giant| signed(a.diagonal(giant.diagonal).1 / baby);
            external += self.axis(row, places, &of);
            for place in row.chunk_by(|x, y| x.diagonal == y.diagonal) {
                internal += self.axis(place, signed(grid.pitch), &|giant| giant.shift.0);
                for column in place.chunk_by(|x, y| x.shift.0 == y.shift.0) {
                    internal += self.axis(column, 1, &|giant| giant.shift.1);
                }
            }
        }
        (internal, external)
    }

    /// Rotations along one coordinate, in units of `unit` slots; notes their steps.
    fn axis(&mut self, giants: &[Giant], unit: i64, of: &dyn Fn(&Giant) -> i64) -> u64 {
        let mut rotations = 0;
        for side in giants.chunk_by(|x, y| (of(x) < 0) == (of(y) < 0)) {
            let sign = if of(&side[0]) < 0 { -unit } else { unit };
            let mut distances: Vec<usize> =
                side.iter().map(|g| usize::try_from(of(g).unsigned_abs()).unwrap_or(0)).collect();
            distances.dedup();
            let turns = turns(&distances);
            rotations += turns.len() as u64;
            for turn in turns {
                self.note(signed(turn) * sign);
            }
        }
        rotations
    }

    /// Rotations that sum over the places of one output channel.
    fn folds(&mut self) -> u64 {
        let Arrangement { lanes, period, diagonals, .. } = self.a.arrangement;
        let steps = std::iter::successors(Some(diagonals), |places| Some(places * 2));
        let mut folds = 0;
        for places in steps.take_while(|places| *places < period) {
            folds += 1;
            if places < self.a.places_per_row() {
                self.note(signed(places * lanes * self.a.plan.grid.block));
            } else {
                self.steps.insert(None);
            }
        }
        folds
    }

    fn note(&mut self, step: i64) {
        self.steps.insert(Some(step.rem_euclid(signed(self.a.plan.grid.half()))));
    }

    /// Counts the rotations of the inputs of `times` rounds.
    fn inputs(&mut self, wanted: &Wanted, times: u64) {
        let sizes = self.a.class_sizes();
        for (&(_, _, last), babies) in wanted {
            let inputs = times * sizes[usize::from(last)].1 as u64;
            let (mut internal, mut external) = (0, 0);
            let mut swapped = false;
            for &baby in babies {
                let baby_step = self.offsets.babies[baby as usize];
                swapped |= baby_step.swap;
                if baby_step.step != 0 {
                    let step = Step::Rotate(i32::try_from(baby_step.step).unwrap_or(i32::MAX));
                    match self.geometry.kind(step) {
                        RotationKind::Internal => internal += 1,
                        RotationKind::External => external += 1,
                    }
                    self.note(baby_step.step);
                }
            }
            external += u64::from(swapped);
            if swapped {
                self.steps.insert(None);
            }
            self.tally.internal += inputs * internal;
            self.tally.external += inputs * external;
            self.tally.of_inputs += inputs * (internal + external);
        }
    }
}
