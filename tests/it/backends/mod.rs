//! The backends against their definition, execution, counts, parameters, byte formats.

mod bytes;
mod circuits;
mod costs;
mod differential;
mod operations;
mod parameters;

use stria::backend::SchemeParams;
use stria::circuit::{BlockGeometry, Builder, Inst, PlainId, PlainSource, Segment, Step, Turn, Value};
use stria::params::{self, Scheme, Workload};

/// The generator `SplitMix64`: the tests' only randomness outside keys, with seeds written in the tests.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    pub(crate) fn slots(&mut self, params: &SchemeParams) -> Vec<u64> {
        (0..params.ring).map(|_| self.below(params.plain_modulus)).collect()
    }

    /// Signed weights of at most `bits` bits.
    pub(crate) fn weights(&mut self, params: &SchemeParams, bits: u32) -> Vec<i64> {
        let half = 1_i64 << (bits - 1);
        (0..params.ring).map(|_| self.below(2 << (bits - 1)).cast_signed() - half).collect()
    }

    fn step(&mut self, ring: u32) -> Step {
        if self.below(5) == 0 {
            return Step::SwapRows;
        }
        let quarter = i32::try_from(ring / 4).unwrap();
        let k = i32::try_from(self.below(u64::from(ring / 2))).unwrap() - quarter + 1;
        Step::Rotate(if k == 0 { quarter } else { k })
    }
}

/// Plaintexts of a test: every id has its own reproducible weights.
pub(crate) struct Weights {
    pub(crate) params: SchemeParams,
    pub(crate) seed: u64,
    pub(crate) bits: u32,
}

impl Weights {
    fn slots(&self, id: PlainId) -> Vec<i64> {
        Random(self.seed ^ u64::from(id.0)).weights(&self.params, self.bits)
    }
}

impl PlainSource for Weights {
    fn fill(&self, id: PlainId, slots: &mut [i64]) {
        slots.copy_from_slice(&self.slots(id));
    }
}

/// What an automorphism does to slots, by its definition.
pub(crate) fn turned(slots: &[u64], step: Step) -> Vec<u64> {
    let row = slots.len() / 2;
    let source = |u: usize| match step {
        Step::SwapRows => (u + row) % slots.len(),
        Step::Rotate(k) => {
            let shifted = i64::try_from(u % row).unwrap() + i64::from(k);
            u / row * row + usize::try_from(shifted.rem_euclid(i64::try_from(row).unwrap())).unwrap()
        }
    };
    (0..slots.len()).map(|u| slots[source(u)]).collect()
}

/// `sum + a * w` slot by slot, modulo t.
pub(crate) fn multiply_add(sum: &mut [u64], a: &[u64], w: &[i64], t: u64) {
    for ((sum, &a), &w) in sum.iter_mut().zip(a).zip(w) {
        let value = i128::from(*sum) + i128::from(a) * i128::from(w);
        *sum = u64::try_from(value.rem_euclid(i128::from(t))).unwrap();
    }
}

/// The segment one instruction after the other, on plain slots, nothing shared with the backends.
pub(crate) fn interpret(segment: &Segment, inputs: &[Vec<u64>], weights: &Weights) -> Vec<Vec<u64>> {
    let t = weights.params.plain_modulus;
    let mut values = inputs.to_vec();
    for inst in &segment.insts {
        let value = match *inst {
            Inst::Automorphism { src, step } | Inst::Extended { src, step } => {
                turned(&values[src.0 as usize], step)
            }
            Inst::RotateSum { first, len } => {
                let mut sum = vec![0; weights.params.ring as usize];
                for &Turn { src, step } in &segment.turns[first as usize..][..len as usize] {
                    let summand = &values[src.0 as usize];
                    let summand = step.map_or(summand.clone(), |step| turned(summand, step));
                    sum.iter_mut().zip(&summand).for_each(|(sum, x)| *sum = (*sum + x) % t);
                }
                sum
            }
            Inst::Dot { first, len } => {
                let mut sum = vec![0; weights.params.ring as usize];
                for &(value, id) in &segment.terms[first as usize..][..len as usize] {
                    multiply_add(&mut sum, &values[value.0 as usize], &weights.slots(id), t);
                }
                sum
            }
            Inst::Add(a, b) => {
                let (a, b) = (&values[a.0 as usize], &values[b.0 as usize]);
                a.iter().zip(b).map(|(a, b)| (a + b) % t).collect()
            }
        };
        values.push(value);
    }
    segment.outputs.iter().map(|value| values[value.0 as usize].clone()).collect()
}

/// A random circuit of multiplicative depth one: turned, summed and added inputs, dot products of them and of
/// extended rotations, turned, summed and added results. Every kind of instruction, repeated operands, dead
/// values and repeated outputs occur.
pub(crate) fn random_segment(random: &mut Random, ring: u32, inputs: u32, size: usize) -> Segment {
    let geometry = BlockGeometry { block: 64, reach: 9 };
    let mut builder = Builder::new("random", ring, geometry, inputs);
    let mut before: Vec<Value> = (0..inputs).map(|i| builder.input(i)).collect();
    for _ in 0..size {
        let src = before[random.index(before.len())];
        let value = linear_step(random, &mut builder, ring, src, &before);
        before.push(value);
    }
    // What dot products may read: extended rotations too, of which a run of some is made now and then.
    let mut read = before.clone();
    let mut after = Vec::new();
    for _ in 0..size {
        if random.below(4) == 0 {
            let steps = [random.step(ring), random.step(ring)];
            for _ in 0..1 + random.index(5) {
                let src = before[random.index(before.len())];
                read.push(builder.extended(src, steps[random.index(2)]));
            }
        }
        let value = if after.is_empty() || random.below(2) == 0 {
            let len = if random.below(8) == 0 { 1 + random.index(80) } else { 1 + random.index(5) };
            let terms: Vec<_> = (0..len).map(|_| (read[random.index(read.len())], builder.plain())).collect();
            builder.dot(terms)
        } else {
            let src = after[random.index(after.len())];
            linear_step(random, &mut builder, ring, src, &after)
        };
        after.push(value);
    }
    for _ in 0..3 {
        builder.output(after[random.index(after.len())]);
    }
    builder.finish()
}

fn linear_step(random: &mut Random, builder: &mut Builder, ring: u32, src: Value, among: &[Value]) -> Value {
    match random.below(5) {
        0 => {
            let other = among[random.index(among.len())];
            builder.add(src, other)
        }
        // As kernels sum up rotations.
        4 => (0..2 + random.index(20)).fold(src, |sum, _| {
            let other = among[random.index(among.len())];
            let turned = builder.automorphism(other, random.step(ring));
            builder.add(sum, turned)
        }),
        1 => {
            let mut turns = vec![Turn { src, step: Some(random.step(ring)) }];
            for _ in 0..1 + random.index(4) {
                let step = random.step(ring);
                let step = (random.below(3) > 0).then_some(step);
                turns.push(Turn { src: among[random.index(among.len())], step });
            }
            builder.rotate_sum(turns)
        }
        _ => match random.step(ring) {
            Step::SwapRows => builder.swap_rows(src),
            Step::Rotate(k) => builder.rotate(src, i64::from(k)),
        },
    }
}

/// The sorted, distinct steps of a segment.
pub(crate) fn steps(segment: &Segment) -> Vec<Step> {
    let mut steps: Vec<Step> = segment.steps().collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// Secure parameters for a large dense layer.
pub(crate) fn chosen(scheme: Scheme, ring: u32, largest: u64, plain_bits: Option<u32>) -> SchemeParams {
    let t = params::plain_prime(ring, largest, plain_bits).unwrap();
    params::choose(scheme, ring, t, &Workload::reference()).unwrap()
}

/// A ring without security that keeps tests short.
pub(crate) fn small_for(scheme: Scheme, ring: u32, plain_bits: u32) -> SchemeParams {
    let t = params::plain_prime(ring, 1000, Some(plain_bits)).unwrap();
    params::choose_insecure(scheme, ring, t, &Workload::reference()).unwrap()
}

/// The same, for the backends that know no special primes.
pub(crate) fn small(plain_bits: u32) -> SchemeParams {
    small_for(Scheme::FheRs, 1024, plain_bits)
}
