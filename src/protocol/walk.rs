//! The order of an inference, which both parties follow: every node once, in topological order.

use super::nonlinear::{Function, Made, NonLinear, Reveal, Step, steps};
use super::share::{Share, local};
use super::{PartyError, SegmentId};
use crate::channel::{Channel, Traffic};
use crate::graph::{IntLayer, IntNetwork, NodeId, NonLinearWork};
use crate::mpc::{BATCH, Modulus};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a party does with the channel while its linear layer needs no message.
pub(super) type Meanwhile<'m> = &'m mut dyn FnMut(&mut dyn Channel) -> Result<(), PartyError>;

/// What one party does at a linear layer.
pub(super) trait Linear {
    /// Consumes this party's share of the operand, returns its share of the accumulator. Between the client's
    /// ciphertexts and the server's replies both parties do what they do `meanwhile`.
    fn linear(
        &mut self,
        channel: &mut dyn Channel,
        segment: SegmentId,
        share: &Share,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Share, PartyError>;
}

/// What a walk leaves.
pub(super) struct Walked {
    /// This party's share of the network's output.
    pub(super) output: Share,
    /// The layers at which the parties talked, in order.
    pub(super) runs: Vec<NodeRun>,
}

/// A layer at which the parties talked, as one of them saw it.
#[derive(Clone, Copy, Debug)]
pub struct NodeRun {
    /// Which.
    pub node: NodeId,
    /// What a non-linear layer did; none of a linear one.
    pub work: Option<NonLinearWork>,
    /// Wall time, waiting for the other party included, without what was made meanwhile.
    pub time: Duration,
    /// What passed, without what was made.
    pub traffic: Traffic,
    /// What was made for it, ahead or when it was needed.
    pub made: Made,
}

/// The non-linear steps of an inference that are to come, and what was made ahead for the first of them.
#[derive(Debug)]
pub struct Prepared {
    steps: VecDeque<Step>,
    made: VecDeque<Made>,
}

impl Prepared {
    /// Nothing made yet.
    pub(super) fn nothing(network: &IntNetwork, modulus: Modulus, reveal: Reveal) -> Self {
        Self { steps: steps(network, modulus.value(), reveal).into(), made: VecDeque::new() }
    }

    /// Makes what the steps before node `end` need, or all of them, for up to `room` values.
    pub(super) fn prepare(
        &mut self,
        channel: &mut dyn Channel,
        nonlinear: &mut dyn NonLinear,
        end: Option<NodeId>,
        mut room: usize,
    ) -> Result<(), PartyError> {
        while let Some(step) = self.steps.get(self.made.len())
            && room > 0
            && end.is_none_or(|end| step.node < end.0 && step.function != Function::ArgMax)
        {
            let before = nonlinear.made();
            room = nonlinear.prepare(channel, step, room)?;
            self.made.push_back(nonlinear.made() - before);
        }
        Ok(())
    }

    /// The next step, and what was made ahead for it.
    pub(super) fn next(&mut self) -> Option<(Step, Made)> {
        Some((self.steps.pop_front()?, self.made.pop_front().unwrap_or_default()))
    }
}

/// What had passed when a layer began.
pub(super) struct Seen {
    started: Instant,
    traffic: Traffic,
    made: Made,
}

impl Seen {
    pub(super) fn now(channel: &dyn Channel, nonlinear: &dyn NonLinear) -> Self {
        Self { started: Instant::now(), traffic: channel.traffic(), made: nonlinear.made() }
    }

    /// The run of a linear layer, of a step for which `ahead` was made ahead, or of telling the answer.
    pub(super) fn until_now(
        self,
        channel: &dyn Channel,
        nonlinear: &dyn NonLinear,
        node: NodeId,
        (work, ahead): (Option<NonLinearWork>, Option<Made>),
    ) -> NodeRun {
        let meanwhile = nonlinear.made() - self.made;
        let made = ahead.map_or_else(Made::default, |mut ahead| {
            ahead += meanwhile;
            ahead
        });
        NodeRun {
            node,
            work,
            time: self.started.elapsed().saturating_sub(meanwhile.time),
            traffic: channel.traffic() - self.traffic - meanwhile.traffic,
            made,
        }
    }
}

/// From this party's share of the input to its share of the output. While a linear layer is computed, what
/// the steps up to the next one need is made, as far as memory allows.
pub(super) fn walk(
    network: &IntNetwork,
    modulus: Modulus,
    input: Share,
    channel: &mut dyn Channel,
    nonlinear: &mut dyn NonLinear,
    prepared: &mut Prepared,
    party: &mut dyn Linear,
) -> Result<Walked, PartyError> {
    let graph = &network.graph;
    let is_linear = |&id: &NodeId| matches!(graph.node(id).layer, IntLayer::Conv(_) | IntLayer::Linear(_));
    let linear: Vec<NodeId> = graph.ids().filter(is_linear).collect();
    let mut uses: Vec<usize> = graph.ids().map(|id| graph.users(id).len()).collect();
    let mut shares: Vec<Option<Share>> = vec![None; graph.len()];
    let mut input = Some(input);
    let mut index = 0;
    let mut runs = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let operands = graph.inputs(id);
        let operand = operands.first().and_then(|i| shares[i.0 as usize].as_ref());
        let seen = Seen::now(channel, nonlinear);
        let mut ahead = None;
        let share = if matches!(node.layer, IntLayer::Input(_)) {
            input.take().ok_or(PartyError::Graph(id))?
        } else if is_linear(&id) {
            let turn = SegmentId { node: id, index };
            index += 1;
            let next = linear.get(index).copied();
            let operand = operand.ok_or(PartyError::Graph(id))?;
            let meanwhile =
                &mut |channel: &mut dyn Channel| prepared.prepare(channel, nonlinear, next, BATCH);
            party.linear(channel, turn, operand, meanwhile).map_err(|e| e.at(&node.name))?
        } else if Function::of(&node.layer).is_some() {
            let (step, made) = prepared.next().ok_or(PartyError::Graph(id))?;
            ahead = Some(made);
            let share = operand.cloned().ok_or(PartyError::Graph(id))?;
            let result = nonlinear.apply(channel, &step, share);
            result.map_err(|e| PartyError::from(e).at(&node.name))?
        } else {
            let operands: Vec<&Share> =
                operands.iter().filter_map(|i| shares[i.0 as usize].as_ref()).collect();
            local(&node.layer, &operands, &node.shape, modulus).ok_or(PartyError::Graph(id))?
        };
        let run = seen.until_now(channel, nonlinear, id, (network.nonlinear_work(id), ahead));
        if run.traffic != Traffic::default() {
            runs.push(run);
        }
        shares[id.0 as usize] = Some(share);
        release(&mut shares, &mut uses, &operands, graph.output());
    }
    let output = shares[graph.output().0 as usize].take().ok_or(PartyError::Graph(graph.output()))?;
    Ok(Walked { output, runs })
}

/// Drops shares after their last use.
fn release(shares: &mut [Option<Share>], uses: &mut [usize], operands: &[NodeId], output: NodeId) {
    for operand in operands {
        let left = &mut uses[operand.0 as usize];
        *left = left.saturating_sub(1);
        if *left == 0 && *operand != output {
            shares[operand.0 as usize] = None;
        }
    }
}
