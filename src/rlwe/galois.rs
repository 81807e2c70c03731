//! Automorphisms of the ring as permutations of slots and of transforms.
//!
//! `X -> X^g` permutes the N values of a transform. With the order of [`ntt`](super::ntt) it maps each
//! block of 8 neighbours to a block, turned inside in one of 8 ways, which depend on g alone: so a
//! permutation is one word a block and a table of 64 lanes.

use super::ntt::{exponent, position};

/// Coefficients of a block.
pub(super) const LANES: usize = 8;

/// An automorphism that permutes slots: one key switch, one Galois key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Automorphism {
    /// Turns both rows left by k: `out[u] = in[(u + k) mod N/2]` in each row.
    Rotate(i32),
    /// Exchanges the two rows.
    SwapRows,
}

impl Automorphism {
    /// The odd g below 2N of `X -> X^g` at ring degree `ring`. Steps that differ by the row length N/2
    /// have the same g.
    pub(super) fn exponent(self, ring: usize) -> usize {
        let cycle = 2 * ring;
        match self {
            Self::SwapRows => cycle - 1,
            Self::Rotate(k) => {
                let row = ring / 2;
                let steps = k.unsigned_abs() as usize % row;
                let steps = if k < 0 { (row - steps) % row } else { steps };
                generator_power(steps, cycle)
            }
        }
    }
}

/// `3^steps` modulo `cycle`.
pub(super) fn generator_power(mut steps: usize, cycle: usize) -> usize {
    let (mut base, mut power) = (3, 1);
    while steps > 0 {
        if steps & 1 == 1 {
            power = power * base % cycle;
        }
        base = base * base % cycle;
        steps >>= 1;
    }
    power
}

/// Where a block of a transform goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// The block of 8 it becomes.
    pub(super) block: usize,
    /// Lane `l` of the new block is lane `lanes[l]` of the old one.
    pub(super) lanes: &'a [u64; LANES],
    goes_to: &'a [u64; LANES],
}

impl Target<'_> {
    /// The new lane of an old one.
    #[inline(always)]
    pub(super) fn lane(&self, old: usize) -> usize {
        super::modulus::index(self.goes_to[old])
    }
}

/// `X -> X^g` on transforms of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permutation {
    /// For each old block: the new block times 8, plus which of the lane tables turns it.
    blocks: Vec<u32>,
    from: [[u64; LANES]; LANES],
    to: [[u64; LANES]; LANES],
}

impl Permutation {
    /// The permutation of transforms of length `ring` for an odd `g` below 2 `ring`.
    pub(super) fn new(ring: usize, g: usize) -> Self {
        let log = ring.trailing_zeros();
        // The value at w^e of the image is the value at w^(e*g) of the original: new entry i takes old
        // entry position(exponent(i) * g).
        let source = |i: usize| position(exponent(i, log) * g % (2 * ring), log);
        let mut permutation =
            Self { blocks: vec![0; ring / LANES], from: [[0; LANES]; LANES], to: [[0; LANES]; LANES] };
        for new in 0..ring / LANES {
            let lanes: [usize; LANES] = std::array::from_fn(|l| source(new * LANES + l));
            let (old, way) = (lanes[0] / LANES, lanes[0] % LANES);
            debug_assert!(lanes.iter().all(|&i| i / LANES == old));
            for (l, &i) in lanes.iter().enumerate() {
                permutation.from[way][l] = (i % LANES) as u64;
                permutation.to[way][i % LANES] = l as u64;
            }
            permutation.blocks[old] = u32::try_from(new * LANES + way).unwrap_or(u32::MAX);
        }
        permutation
    }

    /// Where the blocks from `first` on go.
    pub(super) fn targets(&self, first: usize) -> impl Iterator<Item = Target<'_>> {
        self.blocks[first..].iter().map(|&packed| {
            let way = packed as usize % LANES;
            Target { block: packed as usize / LANES, lanes: &self.from[way], goes_to: &self.to[way] }
        })
    }

    /// Writes the image of the transform `src` to `out`.
    pub(super) fn apply(&self, src: &[u64], out: &mut [u64]) {
        for (block, target) in src.as_chunks::<LANES>().0.iter().zip(self.targets(0)) {
            for (lane, &x) in block.iter().enumerate() {
                out[target.block * LANES + target.lane(lane)] = x;
            }
        }
    }
}
