//! Additions of rotations become sums that divide by P once.
//!
//! ```text
//! v5 = rotate v1, 64     v6 = add v0, v5                  v6 = (gone)
//! v7 = rotate v2, 128    v8 = add v6, v7          =>      v8 = rotate_sum [v0, rotate v1, 64, rotate v2, 128]
//! ```
//! A tree of additions whose inner sums nothing else reads is taken whole; its leaves are values, or
//! rotations that nothing else reads. With two rotations or more, each but one saves a division, with `k`
//! ciphertext primes `2k + 2` transforms of the `k^2 + 3k + 2` of a rotation. Sums of many are cut into
//! links of [`MOST_SUMMANDS`], each as early as its operands are there and each a summand of the next, so
//! that partial sums need not all wait for the last one. Rotations keep their number, so do additions.

use super::{Rewrite, Turn};
use crate::circuit::{Inst, Segment, Value};

/// Summands of one sum: a link more costs one division more, a summand more one more live ciphertext.
const MOST_SUMMANDS: usize = 16;

pub(super) fn run(segment: &mut Segment, ring: u32) -> usize {
    let trees = Trees::new(segment);
    if trees.links.is_empty() {
        return 0;
    }
    let mut rewrite = Rewrite::new(segment, ring);
    let mut links = trees.links.iter().peekable();
    for inst in 0..segment.insts.len() {
        if !trees.gone[inst] {
            rewrite.copy(inst);
        }
        while let Some(link) = links.next_if(|link| link.after <= inst) {
            let turns: Vec<_> = link.turns.iter().map(|&turn| rewrite.turn(turn)).collect();
            let sum = rewrite.builder.rotate_sum(turns);
            rewrite.define(link.root, sum);
        }
    }
    *segment = rewrite.finish();
    trees.links.len()
}

/// A piece of a sum. A link before the last stands for the root until the next one is made, which reads it
/// as the root.
struct Link {
    root: Value,
    turns: Vec<Turn>,
    /// The instruction after which all operands are there.
    after: usize,
}

struct Trees {
    /// By `after`.
    links: Vec<Link>,
    /// Instructions that sums replace.
    gone: Vec<bool>,
}

impl Trees {
    fn new(segment: &Segment) -> Self {
        let uses = segment.uses();
        let inner = inner_sums(segment, &uses);
        let mut trees = Self { links: Vec::new(), gone: vec![false; segment.insts.len()] };
        for (inst, op) in segment.insts.iter().enumerate() {
            let Inst::Add(a, b) = *op else { continue };
            if inner[inst] {
                continue;
            }
            let mut tree = Tree { segment, uses: &uses, inner: &inner, turns: Vec::new(), gone: vec![inst] };
            tree.collect([a, b]);
            if tree.turns.iter().filter(|turn| turn.step.is_some()).count() < 2 {
                continue;
            }
            for inst in tree.gone {
                trees.gone[inst] = true;
            }
            let root = Value(segment.inputs + super::index(inst));
            trees.cut(segment, root, tree.turns);
        }
        trees.links.sort_by_key(|link| link.after);
        trees
    }

    /// Cuts a sum into links by the order in which operands are defined.
    fn cut(&mut self, segment: &Segment, root: Value, mut turns: Vec<Turn>) {
        turns.sort_by_key(|turn| turn.src);
        let defined = |turn: &Turn| (turn.src.0.saturating_sub(segment.inputs)) as usize;
        let mut rest = &turns[..];
        let mut carry = None;
        while !rest.is_empty() {
            let room = MOST_SUMMANDS - usize::from(carry.is_some());
            let (head, tail) = rest.split_at(taken(rest, room));
            let after = head.iter().map(defined).max().unwrap_or(0);
            let turns = carry.into_iter().chain(head.iter().copied()).collect();
            self.links.push(Link { root, turns, after });
            carry = Some(Turn { src: root, step: None });
            rest = tail;
        }
    }
}

/// How many of `rest` the next link takes: `room`, but some rotation for itself and some for the rest.
fn taken(rest: &[Turn], room: usize) -> usize {
    let rotated = |turn: &Turn| turn.step.is_some();
    let first = rest.iter().position(rotated).map_or(rest.len(), |first| first + 1);
    let taken = room.max(first).min(rest.len());
    if rest[taken..].iter().any(rotated) { taken } else { rest.len() }
}

/// Whether each instruction is an addition that one other addition reads and nothing else.
fn inner_sums(segment: &Segment, uses: &[u32]) -> Vec<bool> {
    let mut inner = vec![false; segment.insts.len()];
    for op in &segment.insts {
        if let Inst::Add(a, b) = *op {
            for value in [a, b] {
                if uses[value.0 as usize] == 1 && matches!(segment.definition(value), Some(Inst::Add(..))) {
                    inner[(value.0 - segment.inputs) as usize] = true;
                }
            }
        }
    }
    inner
}

/// The leaves of one tree of additions.
struct Tree<'a> {
    segment: &'a Segment,
    uses: &'a [u32],
    inner: &'a [bool],
    turns: Vec<Turn>,
    gone: Vec<usize>,
}

impl Tree<'_> {
    fn collect(&mut self, operands: [Value; 2]) {
        let mut stack = operands.to_vec();
        while let Some(value) = stack.pop() {
            let index = value.0.checked_sub(self.segment.inputs).map(|index| index as usize);
            match (index, self.segment.definition(value)) {
                (Some(index), Some(Inst::Add(a, b))) if self.inner[index] => {
                    self.gone.push(index);
                    stack.extend([a, b]);
                }
                (Some(index), Some(Inst::Automorphism { src, step })) if self.uses[value.0 as usize] == 1 => {
                    self.gone.push(index);
                    self.turns.push(Turn { src, step: Some(step) });
                }
                (_, _) => self.turns.push(Turn { src: value, step: None }),
            }
        }
    }
}
