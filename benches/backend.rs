//! Benchmarks of the backends, one thread, with ids that state backend, ring and modulus.

use criterion::Criterion;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use stria::backend::bfv::{BfvEvaluator, BfvKeys};
use stria::backend::clear::{ClearEvaluator, ClearKeys};
use stria::backend::{Basis, ClientKeys, Evaluator, Operand, SchemeParams, Sent};
use stria::circuit::Step;
use stria::params::{self, Scheme, Workload};

const TERMS: usize = 64;

fn operations<K: ClientKeys, E: Evaluator>(criterion: &mut Criterion, name: &str, params: &SchemeParams) {
    let steps: Vec<Step> = (1..=8).map(Step::Rotate).collect();
    let keys = K::generate(params).expect("secure parameters");
    let bytes = keys.evaluation_keys(&steps).expect("keys");
    let evaluator = E::from_keys(params, &bytes).expect("evaluator");
    let slots: Vec<u64> = (0..u64::from(params.ring)).collect();
    let weights: Vec<i64> = (-128..128).cycle().take(params.ring as usize).collect();
    let fresh = keys.encrypt(&slots).expect("ciphertext");
    let ciphertext = evaluator.load(&fresh).expect("ciphertext");
    let plaintext = Arc::new(evaluator.encode(&weights, Basis::Ciphertext).expect("plaintext"));
    let reply = evaluator.store(&ciphertext, Sent::Slots).expect("reply");

    let bits: u32 = params.modulus_bits.iter().sum();
    let scheme = format!("{name}/N={}/logq={bits}", params.ring);
    let mut bench = |operation: &str, run: &mut dyn FnMut()| {
        criterion.bench_function(&format!("{operation}/{scheme}"), |bencher| bencher.iter(&mut *run));
    };
    let others: Vec<_> = (0..4).map(|_| ciphertext.clone()).collect();
    let four: Vec<&E::Ciphertext> = others.iter().collect();
    let of_one: Vec<(usize, Step)> = steps.iter().map(|&step| (0, step)).collect();
    let of_four: Vec<_> = steps.iter().flat_map(|&step| (0..4).map(move |i| (i, step))).collect();
    let summands: Vec<_> = steps.iter().map(|&step| (&ciphertext, Some(step))).collect();
    let turned = evaluator.extended(&[&ciphertext], &of_one[..1]).expect("a rotation");
    let factor = Arc::new(evaluator.encode(&weights, Basis::Extended).expect("plaintext"));
    bench("rotate", &mut || drop(black_box(evaluator.automorphisms(&[&ciphertext], &of_one[..1]))));
    bench("rotate/hoisted8", &mut || drop(black_box(evaluator.automorphisms(&[&ciphertext], &of_one))));
    bench("rotate/batch4x8", &mut || drop(black_box(evaluator.automorphisms(&four, &of_four))));
    bench("extended/batch4x8", &mut || drop(black_box(evaluator.extended(&four, &of_four))));
    bench("rotate_sum8", &mut || drop(black_box(evaluator.rotate_sum(&summands))));
    bench("dot64", &mut || {
        let operand = Operand::Ciphertext(&ciphertext);
        let mut terms = (0..TERMS).map(|_| Ok((operand, Arc::clone(&plaintext))));
        drop(black_box(evaluator.dot(&mut terms)));
    });
    bench("dot64/extended", &mut || {
        let operand = Operand::Extended(&turned[0]);
        let mut terms = (0..TERMS).map(|_| Ok((operand, Arc::clone(&factor))));
        drop(black_box(evaluator.dot(&mut terms)));
    });
    bench("encode", &mut || drop(black_box(evaluator.encode(&weights, Basis::Ciphertext))));
    bench("add", &mut || evaluator.add_assign(black_box(&mut ciphertext.clone()), &ciphertext));
    bench("encrypt", &mut || drop(black_box(keys.encrypt(&slots))));
    bench("decrypt", &mut || drop(black_box(keys.decrypt(&reply, Sent::Slots))));
    bench("load", &mut || drop(black_box(evaluator.load(&fresh))));
    bench("store", &mut || drop(black_box(evaluator.store(&ciphertext, Sent::Slots))));
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the pool is not yet made");
    for ring in [4096, 8192, 16384] {
        let t = params::plain_prime(ring, 1 << 20, None).expect("a prime");
        let choose = |scheme| params::choose(scheme, ring, t, &Workload::reference()).expect("parameters");
        let params = choose(Scheme::Bfv);
        operations::<ClearKeys, ClearEvaluator>(&mut criterion, "clear", &params);
        if params::fit(Scheme::Bfv, &params, &params.workload).is_ok() {
            operations::<BfvKeys, BfvEvaluator>(&mut criterion, "bfv", &params);
        }
        #[cfg(feature = "fhe-rs")]
        {
            let params = choose(Scheme::FheRs);
            use stria::backend::fhe_rs::{FheEvaluator, FheKeys};
            operations::<FheKeys, FheEvaluator>(&mut criterion, "fhe-rs", &params);
        }
    }
    criterion.final_summary();
}
