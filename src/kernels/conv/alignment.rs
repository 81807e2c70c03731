//! Which output channel meets which input channel in which diagonal.
//!
//! Diagonal `d = (r, k)` joins output place `j` of a lane to input place `j + d` in the group `Z_2 x Z_P` of
//! places (row of slots, place in it). Input channels repeat every `p` places (the period), outputs every
//! `D` places of such a segment, and each segment computes outputs of its own. An output meets D inputs
//! diagonal by diagonal, and `log2(p / D)` rotate-and-sum steps within its segment bring the other inputs:
//! ```text
//! 8 places, p = 4, D = 2   place j:   0   1   2   3   4   5   6   7
//!                          output:   y0  y1  y0  y1  y2  y3  y2  y3
//!                    d = 0 meets:    x0  x1  x2  x3  x0  x1  x2  x3
//!                    d = 1 meets:    x1  x2  x3  x0  x1  x2  x3  x0     fold by 2: y0 has met x0..x3
//! ```
//! Further input ciphertexts are summed before any rotation. Diagonals without a pair of channels exist only
//! where the last ciphertext of a side is not full; output ciphertexts that agree in them, and in which
//! halves of the output channels they hold, have one [`Profile`].

use super::super::taps::{Blocks, TapPlan, half};
use super::super::{KernelError, MAX_TERMS};
use super::choice::Arrangement;
use crate::layout::Spread;
use crate::tensor::ConvGeometry;
use std::collections::HashMap;

/// The most combinations of places and diagonals that are looked at for one arrangement.
const MAX_WORK: usize = 1 << 28;

/// A convolution's channels in blocks and its taps on the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    pub geometry: ConvGeometry,
    pub plan: TapPlan,
    pub inputs: Side,
    pub outputs: Side,
    pub arrangement: Arrangement,
    pub profiles: Vec<Profile>,
    /// Of each output ciphertext of a phase and tile pair, its profile.
    pub profile_of: Vec<u32>,
    /// Where each block starts: row of slots, slot in it.
    pub starts: Vec<(usize, usize)>,
    /// Of each tile pair, of each tap: whether it serves an output row.
    live: Vec<bool>,
}

/// Channels of one side of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub channels: usize,
    pub spread: Spread,
    /// Ciphertexts of one phase and tile pair.
    pub parts: usize,
    /// Those that hold one group of each lane.
    pub per_round: usize,
}

/// What of an output ciphertext the schedule depends on: the halves of the output channels, as marks, that
/// meet some input channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    /// In any diagonal of a full input ciphertext.
    pub full: u8,
    /// In each diagonal of a lane's last input ciphertext, if that is not full.
    pub last: Vec<u8>,
}

/// The input ciphertexts of a lane: all alike but for the last if that is not full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Full,
    Last,
}

/// Where the channels of inputs and outputs stand.
fn spreads(g: &ConvGeometry, plan: &TapPlan, arrangement: &Arrangement) -> (Spread, Spread) {
    let Arrangement { blocks, lanes, period, diagonals, .. } = *arrangement;
    let places = match blocks {
        Blocks::PowerOfTwo | Blocks::Spectrum => plan.capacity() / lanes,
        Blocks::Tight => 1,
    };
    let groups = g.groups;
    let inputs = Spread { groups, lanes, places, period, width: period, advance: 0, per_ciphertext: period };
    let per_ciphertext = places / period * diagonals;
    (inputs, Spread { width: diagonals, advance: diagonals, per_ciphertext, ..inputs })
}

/// How many ciphertexts go in and out.
pub(super) fn ciphertexts(g: &ConvGeometry, plan: &TapPlan, arrangement: &Arrangement) -> usize {
    let (inputs, outputs) = spreads(g, plan, arrangement);
    let sets = |phases: usize, parts: usize| phases.saturating_mul(plan.grid.pairs()).saturating_mul(parts);
    sets(plan.inputs.len(), inputs.parts(g.c_in))
        .saturating_add(sets(plan.outputs.len(), outputs.parts(g.c_out)))
}

impl Alignment {
    /// `arrangement` fits the grid of `plan`.
    pub(super) fn new(
        g: &ConvGeometry,
        plan: TapPlan,
        arrangement: Arrangement,
    ) -> Result<Self, KernelError> {
        let (inputs, outputs) = spreads(g, &plan, &arrangement);
        let side = |channels: usize, spread: Spread| Side {
            channels,
            spread,
            parts: spread.parts(channels),
            per_round: spread.parts_per_round(channels),
        };
        let mut alignment = Self {
            geometry: *g,
            plan,
            inputs: side(g.c_in, inputs),
            outputs: side(g.c_out, outputs),
            arrangement,
            profiles: Vec::new(),
            profile_of: Vec::new(),
            starts: Vec::new(),
            live: Vec::new(),
        };
        alignment.check_work()?;
        alignment.list_profiles();
        alignment.list_live();
        let start = |block| {
            let slot = alignment.plan.grid.base(block);
            (slot / alignment.plan.grid.half(), slot % alignment.plan.grid.half())
        };
        alignment.starts = (0..alignment.plan.grid.blocks()).map(start).collect();
        Ok(alignment)
    }

    /// Input channels of a group: columns of the weight.
    pub(super) fn columns(&self) -> usize {
        self.geometry.c_in / self.geometry.groups.count()
    }

    /// How many input ciphertexts of a lane there are of either class.
    pub(super) fn class_sizes(&self) -> [(Class, usize); 2] {
        let full = self.columns() / self.arrangement.period;
        [(Class::Full, full), (Class::Last, self.inputs.per_round - full)]
    }

    /// The halves that meet input ciphertexts of `class` in diagonal `d`.
    pub(super) fn halves(&self, profile: u32, class: Class, d: usize) -> u8 {
        let profile = &self.profiles[profile as usize];
        match class {
            Class::Full => profile.full,
            Class::Last => profile.last[d],
        }
    }

    pub(super) fn is_live(&self, pair: usize, tap: usize) -> bool {
        self.live[pair * self.plan.taps.len() + tap]
    }

    /// Places of a lane in one row of slots.
    pub(super) fn places_per_row(&self) -> usize {
        (self.plan.grid.blocks_per_row() / self.arrangement.lanes).max(1)
    }

    /// Diagonal `d` as exchange of rows and distance in places.
    pub(super) fn diagonal(&self, d: usize) -> (usize, usize) {
        let per_row = self.places_per_row();
        (d / per_row, d % per_row)
    }

    /// The output place that diagonal `d` joins to input place `j`.
    fn reader(&self, j: usize, d: usize) -> usize {
        let per_row = self.places_per_row();
        let (swap, k) = self.diagonal(d);
        ((j / per_row) ^ swap) * per_row + (j % per_row + per_row - k) % per_row
    }

    /// Of each place of a lane, which of its ciphertext's output channels it computes.
    pub(super) fn homes(&self) -> impl Iterator<Item = usize> + use<> {
        let Arrangement { period, diagonals, .. } = self.arrangement;
        let places = self.outputs.spread.places;
        (0..places / period).flat_map(move |segment| {
            (0..period).map(move |within| segment * diagonals + (within & (diagonals - 1)))
        })
    }

    /// The blocks that compute something: all, or one where two hold tiles.
    pub(super) fn blocks(&self) -> usize {
        self.outputs.spread.lanes * self.outputs.spread.places
    }

    fn check_work(&self) -> Result<(), KernelError> {
        let (plan, d) = (&self.plan, self.arrangement.diagonals);
        let product = |factors: &[usize]| factors.iter().fold(1, |all: usize, &f| all.saturating_mul(f));
        let pairs = plan.grid.pairs();
        let inputs = product(&[plan.inputs.len(), pairs, self.inputs.parts]);
        let terms = product(&[plan.taps.len(), pairs, self.outputs.parts, self.inputs.per_round, d]);
        let ragged = self.class_sizes()[1].1;
        let work = product(&[self.outputs.parts, self.blocks(), 1 + ragged * d]);
        let fits = inputs <= MAX_TERMS && terms <= MAX_TERMS && work <= MAX_WORK;
        if fits { Ok(()) } else { Err(KernelError::TooLarge { limit: MAX_TERMS }) }
    }

    fn list_profiles(&mut self) {
        let mut known: HashMap<Profile, u32> = HashMap::new();
        for part in 0..self.outputs.parts {
            let profile = self.profile(part);
            let next = super::narrow(known.len());
            let id = *known.entry(profile.clone()).or_insert(next);
            if id == next {
                self.profiles.push(profile);
            }
            self.profile_of.push(id);
        }
    }

    fn profile(&self, part: usize) -> Profile {
        let Arrangement { lanes, period, diagonals, .. } = self.arrangement;
        let (c_out, groups) = (self.geometry.c_out, self.geometry.groups.count());
        let (round, part) = (part / self.outputs.per_round, part % self.outputs.per_round);
        let held = round * lanes..groups.min((round + 1) * lanes);
        let halves_of = |index: usize| {
            if index >= c_out / groups {
                return 0;
            }
            let of = |group| half(self.geometry.groups.member(group, index, c_out), c_out);
            // Members rise with their group.
            of(held.start) | of(held.end - 1)
        };
        let first = part * self.outputs.spread.per_ciphertext;
        let halves: Vec<u8> = self.homes().map(|index| halves_of(first + index)).collect();
        let full = halves.iter().fold(0, |all, h| all | h);
        let ragged = self.columns() % period;
        let mut last = Vec::new();
        if ragged > 0 {
            let meets = |d: usize| {
                let mut all = 0;
                for segment in (0..halves.len()).step_by(period) {
                    for j in segment..segment + ragged {
                        all |= halves[self.reader(j, d)];
                        if all == full {
                            return all;
                        }
                    }
                }
                all
            };
            last = (0..diagonals).map(meets).collect();
        }
        Profile { full, last }
    }

    fn list_live(&mut self) {
        let grid = self.plan.grid;
        for pair in 0..grid.pairs() {
            for tap in &self.plan.taps {
                let height = self.plan.outputs[tap.output].size.0;
                let serves = |row: usize| {
                    let rows = grid.window(pair, row, height).rows;
                    rows.start.max(tap.rows.start) < rows.end.min(tap.rows.end)
                };
                self.live.push(serves(0) || serves(1));
            }
        }
    }
}
