//! Measures the operations of a backend.

use super::OpCosts;
use crate::backend::{BackendError, Basis, ClientKeys, Evaluator, Operand, SchemeParams, Sent};
use crate::circuit::Step;
use crate::clock::{Stopwatch, Whose};
use crate::params::Encoding;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Rotations of the group that measures hoisting.
const GROUP: u32 = 8;
/// Terms of the dot products that measure a multiplication, as many as a 3x3 kernel has taps: what a sum
/// costs by itself is shared by few.
const TERMS: u32 = 9;
/// Slots in a row that hold the same weight.
const RUN: usize = 16;
/// Of so many coefficients one is sent.
const WANTED: usize = 4;
/// Additions that are measured at a time.
const ADDITIONS: u32 = 64;

/// How long a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Batches of runs of each operation, of which the fastest counts; none counts as one.
    pub batches: u32,
    /// The clock time of a batch.
    pub batch: Duration,
}

impl Effort {
    /// Some seconds for all operations.
    pub const FULL: Self = Self { batches: 4, batch: Duration::from_millis(120) };
    /// Less than a second for all operations, good to a third.
    pub const QUICK: Self = Self { batches: 1, batch: Duration::from_millis(30) };
}

impl OpCosts {
    /// Measures each operation on one thread: the mean of the fastest batch of runs, by the
    /// thread's own time on a processor where the system tells it, elsewhere by the clock.
    ///
    /// # Errors
    /// If the backend fails, or no thread can be started.
    pub fn measure<K: ClientKeys, E: Evaluator>(
        params: &SchemeParams,
        effort: Effort,
    ) -> Result<Self, BackendError> {
        alone(|| Self::measure_here::<K, E>(params, effort))
    }

    fn measure_here<K: ClientKeys, E: Evaluator>(
        params: &SchemeParams,
        effort: Effort,
    ) -> Result<Self, BackendError> {
        let best = |run: &mut dyn FnMut() -> Result<(), BackendError>| least(effort, run);
        let keys = K::generate(params)?;
        let turns = match params.workload.encoding {
            Encoding::Slots => GROUP as usize,
            Encoding::Coefficients => 0,
        };
        let steps: Vec<Step> = (1..).take(turns).map(Step::Rotate).collect();
        let wanted: Vec<u32> = (0..params.ring).step_by(WANTED).collect();
        let sent = match params.workload.encoding {
            Encoding::Slots => Sent::Slots,
            Encoding::Coefficients => Sent::Coefficients(&wanted),
        };
        let no_keys = best(&mut || keys.evaluation_keys(&[]).map(drop_black_box))?;
        let all_keys = match steps.is_empty() {
            true => no_keys,
            false => best(&mut || keys.evaluation_keys(&steps).map(drop_black_box))?,
        };
        let evaluator = E::from_keys(params, &keys.evaluation_keys(&steps)?)?;
        let half = params.plain_modulus / 2;
        let slots: Vec<u64> = (0..u64::from(params.ring)).map(|i| i % half).collect();
        let bytes = keys.encrypt(&slots)?;
        // Several operands and keys, so that memory costs what it costs in a circuit.
        let operands =
            (0..GROUP).map(|_| evaluator.load(&keys.encrypt(&slots)?)).collect::<Result<Vec<_>, _>>()?;
        let ciphertext = &operands[0];
        let reply = evaluator.store(ciphertext, sent)?;
        let add = best(&mut || {
            let mut sum = ciphertext.clone();
            (0..ADDITIONS).for_each(|_| evaluator.add_assign(&mut sum, ciphertext));
            drop_black_box(sum);
            Ok(())
        })? / f64::from(ADDITIONS);
        let setup = Setup { evaluator: &evaluator, operands: &operands, steps: &steps, effort, add };
        let rotations = setup.rotations()?;
        let [mult, encode, extended_mult, extended_encode] = setup.products(rotations.division)?;
        Ok(Self {
            encoding: params.workload.encoding,
            ring: params.ring,
            primes: u32::try_from(params.modulus_bits.len()).unwrap_or(u32::MAX),
            key_switch: params.key_switch,
            rotate: rotations.rotate,
            hoisted: rotations.hoisted,
            extended: rotations.extended,
            sum_rotation: rotations.sum_rotation,
            division: rotations.division,
            mult,
            extended_mult,
            encode,
            extended_encode,
            add,
            add_plain: best(&mut || evaluator.add_plain(&mut ciphertext.clone(), &slots))?,
            load: best(&mut || evaluator.load(&bytes).map(drop_black_box))?,
            store: best(&mut || evaluator.store(ciphertext, sent).map(drop_black_box))?,
            encrypt: best(&mut || keys.encrypt(&slots).map(drop_black_box))?,
            decrypt: best(&mut || keys.decrypt(&reply, sent).map(drop_black_box))?,
            keygen: (all_keys - no_keys).max(0.0) / f64::from(GROUP),
        })
    }
}

/// What rotations and products are measured with.
struct Setup<'a, E: Evaluator> {
    evaluator: &'a E,
    operands: &'a [E::Ciphertext],
    steps: &'a [Step],
    effort: Effort,
    /// Seconds of an addition.
    add: f64,
}

#[derive(Default)]
struct Rotations {
    rotate: f64,
    hoisted: f64,
    extended: f64,
    sum_rotation: f64,
    division: f64,
}

impl<E: Evaluator> Setup<'_, E> {
    fn rotations(&self) -> Result<Rotations, BackendError> {
        let Self { evaluator, operands, steps, effort, add } = *self;
        if steps.is_empty() {
            return Ok(Rotations::default());
        }
        let further = f64::from(GROUP - 1);
        let of_one: Vec<(usize, Step)> = steps.iter().map(|&step| (0, step)).collect();
        let sources = [&operands[0]];
        let mut turns = operands.iter().zip(steps).cycle();
        let rotate = least(effort, &mut || {
            let turn = turns.next().map(|(operand, &step)| evaluator.automorphisms(&[operand], &[(0, step)]));
            turn.map_or(Ok(()), |turned| turned.map(drop_black_box))
        })?;
        let group = least(effort, &mut || evaluator.automorphisms(&sources, &of_one).map(drop_black_box))?;
        let one = least(effort, &mut || evaluator.extended(&sources, &of_one[..1]).map(drop_black_box))?;
        let all = least(effort, &mut || evaluator.extended(&sources, &of_one).map(drop_black_box))?;
        let summands: Vec<_> =
            operands.iter().zip(steps).map(|(operand, &step)| (operand, Some(step))).collect();
        let sum_of_one = least(effort, &mut || evaluator.rotate_sum(&summands[..1]).map(drop_black_box))?;
        let sum = least(effort, &mut || evaluator.rotate_sum(&summands).map(drop_black_box))?;
        let summand = (sum - sum_of_one).max(0.0) / further;
        Ok(Rotations {
            rotate,
            hoisted: (group - rotate).max(0.0) / further,
            extended: (all - one).max(0.0) / further,
            sum_rotation: (summand - add).max(0.0),
            division: (sum_of_one - summand).max(0.0),
        })
    }

    /// Seconds of: a product, an encoding, and both for extended operands. Reducing the sum at its end is
    /// part of a term's price.
    fn products(&self, division: f64) -> Result<[f64; 4], BackendError> {
        let Self { evaluator, operands, steps, effort, add } = *self;
        let mut weights = vec![0; evaluator.ring()];
        let mut encoded = |basis| {
            write(&mut weights);
            evaluator.encode(&weights, basis)
        };
        let mut encode = |basis| least(effort, &mut || encoded(basis).map(drop_black_box));
        let (whole, extended) = (encode(Basis::Ciphertext)?, encode(Basis::Extended)?);
        let mut dot = |values: &[Operand<'_, E>], basis| {
            least(effort, &mut || {
                let values = values.iter().cycle().take(TERMS as usize);
                let mut terms = values.map(|&value| Ok((value, Arc::new(encoded(basis)?))));
                evaluator.dot(&mut terms).map(drop_black_box)
            })
        };
        let wholes: Vec<_> = operands.iter().map(Operand::Ciphertext).collect();
        let mult = |dot: f64, encode: f64| (dot / f64::from(TERMS) - encode - add).max(0.0);
        if steps.is_empty() {
            let term = mult(dot(&wholes, Basis::Ciphertext)?, whole);
            return Ok([term, whole, term, whole]);
        }
        let batch: Vec<_> = steps.iter().map(|&step| (0, step)).collect();
        let turned = evaluator.extended(&[&operands[0]], &batch)?;
        let turned: Vec<_> = turned.iter().map(Operand::Extended).collect();
        Ok([
            mult(dot(&wholes, Basis::Ciphertext)?, whole),
            whole,
            mult(dot(&turned, Basis::Extended)? - division, extended),
            extended,
        ])
    }
}

/// Writes weights as kernels do: runs of the same one over zeros.
fn write(values: &mut [i64]) {
    values.fill(0);
    values.chunks_mut(RUN).zip((-128..128).cycle()).for_each(|(run, weight)| run.fill(weight));
    black_box(values);
}

fn drop_black_box<T>(value: T) {
    drop(black_box(value));
}

/// Runs `measure` where one thread is all there is.
pub(crate) fn alone<T: Send>(
    measure: impl FnOnce() -> Result<T, BackendError> + Send,
) -> Result<T, BackendError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| BackendError::Scheme { backend: "threads", reason: e.to_string() })?;
    pool.install(measure)
}

/// Seconds of a run in the fastest batch.
pub(crate) fn least(
    effort: Effort,
    run: &mut dyn FnMut() -> Result<(), BackendError>,
) -> Result<f64, BackendError> {
    let mut least = f64::INFINITY;
    for _ in 0..effort.batches.max(1) {
        let watch = Stopwatch::start(Whose::Thread);
        let mut runs = 0_u32;
        while runs == 0 || watch.wall() < effort.batch {
            run()?;
            runs += 1;
        }
        let spent = watch.processor().unwrap_or_else(|| watch.wall());
        least = least.min(spent.as_secs_f64() / f64::from(runs));
    }
    Ok(least)
}
