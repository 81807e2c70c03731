//! The engine's bars: its operations beside those of the crate `fhe` at equal ring and moduli, and beside the
//! transforms that they are made of.
//!
//! All operations take turns, round after round, and the least time of each counts: what disturbs the machine
//! disturbs all of them.

use super::{BATCH, HOISTED, PLAIN, Setup, setup};
use std::hint::black_box;
use std::time::Instant;
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, DotProduct, Extended, ExtendedSum, GaloisKeys, Hoisted, KeySwitch,
    Packing, ParameterSpec, Plaintext, Randomness, RelinearisationKey,
};

const RING: usize = 8192;
/// Ciphertext primes of 49 bits. Ours has a special one beside them, for which the whole modulus QP, and with it
/// the security, is that of four primes of `fhe`.
const PRIMES: usize = 3;
/// Products of one sum.
const TERMS: usize = 8;
const ROUNDS: usize = 60;

/// An operation, how many of what is told it does at once, and its least time so far.
struct Timed<'a> {
    name: &'static str,
    count: usize,
    run: Box<dyn FnMut() + 'a>,
    microseconds: f64,
}

fn timed<'a>(name: &'static str, count: usize, run: impl FnMut() + 'a) -> Timed<'a> {
    Timed { name, count, run: Box::new(run), microseconds: f64::INFINITY }
}

/// What is held against what: operation, the other one, most of the ratio.
const BARS: [(&str, &str, f64); 13] = [
    ("rotate", "fhe-rs rotate, same QP", 1.0 / 6.0),
    ("rotate", "fhe-rs rotate", f64::INFINITY),
    ("multiply-accumulate", "fhe-rs multiply-accumulate", 0.25),
    ("encrypt, secret key", "fhe-rs encrypt, secret key", 0.5),
    ("encrypt, public key", "fhe-rs encrypt, public key", 0.5),
    ("decrypt", "fhe-rs decrypt", 0.5),
    ("encode", "fhe-rs encode", f64::INFINITY),
    ("multiply ciphertexts", "fhe-rs multiply ciphertexts", f64::INFINITY),
    ("rotate", "20 transforms", 1.25),
    ("encode", "4 transforms", 1.3),
    ("hoisted, one key", "rotate", 0.75),
    ("hoisted, keys in turn", "rotate, keys in turn", 0.75),
    ("double-hoisted term", "rotate, keys in turn", 0.3),
];

/// Measures and prints one line a bar.
#[expect(clippy::print_stdout, reason = "a table is what is wanted")]
pub(super) fn print() {
    let key_switch = KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    let mut s =
        setup(&ParameterSpec { ring: RING, plain_modulus: PLAIN, prime_bits: vec![49; PRIMES], key_switch });
    let steps: Vec<_> = (1..=HOISTED).map(Automorphism::Rotate).collect();
    let keys = s.secret.galois_keys(&steps, &mut s.randomness).expand();
    let relinearisation = s.secret.relinearisation_key(&mut s.randomness).unwrap().expand().unwrap();
    let hoisted: Vec<_> = s.ciphertexts.iter().map(|c| Hoisted::new(c).unwrap()).collect();
    let mut operations = ours(&s, &keys, &steps, &relinearisation, &hoisted);
    operations.extend(transforms(&s));
    operations.extend(oracle::operations(&s.message));
    for round in 0..=ROUNDS {
        for operation in &mut operations {
            let before = Instant::now();
            (operation.run)();
            let spent = before.elapsed().as_secs_f64() * 1e6 / operation.count as f64;
            if round > 0 {
                operation.microseconds = operation.microseconds.min(spent);
            }
        }
    }
    let find = |name| operations.iter().find(|o| o.name == name).map(|o| o.microseconds);
    println!("N={RING}, {PRIMES} primes of 49 bits, t={PLAIN}, one thread, least of {ROUNDS} runs, us");
    for (name, other, most) in BARS {
        if let (Some(ours), Some(theirs)) = (find(name), find(other)) {
            let ratio = ours / theirs;
            let verdict = match (most.is_finite(), ratio <= most) {
                (false, _) => String::new(),
                (true, true) => format!(" <= {most:.3}"),
                (true, false) => format!(" ABOVE {most:.3}"),
            };
            println!("{name:24} {ours:8.1}   {other:28} {theirs:8.1}   ratio {ratio:.3}{verdict}");
        }
    }
}

fn ours<'a>(
    s: &'a Setup,
    keys: &'a GaloisKeys,
    steps: &'a [Automorphism],
    relinearisation: &'a RelinearisationKey,
    hoisted: &'a [Hoisted<'a>],
) -> Vec<Timed<'a>> {
    let (mut out, mut other, mut third) =
        (Ciphertext::zero(&s.params), Ciphertext::zero(&s.params), Ciphertext::zero(&s.params));
    let [mut first, mut second] = [2, 3].map(Randomness::insecure_from_seed);
    let public = s.secret.public_key(&mut first);
    let signed: Vec<i64> = s.message.iter().map(|&x| (x % 255) as i64 - 127).collect();
    let terms: Vec<(&Ciphertext, &Plaintext)> =
        (0..TERMS).map(|i| (&s.ciphertexts[i % BATCH], &s.factors[i])).collect();
    let source = &s.ciphertexts[0];
    let mut extended = vec![Extended::zero(&s.params); BATCH];
    let mut sum = ExtendedSum::new(&s.params);
    vec![
        timed("rotate", 8, move || {
            (0..8).for_each(|_| keys.rotate_into(source, steps[0], &mut out).unwrap())
        }),
        timed("rotate, keys in turn", steps.len(), move || {
            steps.iter().for_each(|&by| keys.rotate_into(source, by, &mut other).unwrap());
        }),
        timed("hoisted, one key", steps.len(), move || {
            let hoisted = Hoisted::new(source).unwrap();
            let one = steps.iter().map(|_| steps[0]);
            one.for_each(|by| drop(black_box(keys.rotate_hoisted(&hoisted, by).unwrap())));
        }),
        timed("hoisted, keys in turn", steps.len(), move || {
            let hoisted = Hoisted::new(source).unwrap();
            steps.iter().for_each(|&by| keys.rotate_hoisted_into(&hoisted, by, &mut third).unwrap());
        }),
        timed("double-hoisted term", steps.len() * BATCH, move || {
            let hoisted: Vec<_> = hoisted.iter().collect();
            for &by in steps {
                keys.rotate_extended(&hoisted, by, &mut extended).unwrap();
                let terms: [_; BATCH] = std::array::from_fn(|i| (&extended[i], &s.factors[i]));
                sum.add(&terms).unwrap();
            }
        }),
        timed("multiply-accumulate", TERMS, move || {
            black_box(DotProduct::of(&s.params, &terms).unwrap());
        }),
        timed("encrypt, secret key", 1, move || {
            black_box(s.secret.encrypt(&s.message, Packing::Slots, &mut first).unwrap());
        }),
        timed("encrypt, public key", 1, move || {
            black_box(public.encrypt(&s.message, Packing::Slots, &mut second).unwrap());
        }),
        timed("decrypt", 1, move || {
            black_box(s.secret.decrypt(source, Packing::Slots).unwrap());
        }),
        timed("encode", 8, move || {
            for _ in 0..8 {
                black_box(s.params.encode(&signed, Packing::Slots, Basis::Ciphertext).unwrap());
            }
        }),
        timed("multiply ciphertexts", 1, move || {
            black_box(relinearisation.multiply(source, &s.ciphertexts[1]).unwrap());
        }),
    ]
}

/// The transforms of a plain rotation and of an encoding, by the library `tfhe-ntt` itself.
fn transforms(s: &Setup) -> Vec<Timed<'static>> {
    let prime = s.params.ciphertext_primes()[0];
    let many = |name, (inverse, forward): (usize, usize)| {
        let plan = tfhe_ntt::prime64::Plan::try_new(RING, prime).unwrap();
        let mut data: Vec<Vec<u64>> = (0..4).map(|j| (0..RING as u64).map(|i| i * i + j).collect()).collect();
        timed(name, 1, move || {
            (0..inverse).for_each(|i| plan.inv(&mut data[i % 4]));
            (0..forward).for_each(|i| plan.fwd(&mut data[i % 4]));
        })
    };
    let k = PRIMES;
    vec![many("20 transforms", (k + 2, k * k + 2 * k)), many("4 transforms", (1, k))]
}

#[cfg(feature = "fhe-rs")]
mod oracle {
    use super::{PLAIN, PRIMES, RING, TERMS, Timed, black_box, timed};
    use fhe::bfv::{self, Encoding, EvaluationKeyBuilder, Multiplicator, RelinearizationKey};
    use fhe_traits::{FheDecoder, FheDecrypter, FheEncoder, FheEncrypter};
    use std::sync::Arc;

    fn parameters(primes: usize) -> Arc<bfv::BfvParameters> {
        bfv::BfvParametersBuilder::new()
            .set_degree(RING)
            .set_plaintext_modulus(PLAIN)
            .set_moduli_sizes(&vec![49; primes])
            .build_arc()
            .unwrap()
    }

    fn rotation(name: &'static str, primes: usize) -> Timed<'static> {
        let mut rng = rand_09::rng();
        let params = parameters(primes);
        let secret = bfv::SecretKey::random(&params, &mut rng);
        let mut builder = EvaluationKeyBuilder::new(&secret).unwrap();
        let keys = builder.enable_column_rotation(1).unwrap().build(&mut rng).unwrap();
        let plain = bfv::Plaintext::try_encode(&[1u64, 2, 3], Encoding::simd(), &params).unwrap();
        let fresh: bfv::Ciphertext = secret.try_encrypt(&plain, &mut rng).unwrap();
        timed(name, 1, move || {
            black_box(keys.rotates_columns_by(&fresh, 1).unwrap());
        })
    }

    /// The same operations by the crate `fhe`, whose key switching needs no special prime.
    pub(super) fn operations(message: &[u64]) -> Vec<Timed<'static>> {
        let mut rng = rand_09::rng();
        let params = parameters(PRIMES);
        let secret = bfv::SecretKey::random(&params, &mut rng);
        let public = bfv::PublicKey::new(&secret, &mut rng);
        let relinearisation = RelinearizationKey::new(&secret, &mut rng).unwrap();
        let multiplicator = Multiplicator::default(&relinearisation).unwrap();
        let message = message.to_vec();
        let encode = move || bfv::Plaintext::try_encode(&message, Encoding::simd(), &params).unwrap();
        let plain = encode();
        let fresh: bfv::Ciphertext = secret.try_encrypt(&plain, &mut rng).unwrap();
        let (ciphertexts, plains) = (vec![fresh.clone(); TERMS], vec![plain; TERMS]);
        let (encode_too, encode_again, product) = (encode.clone(), encode.clone(), fresh.clone());
        let key = secret.clone();
        let mut other = rand_09::rng();
        vec![
            rotation("fhe-rs rotate", PRIMES),
            rotation("fhe-rs rotate, same QP", PRIMES + 1),
            timed("fhe-rs multiply-accumulate", TERMS, move || {
                black_box(bfv::dot_product_scalar(ciphertexts.iter(), plains.iter()).unwrap());
            }),
            timed("fhe-rs encrypt, secret key", 1, move || {
                let encrypted: bfv::Ciphertext = key.try_encrypt(&encode(), &mut rng).unwrap();
                black_box(encrypted);
            }),
            timed("fhe-rs encrypt, public key", 1, move || {
                let encrypted: bfv::Ciphertext = public.try_encrypt(&encode_too(), &mut other).unwrap();
                black_box(encrypted);
            }),
            timed("fhe-rs decrypt", 1, move || {
                let plain = secret.try_decrypt(&fresh).unwrap();
                black_box(Vec::<u64>::try_decode(&plain, Encoding::simd()).unwrap());
            }),
            timed("fhe-rs encode", 1, move || {
                black_box(encode_again());
            }),
            timed("fhe-rs multiply ciphertexts", 1, move || {
                black_box(multiplicator.multiply(&product, &product).unwrap());
            }),
        ]
    }
}

#[cfg(not(feature = "fhe-rs"))]
mod oracle {
    use super::Timed;

    pub(super) fn operations(_: &[u64]) -> Vec<Timed<'static>> {
        Vec::new()
    }
}
