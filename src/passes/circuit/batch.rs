//! Rotations of inputs by the same steps are brought together, key by key.
//!
//! ```text
//! rotate v0, 1  rotate v0, 2  dot ..  rotate v1, 1  rotate v1, 2  dot ..
//!   =>   rotate v0, 1  rotate v1, 1  rotate v0, 2  rotate v1, 2  dot ..  dot ..
//! ```
//! Keys are larger than ciphertexts and come from memory: what needs a key is done while it is at hand. A
//! batch takes up to [`BATCH`] sources, for their digits and results are held at the same time; it stands
//! where its first rotation stood, which an input allows. Rotations of other values stay where they are.

use super::Rewrite;
use crate::circuit::{BATCH, Inst, Segment, Step, Value};
use std::collections::BTreeMap;

/// Bringing groups together can make one run of two; kernels' circuits are done after the first round.
const MOST_ROUNDS: usize = 64;

pub(super) fn run(segment: &mut Segment, ring: u32) -> usize {
    let rounds = (0..MOST_ROUNDS).map(|_| gather(segment, ring));
    rounds.take_while(|&changes| changes > 0).sum()
}

/// One round; gives how many instructions moved.
fn gather(segment: &mut Segment, ring: u32) -> usize {
    let batches = batches(&groups(segment));
    let mut place = BTreeMap::new();
    let mut moved = vec![false; segment.insts.len()];
    for batch in batches {
        let first = batch.iter().copied().min().unwrap_or(0);
        batch.iter().for_each(|&inst| moved[inst] = true);
        place.insert(first, batch);
    }
    let mut order: Vec<usize> = Vec::with_capacity(segment.insts.len());
    for (inst, &moved) in moved.iter().enumerate() {
        match place.remove(&inst) {
            Some(batch) => order.extend(batch),
            None if moved => {}
            None => order.push(inst),
        }
    }
    let changes = order.iter().enumerate().filter(|&(new, &old)| new != old).count();
    if changes > 0 {
        let mut rewrite = Rewrite::new(segment, ring);
        order.into_iter().for_each(|inst| rewrite.copy(inst));
        *segment = rewrite.finish();
    }
    changes
}

/// The rotations of one input in a run of rotations.
#[derive(Debug)]
struct Group {
    src: Value,
    extended: bool,
    /// Step and instruction, by step.
    steps: Vec<(Step, usize)>,
}

fn groups(segment: &Segment) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // The groups of the run at hand.
    let mut run = 0;
    for (inst, op) in segment.insts.iter().enumerate() {
        let (src, step, extended) = match *op {
            Inst::Automorphism { src, step } => (src, step, false),
            Inst::Extended { src, step } => (src, step, true),
            Inst::RotateSum { .. } | Inst::Dot { .. } | Inst::Add(..) => {
                run = groups.len();
                continue;
            }
        };
        if src.0 >= segment.inputs {
            run = groups.len();
            continue;
        }
        match groups[run..].iter_mut().find(|g| g.src == src && g.extended == extended) {
            Some(group) => group.steps.push((step, inst)),
            None => groups.push(Group { src, extended, steps: vec![(step, inst)] }),
        }
    }
    groups.iter_mut().for_each(|group| group.steps.sort_unstable());
    groups
}

/// Neighbouring groups of equal steps, key by key.
fn batches(groups: &[Group]) -> Vec<Vec<usize>> {
    let alike = |a: &Group, b: &Group| {
        let steps = |g: &Group| g.steps.iter().map(|s| s.0).collect::<Vec<_>>();
        a.extended == b.extended && steps(a) == steps(b)
    };
    groups
        .chunk_by(alike)
        .flat_map(|alike| alike.chunks(BATCH))
        .map(|batch| {
            let keys = batch.first().map_or(0, |group| group.steps.len());
            (0..keys).flat_map(|key| batch.iter().map(move |group| group.steps[key].1)).collect()
        })
        .collect()
}
