//! Benchmarks of the HE engine, one thread.
//!
//! Every id ends in the ring degree and the bits of the ciphertext modulus. `ntt_floor` is the transforms
//! of one plain rotation done by the transform's library itself; `fhe-rs/...` is the crate `fhe`. That crate
//! has no special prime, so the same whole modulus is its `logq` with 49 bits more. Ratios within one run are
//! what counts: `cargo bench --features fhe-rs --bench rlwe -- bars` prints those that the engine is held to.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has to stop")]

#[path = "rlwe/bars.rs"]
mod bars;

use criterion::{BatchSize, Criterion, criterion_group};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, DotProduct, Extended, ExtendedSum, GaloisKeys, Hoisted, KeySwitch,
    Packing, ParameterSpec, Parameters, Plaintext, Randomness, RotationSum, SecretKey,
};

const PLAIN: u64 = 786_433;
const BATCH: usize = 4;
const HOISTED: i32 = 8;

fn variants() -> Vec<(ParameterSpec, String)> {
    let special = || KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    [
        (4096, vec![49, 49], KeySwitch::Digits { bits: 25 }),
        (8192, vec![49, 49], special()),
        (8192, vec![49, 49, 49], special()),
        (16384, vec![49; 7], special()),
    ]
    .into_iter()
    .map(|(ring, prime_bits, key_switch)| {
        let id = format!("N={ring}/logq={}", prime_bits.iter().sum::<u32>());
        (ParameterSpec { ring, plain_modulus: PLAIN, prime_bits, key_switch }, id)
    })
    .collect()
}

struct Setup {
    params: Arc<Parameters>,
    secret: SecretKey,
    randomness: Randomness,
    message: Vec<u64>,
    ciphertexts: Vec<Ciphertext>,
    factors: Vec<Plaintext>,
}

fn setup(spec: &ParameterSpec) -> Setup {
    let params = Parameters::new(spec.clone()).unwrap();
    let mut randomness = Randomness::insecure_from_seed(1);
    let secret = SecretKey::generate(&params, &mut randomness);
    let message: Vec<u64> = (0..spec.ring as u64).map(|i| i * i % PLAIN).collect();
    let signed: Vec<i64> = message.iter().map(|&x| (x % 255) as i64 - 127).collect();
    let encrypt = |_| secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
    let ciphertexts = (0..BATCH).map(encrypt).collect();
    let encode = |_| params.encode(&signed, Packing::Slots, Basis::Extended).unwrap();
    let factors = (0..2 * BATCH).map(encode).collect();
    Setup { secret, message, ciphertexts, factors, params, randomness }
}

fn rotations(c: &mut Criterion) {
    for (spec, id) in variants() {
        let mut s = setup(&spec);
        let steps: Vec<_> = (1..=HOISTED).map(Automorphism::Rotate).collect();
        let keys = s.secret.galois_keys(&steps, &mut s.randomness).expand();
        let mut out = Ciphertext::zero(&s.params);
        let (source, first) = (&s.ciphertexts[0], steps[0]);
        c.bench_function(&format!("rotate/plain/{id}"), |b| {
            b.iter(|| keys.rotate_into(black_box(source), first, &mut out));
        });
        c.bench_function(&format!("rotate/hoisted8/{id}"), |b| {
            b.iter(|| {
                let hoisted = Hoisted::new(black_box(source)).unwrap();
                steps.iter().for_each(|&by| keys.rotate_hoisted_into(&hoisted, by, &mut out).unwrap());
            });
        });
        let hoisted: Vec<_> = s.ciphertexts.iter().map(|c| Hoisted::new(c).unwrap()).collect();
        let hoisted: Vec<_> = hoisted.iter().collect();
        let mut extended = vec![Extended::zero(&s.params); BATCH];
        let mut sum = ExtendedSum::new(&s.params);
        c.bench_function(&format!("rotate/double-hoisted/terms=32/{id}"), |b| {
            b.iter(|| {
                for &by in &steps {
                    keys.rotate_extended(&hoisted, by, &mut extended).unwrap();
                    let terms: [_; BATCH] = std::array::from_fn(|i| (&extended[i], &s.factors[i]));
                    sum.add(&terms).unwrap();
                }
            });
        });
        c.bench_function(&format!("rotate/double-hoisted/finish/{id}"), |b| b.iter(|| sum.finish()));
        rotations_by_one_key(c, &keys, &steps, &s, &id);
        rotation_sums(c, &keys, &steps, &s, &id);
        ntt_floor(c, &spec, &s.params, &id);
    }
}

/// One key for several ciphertexts, and for each by itself; the keys come from memory.
fn rotations_by_one_key(c: &mut Criterion, keys: &GaloisKeys, steps: &[Automorphism], s: &Setup, id: &str) {
    let sources: Vec<_> = s.ciphertexts.iter().collect();
    c.bench_function(&format!("rotate/many4x8/{id}"), |b| {
        b.iter(|| steps.iter().for_each(|&by| drop(black_box(keys.rotate_many(&sources, by).unwrap()))));
    });
    c.bench_function(&format!("rotate/many4x8-each-by-itself/{id}"), |b| {
        b.iter(|| {
            for source in &sources {
                steps.iter().for_each(|&by| drop(black_box(keys.rotate(source, by).unwrap())));
            }
        });
    });
    let hoisted: Vec<_> = sources.iter().map(|c| Hoisted::new(c).unwrap()).collect();
    let hoisted: Vec<_> = hoisted.iter().collect();
    c.bench_function(&format!("rotate/hoisted-many4x8/{id}"), |b| {
        b.iter(|| {
            steps.iter().for_each(|&by| drop(black_box(keys.rotate_hoisted_many(&hoisted, by).unwrap())))
        });
    });
    c.bench_function(&format!("rotate/hoisted-many4x8-each-by-itself/{id}"), |b| {
        b.iter(|| {
            for source in &hoisted {
                steps.iter().for_each(|&by| drop(black_box(keys.rotate_hoisted(source, by).unwrap())));
            }
        });
    });
}

/// Sums of rotated ciphertexts, a term's cost without and with the one division.
fn rotation_sums(c: &mut Criterion, keys: &GaloisKeys, steps: &[Automorphism], s: &Setup, id: &str) {
    let mut sum = RotationSum::new(&s.params);
    c.bench_function(&format!("rotation_sum/term/{id}"), |b| {
        b.iter(|| sum.add(keys, black_box(&s.ciphertexts[0]), steps[0]).unwrap());
    });
    let hoisted = Hoisted::new(&s.ciphertexts[0]).unwrap();
    c.bench_function(&format!("rotation_sum/hoisted-term/{id}"), |b| {
        b.iter(|| sum.add_hoisted(keys, black_box(&hoisted), steps[0]).unwrap());
    });
    c.bench_function(&format!("rotation_sum/terms=8/{id}"), |b| {
        b.iter(|| {
            let mut sum = RotationSum::new(&s.params);
            for (i, &by) in steps.iter().enumerate() {
                sum.add(keys, black_box(&s.ciphertexts[i % BATCH]), by).unwrap();
            }
            sum.finish()
        });
    });
    c.bench_function(&format!("rotation_sum/terms=8-as-plain-rotations/{id}"), |b| {
        b.iter(|| {
            let mut sum = Ciphertext::zero(&s.params);
            for (i, &by) in steps.iter().enumerate() {
                let turned = keys.rotate(black_box(&s.ciphertexts[i % BATCH]), by).unwrap();
                sum.add_assign(&turned).unwrap();
            }
            sum
        });
    });
}

/// `k^2 + 3k + 2` transforms with one special prime, one inverse a prime and one forward a digit and
/// prime without.
fn ntt_floor(c: &mut Criterion, spec: &ParameterSpec, params: &Parameters, id: &str) {
    let k = spec.prime_bits.len();
    let (inverse, forward) = match spec.key_switch {
        KeySwitch::Special { .. } => (k + 2, k * k + 2 * k),
        KeySwitch::Digits { bits } => (k, k * k * 49usize.div_ceil(bits as usize)),
    };
    let prime = params.ciphertext_primes()[0];
    let plan = tfhe_ntt::prime64::Plan::try_new(spec.ring, prime).unwrap();
    let mut data: Vec<Vec<u64>> =
        (0..4).map(|j| (0..spec.ring as u64).map(|i| i * i + j).collect()).collect();
    c.bench_function(&format!("ntt_floor/rotate/{id}"), |b| {
        b.iter(|| {
            (0..inverse).for_each(|i| plan.inv(&mut data[i % 4]));
            (0..forward).for_each(|i| plan.fwd(&mut data[i % 4]));
        });
    });
    c.bench_function(&format!("ntt_floor/encode/{id}"), |b| {
        b.iter(|| {
            plan.inv(&mut data[0]);
            (0..k).for_each(|i| plan.fwd(&mut data[i % 4]));
        });
    });
}

fn others(c: &mut Criterion) {
    for (spec, id) in variants() {
        let mut s = setup(&spec);
        let signed: Vec<i64> = s.message.iter().map(|&x| (x % 255) as i64 - 127).collect();
        c.bench_function(&format!("encode/{id}"), |b| {
            b.iter(|| s.params.encode(black_box(&signed), Packing::Slots, Basis::Ciphertext).unwrap());
        });
        c.bench_function(&format!("encrypt/secret-key/{id}"), |b| {
            b.iter(|| s.secret.encrypt(&s.message, Packing::Slots, &mut s.randomness).unwrap());
        });
        for count in [1, 2, 4, 8, 16, 32] {
            let encode = |_| s.params.encode(&signed, Packing::Slots, Basis::Ciphertext).unwrap();
            let masks: Vec<_> = (0..count).map(encode).collect();
            let terms: Vec<_> = (-7..).zip(&masks).collect();
            c.bench_function(&format!("combine/masks={count}/{id}"), |b| {
                b.iter(|| s.params.combine(black_box(&terms)).unwrap());
            });
        }
        let key = s.secret.relinearisation_key(&mut s.randomness).unwrap().expand().unwrap();
        c.bench_function(&format!("multiply/{id}"), |b| {
            b.iter(|| key.multiply(black_box(&s.ciphertexts[0]), &s.ciphertexts[1]).unwrap());
        });
        c.bench_function(&format!("square/{id}"), |b| {
            b.iter(|| key.square(black_box(&s.ciphertexts[0])).unwrap());
        });
        let public = s.secret.public_key(&mut s.randomness);
        c.bench_function(&format!("encrypt/public-key/{id}"), |b| {
            b.iter(|| public.encrypt(&s.message, Packing::Slots, &mut s.randomness).unwrap());
        });
        c.bench_function(&format!("decrypt/{id}"), |b| {
            b.iter(|| s.secret.decrypt(&s.ciphertexts[0], Packing::Slots).unwrap());
        });
        let terms: Vec<_> = (0..2 * BATCH).map(|i| (&s.ciphertexts[i % BATCH], &s.factors[i])).collect();
        c.bench_function(&format!("mul-acc/terms=8/{id}"), |b| {
            let mut dot = DotProduct::new(&s.params);
            b.iter(|| dot.add(black_box(&terms)).unwrap());
        });
        c.bench_function(&format!("mul-acc/sum-of-8/{id}"), |b| {
            b.iter(|| DotProduct::of(&s.params, black_box(&terms)).unwrap());
        });
        c.bench_function(&format!("mul-acc/4-sums-of-8-at-once/{id}"), |b| {
            let (ciphertexts, factors): (Vec<_>, Vec<_>) = terms.iter().copied().unzip();
            b.iter(|| DotProduct::of_each(&s.params, black_box(&ciphertexts), &[&factors[..]; 4]).unwrap());
        });
        c.bench_function(&format!("mul-acc/finish/{id}"), |b| {
            let mut dot = DotProduct::new(&s.params);
            dot.add(&terms).unwrap();
            b.iter(|| dot.finish());
        });
        c.bench_function(&format!("add-plain/{id}"), |b| {
            b.iter_batched_ref(
                || s.ciphertexts[0].clone(),
                |x| x.add_plain(&s.message, Packing::Slots).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
}

#[cfg(feature = "fhe-rs")]
fn oracle(c: &mut Criterion) {
    use fhe::bfv::{self, Encoding, EvaluationKeyBuilder};
    use fhe_traits::{FheDecrypter, FheEncoder, FheEncrypter};
    let mut rng = rand_09::rng();
    let ring = 8192;
    for sizes in [vec![49; 2], vec![49; 3], vec![49; 4]] {
        let id = format!("N={ring}/logq={}", sizes.iter().sum::<usize>());
        let params = bfv::BfvParametersBuilder::new()
            .set_degree(ring)
            .set_plaintext_modulus(PLAIN)
            .set_moduli_sizes(&sizes)
            .build_arc()
            .unwrap();
        let secret = bfv::SecretKey::random(&params, &mut rng);
        let public = bfv::PublicKey::new(&secret, &mut rng);
        let mut builder = EvaluationKeyBuilder::new(&secret).unwrap();
        let keys = builder.enable_column_rotation(1).unwrap().build(&mut rng).unwrap();
        let message: Vec<u64> = (0..ring as u64).map(|i| i * i % PLAIN).collect();
        let encode = || bfv::Plaintext::try_encode(&message, Encoding::simd(), &params).unwrap();
        let plain = encode();
        let ciphertext: bfv::Ciphertext = secret.try_encrypt(&plain, &mut rng).unwrap();
        c.bench_function(&format!("fhe-rs/rotate/{id}"), |b| {
            b.iter(|| keys.rotates_columns_by(&ciphertext, 1).unwrap());
        });
        c.bench_function(&format!("fhe-rs/encode/{id}"), |b| b.iter(encode));
        c.bench_function(&format!("fhe-rs/encrypt/secret-key/{id}"), |b| {
            b.iter(|| -> bfv::Ciphertext { secret.try_encrypt(&encode(), &mut rng).unwrap() });
        });
        c.bench_function(&format!("fhe-rs/encrypt/public-key/{id}"), |b| {
            b.iter(|| -> bfv::Ciphertext { public.try_encrypt(&encode(), &mut rng).unwrap() });
        });
        c.bench_function(&format!("fhe-rs/decrypt/{id}"), |b| {
            b.iter(|| secret.try_decrypt(&ciphertext).unwrap());
        });
        let (ciphertexts, plains) = (vec![ciphertext.clone(); 8], vec![plain.clone(); 8]);
        c.bench_function(&format!("fhe-rs/mul-acc/terms=8/{id}"), |b| {
            b.iter(|| bfv::dot_product_scalar(ciphertexts.iter(), plains.iter()).unwrap());
        });
    }
}

#[cfg(not(feature = "fhe-rs"))]
fn oracle(_: &mut Criterion) {}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = rotations, others, oracle
}

/// The argument `bars` asks for the table of bars alone, other names for benchmarks alone.
fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let only_bars = names.iter().any(|name| name == "bars");
    if only_bars || names.is_empty() {
        bars::print();
    }
    if !only_bars {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
