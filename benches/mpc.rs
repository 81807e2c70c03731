//! Two-party steps on 65,536 values: `cargo bench --bench mpc`.
//!
//! What is timed is the CPU time of one party (half of both, whatever thread spends it), of making the
//! transfers (`offline`) and of the step itself (`online`). Ids state the bits of the modulus, the bytes a value
//! that both parties send, frames included, and the rounds. CPU times are read from `/proc`.

use criterion::{Criterion, Throughput};
use std::time::Duration;
use stria::channel::InMemory;
use stria::graph::{Interval, Requant};
use stria::mpc::ot::OtSetup;
use stria::mpc::{Function, Material, Modulus, Role, Step};

const VALUES: usize = 1 << 16;

/// CPU time of one thread, given its directory.
fn spent(task: &str) -> Duration {
    let text = std::fs::read_to_string(format!("{task}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// CPU time of all threads that live.
fn spent_by_all() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.map(|task| spent(&task.path().to_string_lossy())).sum()
}

/// Runs both parties' halves, the server's in a thread of its own; half of what both spent.
fn halves<T: Send>(client: impl FnOnce() -> T, server: impl FnOnce() -> T + Send) -> (Duration, [T; 2]) {
    let before = spent_by_all();
    let (client, (server, theirs)) = std::thread::scope(|scope| {
        let server = scope.spawn(|| (server(), spent("/proc/thread-self")));
        (client(), server.join().expect("the server's thread"))
    });
    ((spent_by_all() - before + theirs) / 2, [client, server])
}

fn prepare(step: &Step) -> (Duration, [Material; 2]) {
    let (mut client_ots, mut server_ots) = OtSetup::insecure_pair(1);
    let (mut client_end, mut server_end) = InMemory::pair();
    halves(
        || step.prepare(Role::Client, &mut client_ots, &mut client_end).expect("transfers"),
        || step.prepare(Role::Server, &mut server_ots, &mut server_end).expect("transfers"),
    )
}

fn run(step: &Step, share: &[u64]) -> Duration {
    let [client, server] = prepare(step).1;
    let (mut client_end, mut server_end) = InMemory::pair();
    let (spent, _) = halves(
        || step.run(Role::Client, &mut client_end, client, share).expect("a result"),
        || step.run(Role::Server, &mut server_end, server, share).expect("a result"),
    );
    spent
}

fn bench(criterion: &mut Criterion, name: &str, function: Function) {
    let step = Step { id: 0, values: VALUES, function };
    let cost = step.cost().expect("a cost");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |bytes: u64| bytes as f64 / VALUES as f64;
    let (offline, online) = (each(cost.offline_bytes), each(cost.online_bytes));
    let transfers = cost.transfers / VALUES as u64;
    let share: Vec<u64> = (0..VALUES as u64).map(|i| i * 7).collect();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(VALUES as u64)).sample_size(10);
    group.bench_function(format!("offline/transfers={transfers}/bytes={offline:.1}"), |bencher| {
        bencher.iter_custom(|n| (0..n).map(|_| prepare(&step).0).sum());
    });
    group.bench_function(format!("online/bytes={online:.1}/rounds={}", cost.rounds), |bencher| {
        bencher.iter_custom(|n| (0..n).map(|_| run(&step, &share)).sum());
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    for (t, shift) in [(1_032_193, 8), (33_538_049, 13)] {
        let modulus = Modulus::new(t).expect("an odd number");
        let bits = modulus.bits();
        let limit = modulus.limit().cast_signed() - (1 << (shift - 1));
        let wide = Interval { lo: -limit, hi: limit };
        let half = Interval { lo: -limit / 3, hi: limit / 3 };
        let requant = |requant, range| Function::Requant { from: modulus, to: modulus, requant, range };
        let (relu, signed) = (Requant { shift, lo: 0, hi: 127 }, Requant { shift, lo: -128, hi: 127 });
        bench(&mut criterion, &format!("compare/bits={}", bits - 1), Function::Less { bits: bits - 1 });
        bench(&mut criterion, &format!("relu/t={bits}"), Function::Relu { modulus });
        bench(&mut criterion, &format!("relu_clamp/t={bits}/shift={shift}"), requant(relu, wide));
        bench(&mut criterion, &format!("relu_clamp_half/t={bits}/shift={shift}"), requant(relu, half));
        bench(&mut criterion, &format!("clamp/t={bits}/shift={shift}"), requant(signed, wide));
        let range = Interval { lo: -127, hi: 127 };
        let square =
            Function::Poly { from: modulus, to: modulus, coefficients: [1, 0, 0], requant: relu, range };
        bench(&mut criterion, &format!("square/t={bits}/shift={shift}"), square);
        let windows = (0..VALUES / 4).map(|i| (4 * i..4 * i + 4).collect()).collect();
        bench(&mut criterion, &format!("max4/t={bits}"), Function::Max { modulus, windows });
    }
    criterion.final_summary();
}
