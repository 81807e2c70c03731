//! The two-party form of non-linear steps on random shares, each party in a thread of its own.

use super::BenchError;
use super::random::{random_values, shares};
use crate::channel::{Channel, InMemory, Traffic};
use crate::graph::{IntNetwork, NodeId, evaluate_node};
use crate::mpc::{Modulus, Role};
use crate::protocol::{NonLinear, NonLinearError, Share, Step, TwoParty};
use std::time::{Duration, Instant};

/// Both parties' halves.
pub struct Steps {
    client: Half,
    server: Half,
    /// Time of setting up oblivious transfers.
    pub setup: Duration,
}

struct Half {
    nonlinear: TwoParty,
    channel: InMemory,
}

/// What a step took, as the client saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Wall time without `made`.
    pub online: Duration,
    /// Wall time of making random transfers.
    pub made: Duration,
    /// What passed in all.
    pub traffic: Traffic,
}

impl Half {
    fn connect(role: Role, mut channel: InMemory) -> Result<Self, NonLinearError> {
        let nonlinear = TwoParty::connect(role, &mut channel)?;
        Ok(Self { nonlinear, channel })
    }

    fn apply(&mut self, step: &Step, share: Share) -> Result<(Share, StepTimes), NonLinearError> {
        let (started, traffic, made) = (Instant::now(), self.channel.traffic(), self.nonlinear.made());
        let result = self.nonlinear.apply(&mut self.channel, step, share)?;
        let made = (self.nonlinear.made() - made).time;
        let online = started.elapsed().saturating_sub(made);
        Ok((result, StepTimes { online, made, traffic: self.channel.traffic() - traffic }))
    }
}

/// Runs both halves, each in its thread.
fn both<A: Send, B: Send>(
    client: impl FnOnce() -> Result<A, NonLinearError> + Send,
    server: impl FnOnce() -> Result<B, NonLinearError> + Send,
) -> Result<(A, B), BenchError> {
    std::thread::scope(|scope| {
        let (client, server) = (scope.spawn(client), scope.spawn(server));
        let (client, server) = (client.join(), server.join());
        Ok((client.map_err(|_| BenchError::Thread)??, server.map_err(|_| BenchError::Thread)??))
    })
}

impl Steps {
    /// Sets up oblivious transfers.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn connect() -> Result<Self, BenchError> {
        let started = Instant::now();
        let (near, far) = InMemory::pair();
        let (client, server) =
            both(|| Half::connect(Role::Client, near), || Half::connect(Role::Server, far))?;
        Ok(Self { client, server, setup: started.elapsed() })
    }

    /// Runs node `id` of `network` on shares modulo `plain_modulus` of random values and compares what comes of
    /// it; none if the node is not non-linear.
    ///
    /// # Errors
    /// If a party fails, or the result is not that of the integer layer.
    pub fn run(
        &mut self,
        network: &IntNetwork,
        id: NodeId,
        plain_modulus: u64,
        seed: u64,
    ) -> Result<Option<StepTimes>, BenchError> {
        let Some(step) = Step::of(network, id, plain_modulus) else { return Ok(None) };
        let name = &network.graph.node(id).name;
        let modulus = |t| Modulus::new(t).map_err(NonLinearError::from);
        let (from, to) = (modulus(step.from)?, modulus(step.to)?);
        let values = random_values(&step.shape_in, step.range, name, seed);
        let expected = evaluate_node(network, id, &[&values], None)?;
        let [near, far] = shares(from, &values.data, name, seed);
        let share = |data: Vec<u64>| Share::new(step.shape_in.clone(), data.into_iter().collect());
        let (Some(near), Some(far)) = (share(near), share(far)) else {
            return Err(BenchError::Graph(name.clone()));
        };
        let Self { client, server, .. } = self;
        let ((near, times), (far, _)) = both(|| client.apply(&step, near), || server.apply(&step, far))?;
        let sums = near.data.iter().zip(far.data.iter()).map(|(&a, &b)| to.signed(to.add(a, b)));
        let found: Vec<i64> = sums.collect();
        let same = found.iter().zip(&expected.data).filter(|(found, expected)| found == expected).count();
        let values = expected.data.len();
        if (found.len(), same) == (values, values) {
            return Ok(Some(times));
        }
        Err(BenchError::Wrong { layer: name.clone(), differ: values - same, values })
    }
}
