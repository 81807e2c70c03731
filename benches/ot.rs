//! Oblivious transfer, one thread: `cargo bench --bench ot`.
//!
//! A transfer's time is that of both parties together, message passing included. `aes_crate` is nothing but
//! the AES blocks of as many transfers (4 of leaves for either party, 2 + 1 of hashing) by the crate `aes`, in
//! batches; where the processor has AES on vectors of 512 bits, the extension does not use it and is faster than
//! that. The ratio within one run is what counts.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has to stop")]

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use stria::channel::InMemory;
use stria::mpc::ot::{OtSetup, iknp};

const BLOCKS_PER_TRANSFER: usize = 4 + 4 + 2 + 1;
/// As in the extension: blocks of one key at a time.
const BATCH: usize = 64;

fn transfers(c: &mut Criterion) {
    let mut group = c.benchmark_group("ot");
    let (mut client, mut server) = OtSetup::insecure_pair(1);
    let (mut here, mut there) = InMemory::pair();
    for n in [1 << 10, 1 << 13, 1 << 18] {
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(format!("soft_spoken/bits/n={n}"), |b| {
            b.iter(|| {
                black_box(client.receive_bits(&mut here, 0, n).unwrap());
                black_box(server.send_bits(&mut there, 0, n).unwrap())
            });
        });
        group.bench_function(format!("aes_crate/n={n}"), |b| {
            let keys: Vec<_> =
                (0..512u16).map(|i| Aes128Enc::new(&[i.to_le_bytes()[0]; 16].into())).collect();
            let mut blocks = [Block::default(); BATCH];
            b.iter(|| {
                for key in keys.iter().cycle().take(n * BLOCKS_PER_TRANSFER / BATCH) {
                    key.encrypt_blocks(black_box(&mut blocks));
                }
            });
        });
    }
    let n = 1 << 18;
    group.bench_function(format!("soft_spoken/words/n={n}"), |b| {
        b.iter(|| {
            black_box(client.receive_words(&mut here, 0, n, 64).unwrap());
            black_box(server.send_words(&mut there, 0, n, 64).unwrap())
        });
    });
    let n = 1 << 13;
    let (mut sender, mut receiver) = iknp::insecure_pair(1);
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function(format!("iknp/words/n={n}"), |b| {
        b.iter(|| {
            black_box(receiver.receive_words(&mut here, 0, n, u64::MAX).unwrap());
            black_box(sender.send_words(&mut there, 0, n, u64::MAX).unwrap())
        });
    });
    group.finish();
}

fn set_up(c: &mut Criterion) {
    c.bench_function("ot/set_up/ml-kem-768/base=128", |b| {
        b.iter(|| {
            let (mut here, mut there) = InMemory::pair();
            std::thread::scope(|scope| {
                scope.spawn(move || black_box(OtSetup::server(&mut there, 0).unwrap()));
                black_box(OtSetup::client(&mut here, 0).unwrap())
            })
        });
    });
}

fn one_thread() -> Criterion {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(300))
}

criterion_group! {
    name = benches;
    config = one_thread();
    targets = transfers, set_up
}
criterion_main!(benches);
