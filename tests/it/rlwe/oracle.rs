//! The engine against the crate `fhe`: equal primes, equal plaintexts, equal meaning of slots and steps.

use super::{key, signed, values};
use fhe::bfv::{self, Encoding, EvaluationKeyBuilder};
use fhe_traits::{FheDecoder, FheDecrypter, FheEncoder, FheEncrypter};
use stria::rlwe::{Automorphism, Basis, KeySwitch, Packing, ParameterSpec, Parameters, plain_prime};

fn agreement(params: &std::sync::Arc<Parameters>, encoding: fn() -> Encoding, packing: Packing) {
    let (secret, mut randomness) = key(params, 90);
    let steps = [Automorphism::Rotate(1), Automorphism::Rotate(-3), Automorphism::SwapRows];
    let keys = secret.galois_keys(&steps, &mut randomness).expand();
    let theirs = bfv::BfvParametersBuilder::new()
        .set_degree(params.ring())
        .set_plaintext_modulus(params.plain_modulus())
        .set_moduli(&params.ciphertext_primes())
        .build_arc()
        .unwrap();
    let mut rng = rand_09::rng();
    let their_secret = bfv::SecretKey::random(&theirs, &mut rng);
    let mut builder = EvaluationKeyBuilder::new(&their_secret).unwrap();
    builder.enable_column_rotation(1).unwrap().enable_column_rotation(params.ring() / 2 - 3).unwrap();
    builder.enable_row_rotation().unwrap();
    let their_keys = builder.build(&mut rng).unwrap();

    let [a, b] = [91, 92].map(|seed| values(params, seed));
    let ours = secret.encrypt(&a, packing, &mut randomness).unwrap().expand();
    let encode = |m: &Vec<u64>| bfv::Plaintext::try_encode(m, encoding(), &theirs).unwrap();
    let their: bfv::Ciphertext = their_secret.try_encrypt(&encode(&a), &mut rng).unwrap();
    let open = |c: &bfv::Ciphertext| {
        Vec::<u64>::try_decode(&their_secret.try_decrypt(c).unwrap(), encoding()).unwrap()
    };
    let decrypt = |c: &stria::rlwe::Ciphertext| secret.decrypt(c, packing).unwrap();
    assert_eq!(decrypt(&ours), open(&their));

    let factor = params.encode(&signed(params, &b), packing, Basis::Ciphertext).unwrap();
    assert_eq!(decrypt(&ours.multiply_plain(&factor).unwrap()), open(&(&their * &encode(&b))));
    let mut sum = ours.clone();
    sum.add_plain(&b, packing).unwrap();
    assert_eq!(decrypt(&sum), open(&(&their + &encode(&b))));
    if packing == Packing::Slots {
        let row = params.ring() / 2;
        for (by, rotated) in [
            (steps[0], their_keys.rotates_columns_by(&their, 1)),
            (steps[1], their_keys.rotates_columns_by(&their, row - 3)),
            (steps[2], their_keys.rotates_rows(&their)),
        ] {
            assert_eq!(decrypt(&keys.rotate(&ours, by).unwrap()), open(&rotated.unwrap()), "{by:?}");
        }
    }
}

#[test]
fn both_engines_agree() {
    for (ring, key_switch) in [
        (4096, KeySwitch::Digits { bits: 25 }),
        (8192, KeySwitch::Special { bits: vec![49], primes_per_digit: 1 }),
    ] {
        let plain_modulus = plain_prime(20, ring).unwrap();
        let spec = ParameterSpec { ring, plain_modulus, prime_bits: vec![49, 49], key_switch };
        let params = Parameters::new(spec).unwrap();
        agreement(&params, Encoding::simd, Packing::Slots);
        agreement(&params, Encoding::poly, Packing::Coefficients);
    }
}
