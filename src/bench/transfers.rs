//! What random transfers take, made and used: measured on activations with shift and clamp, of whose kinds of
//! transfers every other step is made up too.

use super::BenchError;
use crate::channel::InMemory;
use crate::clock::{Stopwatch, Whose};
use crate::cost::{Effort, TransferCosts};
use crate::graph::{Interval, Requant};
use crate::mpc::ot::OtSetup;
use crate::mpc::{Function, Modulus, MpcError, Role, Step};
use crate::protocol::NonLinearError;
use std::time::Duration;

/// As the networks of the examples have it.
const PLAIN_MODULUS: u64 = 33_538_049;
/// Values of a step.
const VALUES: usize = 1 << 14;
/// Runs for each batch of [`Effort`].
const RUNS: u32 = 4;

/// Measures the fastest of several runs, each party on one thread, by the thread's own time where the system tells
/// it; the party that takes longer counts.
///
/// # Errors
/// If there is no randomness, or no thread can be started.
pub fn transfer_costs(effort: Effort) -> Result<TransferCosts, BenchError> {
    let modulus = Modulus::new(PLAIN_MODULUS).map_err(NonLinearError::from)?;
    let (requant, reach) = (Requant { shift: 13, lo: 0, hi: 127 }, modulus.limit().cast_signed() / 2);
    let range = Interval { lo: -reach, hi: reach };
    let function = Function::Requant { from: modulus, to: modulus, requant, range };
    let step = Step { id: 0, values: VALUES, function };
    let transfers = u32::try_from(step.cost().map_err(NonLinearError::from)?.transfers).unwrap_or(u32::MAX);
    let (near, far) = InMemory::pair();
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(|| party(Role::Server, far, &step, effort));
        let client = scope.spawn(|| party(Role::Client, near, &step, effort));
        (client.join(), server.join())
    });
    let (client, server) =
        (client.map_err(|_| BenchError::Thread)??, server.map_err(|_| BenchError::Thread)??);
    let each = |which: usize| client[which].max(server[which]).as_secs_f64() / f64::from(transfers.max(1));
    Ok(TransferCosts { make: each(0), spend: each(1) })
}

/// The least time of making the transfers, and of the step.
fn party(
    role: Role,
    mut channel: InMemory,
    step: &Step,
    effort: Effort,
) -> Result<[Duration; 2], BenchError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|_| BenchError::Thread)?;
    let mut measure = || {
        let mut ots = match role {
            Role::Client => OtSetup::client(&mut channel, 0),
            Role::Server => OtSetup::server(&mut channel, 0),
        }?;
        let spread = |i: u64| i.wrapping_mul(0x9e37_79b9) % PLAIN_MODULUS;
        let share: Vec<u64> = (0..VALUES as u64).map(spread).collect();
        let mut least = [Duration::MAX; 2];
        for _ in 0..RUNS * effort.batches.max(1) {
            let watch = Stopwatch::start(Whose::Thread);
            let material = step.prepare(role, &mut ots, &mut channel)?;
            let made = watch.processor().unwrap_or_else(|| watch.wall());
            step.run(role, &mut channel, material, &share)?;
            let all = watch.processor().unwrap_or_else(|| watch.wall());
            least = [least[0].min(made), least[1].min(all.saturating_sub(made))];
        }
        Ok::<_, MpcError>(least)
    };
    Ok(pool.install(&mut measure).map_err(NonLinearError::from)?)
}
