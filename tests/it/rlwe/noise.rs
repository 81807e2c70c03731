//! Noise estimates against measurements, and replies.

use super::{key, real, signed, small, values};
use std::sync::Arc;
use stria::rlwe::{
    Automorphism, Basis, Ciphertext, DotProduct, Extended, ExtendedSum, FactorNorm, Hiding, Hoisted,
    KeySwitch, Noise, Packing, ParameterSpec, Parameters, Randomness, RlweError, SecretKey, Sent,
    plain_prime,
};

/// Bits that an estimate may lie above what is measured.
const SLACK: f64 = 8.0;

pub(super) fn check(what: &str, secret: &SecretKey, ciphertext: &Ciphertext, estimate: Noise) {
    let measured = secret.noise_bits(ciphertext).unwrap();
    let bound = estimate.bits(secret.parameters());
    let spec = secret.parameters().spec();
    assert!(measured <= bound, "{what}: measured {measured:.1} above the estimate {bound:.1}: {spec:?}");
    assert!(bound <= measured + SLACK, "{what}: estimate {bound:.1} far above {measured:.1}: {spec:?}");
    assert!(bound < secret.parameters().room_bits(ciphertext.primes()), "{what}: {bound:.1}: {spec:?}");
}

#[test]
fn estimates_are_above_measurements_and_near() {
    for params in small().into_iter().chain(real()) {
        let (secret, mut randomness) = key(&params, 40);
        let public = secret.public_key(&mut randomness);
        let steps = [1, 2, 3, 4].map(Automorphism::Rotate);
        let keys = secret.galois_keys(&steps, &mut randomness).expand();
        let message = values(&params, 41);
        let fresh = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
        check("fresh", &secret, &fresh, Noise::fresh());
        let mut sum = public.encrypt(&message, Packing::Slots, &mut randomness).unwrap();
        check("public", &secret, &sum, Noise::fresh_public(&params));
        sum.add_assign(&fresh).unwrap();
        sum.add_plain(&message, Packing::Slots).unwrap();
        let estimate = Noise::fresh_public(&params).plus(Noise::fresh()).plus_plain();
        check("sum", &secret, &sum, estimate);

        let rotated = keys.rotate(&fresh, steps[0]).unwrap();
        check("rotated", &secret, &rotated, Noise::fresh().rotated(&params));
        let hoisted = Hoisted::new(&fresh).unwrap();
        let rotated = keys.rotate_hoisted(&hoisted, steps[1]).unwrap();
        check("hoisted", &secret, &rotated, Noise::fresh().rotated(&params));

        let factors: Vec<_> = (0..4).map(|i| signed(&params, &values(&params, 50 + i))).collect();
        let encode = |f: &Vec<i64>| params.encode(f, Packing::Slots, Basis::Extended).unwrap();
        let factors: Vec<_> = factors.iter().map(encode).collect();
        let norm = FactorNorm::of_slots(&params);
        let mut dot = DotProduct::new(&params);
        let rotations = steps.map(|by| keys.rotate(&fresh, by).unwrap());
        dot.add(&rotations.iter().zip(&factors).collect::<Vec<_>>()).unwrap();
        let mut out = dot.finish();
        let estimate = Noise::fresh().rotated(&params).times(norm).summed(4);
        check("dot product", &secret, &out, estimate);
        let down = estimate.switched(&params, out.primes(), 1);
        while out.primes() > 1 {
            out.switch_down().unwrap();
        }
        check("switched", &secret, &out, down);

        let product = fresh.multiply_plain(&factors[0]).unwrap();
        check("product", &secret, &product, Noise::fresh().times(norm));
        let mut difference = product;
        difference.sub_assign(&rotated).unwrap();
        let estimate = Noise::fresh().times(norm).plus(Noise::fresh().rotated(&params));
        check("difference", &secret, &difference, estimate);
        let mut sum = ExtendedSum::new(&params);
        for (by, factor) in steps.into_iter().zip(&factors) {
            let mut extended = [Extended::zero(&params)];
            keys.rotate_extended(&[&hoisted], by, &mut extended).unwrap();
            sum.add(&[(&extended[0], factor)]).unwrap();
        }
        let estimate = Noise::fresh().rotated_extended(&params).times(norm).summed(4).divided(&params);
        check("double-hoisted", &secret, &sum.finish(), estimate);
    }
}

#[test]
fn coefficient_factors_add_only_their_own_norm() {
    let params = real().swap_remove(0);
    let (secret, mut randomness) = key(&params, 51);
    let message = values(&params, 52);
    let fresh = secret.encrypt(&message, Packing::Coefficients, &mut randomness).unwrap().expand();
    let mut kernel = vec![0; params.ring()];
    for i in 0..576 {
        kernel[7 * i] = i as i64 % 255 - 127;
    }
    let factor = params.encode(&kernel, Packing::Coefficients, Basis::Ciphertext).unwrap();
    let estimate = Noise::fresh().times(FactorNorm::of_coefficients(576, 127));
    check("convolution", &secret, &fresh.multiply_plain(&factor).unwrap(), estimate);
}

/// Weights over blocks, made from masks of the blocks, mean what they mean encoded; they cost noise.
#[test]
fn combinations_of_masks_are_factors_of_a_larger_norm() {
    for params in small().into_iter().chain(real()) {
        let (secret, mut randomness) = key(&params, 53);
        let message = values(&params, 54);
        let fresh = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
        let (blocks, n) = (4, params.ring());
        let mask =
            |b: usize| (0..n).map(|i| i64::from(i / (n / blocks) == b && i % 3 > 0)).collect::<Vec<_>>();
        let encode = |slots: &[i64]| params.encode(slots, Packing::Slots, Basis::Ciphertext).unwrap();
        let masks: Vec<_> = (0..blocks).map(|b| encode(&mask(b))).collect();
        let weights = [127, -128, 3, 0];
        let terms: Vec<_> = weights.into_iter().zip(&masks).collect();
        let combined = fresh.multiply_plain(&params.combine(&terms).unwrap()).unwrap();
        let slots: Vec<i64> = (0..n).map(|i| weights[i / (n / blocks)] * i64::from(i % 3 > 0)).collect();
        let expected = fresh.multiply_plain(&encode(&slots)).unwrap();
        let slots = |c: &Ciphertext| secret.decrypt(c, Packing::Slots).unwrap();
        assert_eq!(slots(&combined), slots(&expected), "{:?}", params.spec());
        let estimate = Noise::fresh().times(FactorNorm::of_combination(&params, 127 + 128 + 3));
        check("combination", &secret, &combined, estimate);
    }
}

#[test]
fn combinations_refuse_what_does_not_fit() {
    let [params, foreign] = [small().swap_remove(0), small().swap_remove(4)];
    let encode = |params: &Parameters, basis| params.encode(&[1; 64], Packing::Slots, basis).unwrap();
    let (short, long) = (encode(&params, Basis::Ciphertext), encode(&params, Basis::Extended));
    let count = |count| Err(RlweError::Count { what: "factors", count, least: 1, most: 4096 });
    assert_eq!(params.combine(&[]), count(0));
    assert_eq!(params.combine(&vec![(1, &short); 4097]), count(4097));
    let of_another = encode(&foreign, Basis::Ciphertext);
    assert_eq!(params.combine(&[(1, &short), (1, &of_another)]), Err(RlweError::Mixed));
    assert_eq!(params.combine(&[(2, &short), (-1, &long)]).unwrap(), short);
    let largest = params.combine(&vec![(-1, &short); 4096]).unwrap();
    assert_eq!(largest, params.combine(&[(-4096, &short)]).unwrap());
}

fn masked(params: &Parameters, message: &[u64], masks: &[u64]) -> Vec<u64> {
    message.iter().zip(masks).map(|(&m, &r)| (m + r) % params.plain_modulus()).collect()
}

#[test]
fn replies_carry_masked_values() {
    for params in real() {
        let (secret, mut randomness) = key(&params, 42);
        let public = secret.public_key(&mut randomness);
        let message = values(&params, 43);
        for (packing, positions) in [(Packing::Slots, None), (Packing::Coefficients, Some([0, 7, 4095]))] {
            let sent = positions.as_ref().map_or(Sent::Slots, |p| Sent::Coefficients(p));
            let ciphertext = secret.encrypt(&message, packing, &mut randomness).unwrap().expand();
            let masks = randomness.masks(&params);
            let hiding = Hiding { noise: Noise::fresh(), values_sent: 1 << 20 };
            let reply = public.reply(&ciphertext, &masks, sent, hiding, &mut randomness).unwrap();
            let all = masked(&params, &message, &masks);
            let expected = positions.map_or(all.clone(), |p| p.map(|i| all[i as usize]).to_vec());
            assert_eq!(secret.open(&reply, sent).unwrap(), expected);
            if packing == Packing::Slots {
                let measured = secret.reply_noise_bits(&reply).unwrap();
                let bound = hiding.reply_noise_bits(&params, params.top()).unwrap();
                assert!(measured <= bound && bound <= measured + SLACK, "{measured:.1} {bound:.1}");
                assert!(bound < params.room_bits(1));
            }
            // log2 t + 10 bits of each coefficient.
            let coefficients = params.ring() + expected.len();
            assert!(reply.to_bytes().len() * 8 <= coefficients * 31 + 400, "{}", reply.to_bytes().len());
        }
    }
}

/// The worst layer that engine.md's room allows: a double-hoisted dense sum, then the reply.
#[test]
fn flooding_hides_and_still_decrypts_at_full_depth() {
    let params = real().swap_remove(2);
    let (secret, mut randomness) = key(&params, 44);
    let public = secret.public_key(&mut randomness);
    let keys = secret.galois_keys(&[Automorphism::Rotate(1)], &mut randomness).expand();
    let (message, factor) = (values(&params, 45), values(&params, 46));
    let fresh = secret.encrypt(&message, Packing::Slots, &mut randomness).unwrap().expand();
    let encoded = params.encode(&signed(&params, &factor), Packing::Slots, Basis::Ciphertext).unwrap();
    let product = keys.rotate(&fresh, Automorphism::Rotate(1)).unwrap().multiply_plain(&encoded).unwrap();
    let noise = Noise::fresh().rotated(&params).times(FactorNorm::of_slots(&params)).summed(4608);
    let masks = randomness.masks(&params);
    let hiding = Hiding { noise, values_sent: 1 << 22 };
    let reply = public.reply(&product, &masks, Sent::Slots, hiding, &mut randomness).unwrap();
    let row = params.ring() / 2;
    let t = params.plain_modulus();
    let expected: Vec<u64> = (0..params.ring())
        .map(|i| (message[i / row * row + (i % row + 1) % row] * factor[i] + masks[i]) % t)
        .collect();
    assert_eq!(secret.open(&reply, Sent::Slots).unwrap(), expected);
}

#[test]
fn flooding_that_does_not_fit_is_refused() {
    let plain_modulus = plain_prime(26, 8192).unwrap();
    let key_switch = KeySwitch::Special { bits: vec![49], primes_per_digit: 1 };
    let spec = ParameterSpec { ring: 8192, plain_modulus, prime_bits: vec![49, 49], key_switch };
    let params = Parameters::new(spec).unwrap();
    let (secret, mut randomness) = key(&params, 47);
    let public = secret.public_key(&mut randomness);
    let noise = Noise::fresh().rotated(&params).times(FactorNorm::of_slots(&params)).summed(576);
    let hiding = Hiding { noise, values_sent: 1 << 20 };
    let zero = Ciphertext::zero(&params);
    let refused = public.reply(&zero, &vec![0; 8192], Sent::Slots, hiding, &mut randomness).unwrap_err();
    assert!(matches!(refused, RlweError::Flood { .. }), "{refused}");
}

/// The noise that the client sees is the flooding, whatever the ciphertext's own noise was.
#[test]
fn replies_of_little_and_of_much_noise_look_alike() {
    let params = real().swap_remove(2);
    let (secret, mut randomness) = key(&params, 48);
    let public = secret.public_key(&mut randomness);
    let zeros = vec![0; params.ring()];
    let noise = Noise::fresh().times(FactorNorm::of_slots(&params));
    let quiet = Ciphertext::zero(&params);
    let factor =
        params.encode(&signed(&params, &values(&params, 49)), Packing::Slots, Basis::Ciphertext).unwrap();
    let fresh = secret.encrypt(&zeros, Packing::Slots, &mut randomness).unwrap().expand();
    let loud = fresh.multiply_plain(&factor).unwrap();
    assert!(secret.noise_bits(&loud).unwrap() > 25.0);
    let hiding = Hiding { noise, values_sent: 1 << 15 };
    let mut replies = |c: &Ciphertext| public.reply(c, &zeros, Sent::Slots, hiding, &mut randomness).unwrap();
    for reply in [replies(&quiet), replies(&loud)] {
        assert_eq!(secret.open(&reply, Sent::Slots).unwrap(), zeros);
        // Neither polynomial is what the operations alone would give.
        assert_ne!(reply, replies(&quiet));
    }
}

#[test]
fn masks_are_uniform() {
    let params: Arc<Parameters> = small().swap_remove(0);
    let mut randomness = Randomness::insecure_from_seed(50);
    let masks: Vec<u64> = (0..200).flat_map(|_| randomness.masks(&params)).collect();
    let t = params.plain_modulus();
    assert!(masks.iter().all(|&m| m < t));
    let mean = masks.iter().map(|&m| m as f64).sum::<f64>() / masks.len() as f64 / t as f64;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
}
