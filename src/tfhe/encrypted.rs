//! The server's part: a planned network on encrypted input, on all cores.
//!
//! It holds the plan with the weights and the evaluation keys; no secret key and no image. Linear layers are
//! combinations of LWE ciphertexts under the large key, of which an activation makes fresh ones: key switch to
//! the small key, rounding, blind rotation, several at a time so that the keys are read once for all of them.

use super::input::Tap;
use super::keys::{
    ClientKey, EncryptedInput, EncryptedOutput, EvaluationKey, KeyError, KeyId, ModelId, bootstrap_levels,
    modulus, switch_levels,
};
use super::params::{LWE_DIMENSION, RING};
use super::plan::{Plan, PlannedLayer, Row};
use super::table::Table;
use super::torus::{LARGE, SMALL, centre, combine, combine_turned, switch_keys};
use crate::backend::BackendError;
use crate::cost::{Effort, TfheCosts, alone, least};
use ::tfhe::core_crypto::commons::math::random::Seed;
use ::tfhe::core_crypto::prelude::*;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Ciphertexts that are bootstrapped together.
const BATCH: usize = 8;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The layer at work.
    pub layer: &'a str,
    /// Bootstraps done.
    pub done: usize,
    /// Bootstraps in all.
    pub total: usize,
}

/// What a run did, counted where it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Executed {
    /// Programmable bootstraps.
    pub bootstraps: usize,
    /// Key switches, one a bootstrap.
    pub key_switches: usize,
    /// Products of a ciphertext with a polynomial of weights.
    pub products: usize,
    /// Products of a sample with a weight.
    pub terms: usize,
}

/// Time of one core, over all threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Linear layers.
    pub linear: Duration,
    /// Key switches and bootstraps.
    pub bootstraps: Duration,
}

/// Evaluation keys, unpacked: some 130 MB.
pub struct Server {
    id: KeyId,
    /// Key-switching key: block for block of a coefficient, row for row of a digit.
    switch: Vec<u64>,
    bootstrap: FourierLweBootstrapKeyOwned,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// Buffers of one thread.
struct Worker {
    large: Vec<u64>,
    small: Vec<u64>,
    fft: Fft,
    buffers: ComputationBuffers,
}

impl Worker {
    fn new() -> Self {
        let fft = Fft::new(PolynomialSize(RING));
        let mut buffers = ComputationBuffers::new();
        let wanted = batch_programmable_bootstrap_lwe_ciphertext_mem_optimized_requirement::<u64>(
            GlweDimension(1).to_glwe_size(),
            PolynomialSize(RING),
            CiphertextCount(BATCH),
            fft.as_view(),
        );
        buffers.resize(wanted.unaligned_bytes_required());
        Self { large: vec![0; BATCH * LARGE], small: vec![0; BATCH * SMALL], fft, buffers }
    }
}

/// The table of a batch, as ciphertexts that anybody could have made.
fn accumulators(table: &Table) -> Vec<u64> {
    let mut one = vec![0; RING];
    one.extend_from_slice(&table.values);
    one.repeat(BATCH)
}

impl Server {
    /// Unpacks `key`.
    #[must_use]
    pub fn new(key: EvaluationKey) -> Self {
        let id = key.id();
        let (base, levels) = switch_levels();
        let switch = SeededLweKeyswitchKey::from_container(
            key.switch,
            base,
            levels,
            LweDimension(LWE_DIMENSION).to_lwe_size(),
            Seed(key.switch_seed).into(),
            modulus(),
        );
        let (base, levels) = bootstrap_levels();
        let bootstrap = SeededLweBootstrapKey::from_container(
            key.bootstrap,
            GlweDimension(1).to_glwe_size(),
            PolynomialSize(RING),
            base,
            levels,
            Seed(key.bootstrap_seed).into(),
            modulus(),
        );
        let bootstrap = bootstrap.par_decompress_into_lwe_bootstrap_key();
        let mut fourier = FourierLweBootstrapKey::new(
            LweDimension(LWE_DIMENSION),
            GlweDimension(1).to_glwe_size(),
            PolynomialSize(RING),
            base,
            levels,
        );
        par_convert_standard_lwe_bootstrap_key_to_fourier(&bootstrap, &mut fourier);
        Self {
            id,
            switch: switch.par_decompress_into_lwe_keyswitch_key().into_container(),
            bootstrap: fourier,
        }
    }

    /// Seconds of one core for a bootstrap with its key switch, measured now.
    #[must_use]
    pub fn measure(&self) -> f64 {
        let mut batch = self.a_batch();
        batch();
        let start = Instant::now();
        batch();
        start.elapsed().as_secs_f64() / BATCH as f64
    }

    /// Bootstraps a batch at each call.
    fn a_batch(&self) -> impl FnMut() {
        let mut worker = Worker::new();
        worker.large = words(BATCH * LARGE);
        let (mut results, accumulators) = (vec![0; BATCH * LARGE], words(BATCH * 2 * RING));
        move || self.bootstrap(&mut worker, (&accumulators, 0), &mut results)
    }

    /// Bootstraps what `worker.large` holds, as many as `results` has room for.
    fn bootstrap(&self, worker: &mut Worker, (accumulators, before): (&[u64], u64), results: &mut [u64]) {
        let count = results.len() / LARGE;
        let small = &mut worker.small[..count * SMALL];
        switch_keys(&self.switch, &worker.large[..count * LARGE], small);
        centre(small, before);
        let size = LweDimension(LWE_DIMENSION).to_lwe_size();
        let small = LweCiphertextList::from_container(&*small, size, modulus());
        let mut results =
            LweCiphertextList::from_container(results, LweDimension(RING).to_lwe_size(), modulus());
        let accumulators = GlweCiphertextList::from_container(
            &accumulators[..count * 2 * RING],
            GlweDimension(1).to_glwe_size(),
            PolynomialSize(RING),
            modulus(),
        );
        batch_programmable_bootstrap_lwe_ciphertext_mem_optimized(
            &small,
            &mut results,
            &accumulators,
            &self.bootstrap,
            worker.fft.as_view(),
            worker.buffers.stack(),
        );
    }

    /// Runs `plan`, which `model` names, on an encrypted image.
    ///
    /// # Errors
    /// If the image is encrypted under another key or for another model.
    pub fn evaluate(
        &self,
        (model, plan): (ModelId, &Plan),
        input: &EncryptedInput,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<(EncryptedOutput, Executed, Times), KeyError> {
        input.fits(&self.id, &model)?;
        let (found, expected) = (input.ciphertexts.len(), plan.input.ciphertexts());
        let whole = input.ciphertexts.iter().all(|(_, body)| body.len() == RING);
        if found != expected || !whole {
            return Err(KeyError::Count { found, expected });
        }
        let image: Vec<Vec<u64>> = input.ciphertexts.iter().map(decompress).collect();
        let mut run = Run::new(self, plan, &image, progress);
        let mut samples = Vec::new();
        for (index, layer) in plan.layers.iter().enumerate() {
            samples = run.layer(layer);
            run.keep(index, &mut samples);
        }
        let output = EncryptedOutput {
            key: self.id,
            model,
            name: plan.model.clone(),
            step: plan.output().map_or(1, |layer| layer.step),
            scale: plan.output_scale,
            samples,
        };
        let nanoseconds = |atomic: &AtomicU64| Duration::from_nanos(atomic.load(Ordering::Relaxed));
        let times = Times { linear: nanoseconds(&run.linear), bootstraps: nanoseconds(&run.bootstraps) };
        Ok((output, run.executed, times))
    }
}

/// Measures each operation on one thread, those that keys need once only.
///
/// # Errors
/// If no thread can be started.
pub fn measure(effort: Effort) -> Result<TfheCosts, BackendError> {
    alone(|| {
        let once = Effort { batches: 1, batch: Duration::ZERO };
        let (mut made, mut server) = (None, None);
        let keygen = least(once, &mut || {
            made = Some(ClientKey::generate().1);
            Ok(())
        })?;
        let unpack = least(once, &mut || {
            server = made.take().map(Server::new);
            Ok(())
        })?;
        let reason = || BackendError::Scheme { backend: "tfhe", reason: "no key was made".into() };
        let server = server.ok_or_else(reason)?;
        let mut batch = server.a_batch();
        let bootstrap = least(effort, &mut || {
            batch();
            Ok(())
        })? / BATCH as f64;
        // As many samples as a layer has, so that memory costs what it costs there.
        let (samples, mut sum) = (words(TERMS * LARGE), vec![0; LARGE]);
        let term = least(effort, &mut || {
            combine(&mut sum, samples.chunks_exact(LARGE).zip((-8..8).cycle()));
            Ok(())
        })? / TERMS as f64;
        std::hint::black_box(sum);
        Ok(TfheCosts { bootstrap, term, keygen, unpack })
    })
}

/// Samples that the measurement of a term combines.
const TERMS: usize = 512;

/// Words of all kinds: a blind rotation skips positions that are 0.
fn words(count: usize) -> Vec<u64> {
    (1..=count as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

/// Mask and body.
fn decompress((seed, body): &(u128, Vec<u64>)) -> Vec<u64> {
    let seeded = SeededGlweCiphertext::from_container(
        body.clone(),
        GlweDimension(1).to_glwe_size(),
        Seed(*seed).into(),
        modulus(),
    );
    seeded.decompress_into_glwe_ciphertext().into_container()
}

/// Sample `coefficient` of a ciphertext of the ring.
fn extract(ring: &[u64], coefficient: usize, sample: &mut [u64]) {
    let ring = GlweCiphertext::from_container(ring, PolynomialSize(RING), modulus());
    let mut sample = LweCiphertext::from_container(sample, modulus());
    extract_lwe_sample_from_glwe_ciphertext(&ring, &mut sample, MonomialDegree(coefficient));
}

/// One inference.
struct Run<'a> {
    server: &'a Server,
    plan: &'a Plan,
    image: &'a [Vec<u64>],
    progress: &'a (dyn Fn(Progress<'_>) + Sync),
    /// Samples of each source; empty before they are computed and after their last use.
    sources: Vec<Vec<u64>>,
    /// The last layer that reads each source.
    last_use: Vec<usize>,
    executed: Executed,
    linear: AtomicU64,
    bootstraps: AtomicU64,
}

impl<'a> Run<'a> {
    fn new(
        server: &'a Server,
        plan: &'a Plan,
        image: &'a [Vec<u64>],
        progress: &'a (dyn Fn(Progress<'_>) + Sync),
    ) -> Self {
        let mut last_use = vec![0; plan.sources.len()];
        let mut extracted = false;
        for (index, layer) in plan.layers.iter().enumerate().filter(|(_, layer)| layer.product.is_none()) {
            for (number, _) in layer.rows.iter().flat_map(|row| &row.terms) {
                let source = source_of(plan, *number);
                extracted |= source == 0;
                if let Some(last) = last_use.get_mut(source) {
                    *last = index;
                }
            }
        }
        let mut sources = vec![Vec::new(); plan.sources.len()];
        if let (true, Some(first), Some(source)) = (extracted, sources.first_mut(), plan.sources.first()) {
            first.resize(source.count as usize * LARGE, 0);
            first.par_chunks_exact_mut(LARGE).enumerate().for_each(|(element, sample)| {
                let (ciphertext, coefficient) = plan.input.position(element);
                if let Some(ring) = image.get(ciphertext) {
                    extract(ring, coefficient, sample);
                }
            });
        }
        let (linear, bootstraps) = (AtomicU64::new(0), AtomicU64::new(0));
        let executed = Executed::default();
        Self { server, plan, image, progress, sources, last_use, executed, linear, bootstraps }
    }

    /// The samples of a layer's results.
    fn layer(&mut self, layer: &PlannedLayer) -> Vec<u64> {
        let (rings, products) = self.products(layer);
        let accumulators = layer.table.as_ref().map(accumulators);
        let mut results = vec![0; layer.rows.len() * LARGE];
        let done = AtomicU64::new(self.executed.bootstraps as u64);
        let total = self.plan.bootstraps();
        let (this, rings) = (&*self, rings.as_slice());
        let batches = results.par_chunks_mut(BATCH * LARGE).zip(layer.rows.par_chunks(BATCH)).enumerate();
        batches.for_each_init(Worker::new, |worker, (batch, (results, rows))| {
            let start = Instant::now();
            let sums = match (&layer.table, &accumulators) {
                (Some(_), Some(_)) => &mut worker.large[..results.len()],
                (None, _) | (_, None) => &mut *results,
            };
            for (offset, (row, sum)) in rows.iter().zip(sums.chunks_exact_mut(LARGE)).enumerate() {
                this.row(layer, rings, (batch * BATCH + offset, row), sum);
            }
            let middle = Instant::now();
            this.linear.fetch_add(nanoseconds(middle - start), Ordering::Relaxed);
            if let (Some(table), Some(accumulators)) = (&layer.table, &accumulators) {
                this.server.bootstrap(worker, (accumulators, table.before), results);
                for sample in results.chunks_exact_mut(LARGE) {
                    sample[RING] = sample[RING].wrapping_add(table.after);
                }
                this.bootstraps.fetch_add(nanoseconds(middle.elapsed()), Ordering::Relaxed);
                let done = done.fetch_add(rows.len() as u64, Ordering::Relaxed);
                let done = usize::try_from(done).unwrap_or(usize::MAX) + rows.len();
                (this.progress)(Progress { layer: &layer.name, done, total });
            }
        });
        let done = usize::try_from(done.into_inner()).unwrap_or(usize::MAX);
        self.executed.bootstraps = done;
        self.executed.key_switches = done;
        self.executed.products += products;
        if layer.product.is_none() {
            self.executed.terms += layer.rows.iter().map(|row| row.terms.len()).sum::<usize>();
        }
        results
    }

    /// The ciphertexts of the products of each output channel, and how many products were computed.
    fn products(&self, layer: &PlannedLayer) -> (Vec<Vec<u64>>, usize) {
        let Some(product) = &layer.product else { return (Vec::new(), 0) };
        let start = Instant::now();
        let channel = |taps: &Vec<Tap>| {
            let mut sum = vec![0; 2 * RING];
            for (half, sum) in sum.chunks_exact_mut(RING).enumerate() {
                let terms = taps.iter().filter_map(|tap| {
                    let ring = self.image.get(tap.ciphertext)?;
                    Some((&ring[half * RING..][..RING], tap.offset, tap.weight))
                });
                combine_turned(sum, terms);
            }
            sum
        };
        let rings = product.taps.par_iter().map(channel).collect();
        let threads = rayon::current_num_threads() as u64;
        self.linear.fetch_add(nanoseconds(start.elapsed()).saturating_mul(threads), Ordering::Relaxed);
        (rings, layer.products())
    }

    /// The sample of result `index` before its activation.
    fn row(&self, layer: &PlannedLayer, rings: &[Vec<u64>], (index, row): (usize, &Row), sum: &mut [u64]) {
        if let Some(product) = &layer.product {
            let pixels = product.positions.len().max(1);
            if let (Some(ring), Some(&position)) =
                (rings.get(index / pixels), product.positions.get(index % pixels))
            {
                extract(ring, position, sum);
            }
        } else {
            sum.fill(0);
            let terms = row.terms.iter().filter_map(|&(number, weight)| Some((self.sample(number)?, weight)));
            combine(sum, terms);
        }
        sum[RING] = sum[RING].wrapping_add(row.bias);
    }

    fn sample(&self, number: u32) -> Option<&[u64]> {
        let source = source_of(self.plan, number);
        let first = self.plan.sources.get(source)?.first;
        self.sources.get(source)?.chunks_exact(LARGE).nth((number - first) as usize)
    }

    /// Keeps the results of layer `index` for those that read them, and frees what nobody reads any more.
    fn keep(&mut self, index: usize, samples: &mut Vec<u64>) {
        if let Some(source) = self.sources.get_mut(index + 1) {
            *source = std::mem::take(samples);
        }
        for (source, last) in self.sources.iter_mut().zip(&self.last_use) {
            if *last == index {
                *source = Vec::new();
            }
        }
    }
}

fn source_of(plan: &Plan, number: u32) -> usize {
    plan.sources.partition_point(|source| source.first <= number).saturating_sub(1)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::input::InputLayout;
    use super::super::keys::ClientKey;
    use super::super::params::{POSITIONS_LOG, Variances};
    use super::*;
    use crate::tensor::{Shape, Tensor};

    /// The mean square of points of the torus, and their mean.
    fn moments(points: &[u64]) -> (f64, f64) {
        let turn = 2_f64.powi(64);
        let values: Vec<f64> = points.iter().map(|p| p.cast_signed() as f64 / turn).collect();
        let n = values.len() as f64;
        (values.iter().map(|v| v * v).sum::<f64>() / n, values.iter().sum::<f64>() / n)
    }

    fn phase(sample: &[u64], key: &[u64]) -> u64 {
        let mask = sample.iter().zip(key).map(|(a, s)| a.wrapping_mul(*s));
        mask.fold(sample[key.len()], u64::wrapping_sub)
    }

    /// Noise that is measured with the secret keys, step by step, against the variances that plans go by.
    #[test]
    fn noise_is_what_is_planned() {
        const COUNT: usize = 16 * BATCH;
        let (client, key) = ClientKey::generate();
        let server = Server::new(key);
        let shape = Shape::image(1, 16, COUNT / 16);
        let layout = InputLayout::new(&shape, (0, 0));
        let zeros = Tensor::zeros(shape);
        let table = [vec![0; RING], vec![1 << 60; RING]].concat().repeat(BATCH);
        let mut worker = Worker::new();
        let (mut switched, mut rounded, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for batch in 0..COUNT / BATCH {
            let image = decompress(&client.encrypt([0; 32], &layout, &zeros).ciphertexts[0]);
            for (i, sample) in worker.large.chunks_exact_mut(LARGE).enumerate() {
                extract(&image, layout.position(batch * BATCH + i).1, sample);
            }
            switch_keys(&server.switch, &worker.large, &mut worker.small);
            switched.extend(worker.small.chunks_exact(SMALL).map(|s| phase(s, &client.small)));
            let before: Vec<u64> =
                worker.small.chunks_exact(SMALL).map(|s| phase(s, &client.small)).collect();
            centre(&mut worker.small, 0);
            let shift = 64 - POSITIONS_LOG;
            for (sample, before) in worker.small.chunks_exact(SMALL).zip(before) {
                let on_grid: Vec<u64> =
                    sample.iter().map(|w| w.wrapping_add(1 << (shift - 1)) >> shift << shift).collect();
                rounded.push(phase(&on_grid, &client.small).wrapping_sub(before));
            }
            let mut bootstrapped = vec![0; BATCH * LARGE];
            server.bootstrap(&mut worker, (&table, 1 << 62), &mut bootstrapped);
            results.extend(client.phases(&bootstrapped).map(|phase| phase.wrapping_sub(1 << 60)));
        }
        let planned = Variances::new();
        let (mut told, mut fine) = (String::new(), true);
        for (what, points, variance) in [
            ("key switch", switched, planned.key_switch),
            ("modulus switch", rounded, planned.modulus_switch),
            ("bootstrap", results, planned.bootstrap),
        ] {
            let (square, mean) = moments(&points);
            let (ratio, mean) = (square / variance, mean / variance.sqrt());
            told += &format!("{what}: variance {ratio:.2} of the planned one, mean {mean:.2} deviations\n");
            fine &= (0.5..1.6).contains(&ratio) && mean.abs() < 0.35;
        }
        assert!(fine, "{told}");
    }

    /// The variances of plans are those of the crate's own formulas.
    #[test]
    fn variances_are_those_of_the_crate() {
        use super::super::params::{BOOTSTRAP_BASE_LOG, BOOTSTRAP_LEVELS, SWITCH_BASE_LOG, SWITCH_LEVELS};
        use ::tfhe::core_crypto::commons::noise_formulas::lwe_keyswitch::keyswitch_additive_variance_132_bits_security_gaussian;
        use ::tfhe::core_crypto::commons::noise_formulas::lwe_programmable_bootstrap::pbs_variance_132_bits_security_gaussian_fft_mul;
        let turn = 2_f64.powi(64);
        let switch = keyswitch_additive_variance_132_bits_security_gaussian(
            LweDimension(RING),
            LweDimension(LWE_DIMENSION),
            DecompositionBaseLog(SWITCH_BASE_LOG),
            DecompositionLevelCount(SWITCH_LEVELS),
            turn,
            turn,
        );
        let bootstrap = pbs_variance_132_bits_security_gaussian_fft_mul(
            LweDimension(LWE_DIMENSION),
            GlweDimension(1),
            PolynomialSize(RING),
            DecompositionBaseLog(BOOTSTRAP_BASE_LOG),
            DecompositionLevelCount(BOOTSTRAP_LEVELS),
            53.0,
            turn,
        );
        let planned = Variances::new();
        // Half of the variance of rounding a mask for binary keys is that of its mean, which is taken off.
        let digits = 2_f64.powf((SWITCH_BASE_LOG * SWITCH_LEVELS) as f64);
        let switch = switch.0 - RING as f64 / 48.0 * digits.powi(-2);
        for (what, own, theirs) in
            [("key switch", planned.key_switch, switch), ("bootstrap", planned.bootstrap, bootstrap.0)]
        {
            assert!((own / theirs - 1.0).abs() < 0.02, "{what}: {own:e}, by the crate {theirs:e}");
        }
    }
}
