//! The order of an inference, which both parties follow: every node once, in topological order.

use super::nonlinear::{Made, NonLinear, Step};
use super::share::{Share, local};
use super::{PartyError, SegmentId};
use crate::channel::{Channel, Traffic};
use crate::graph::{IntLayer, IntNetwork, NodeId, NonLinearWork};
use std::time::{Duration, Instant};

/// What one party does at a linear layer.
pub(super) trait Linear {
    /// Consumes this party's share of the operand, returns its share of the accumulator.
    fn linear(
        &mut self,
        channel: &mut dyn Channel,
        segment: SegmentId,
        share: &Share,
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
    /// Wall time, waiting for the other party included, without what was made for it.
    pub time: Duration,
    /// What passed, without what was made for it.
    pub traffic: Traffic,
    /// What was made for it when it was needed, not ahead.
    pub made: Made,
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

    pub(super) fn until_now(
        self,
        channel: &dyn Channel,
        nonlinear: &dyn NonLinear,
        node: NodeId,
        work: Option<NonLinearWork>,
    ) -> NodeRun {
        let made = nonlinear.made() - self.made;
        NodeRun {
            node,
            work,
            time: self.started.elapsed().saturating_sub(made.time),
            traffic: channel.traffic() - self.traffic - made.traffic,
            made,
        }
    }
}

/// From this party's share of the input to its share of the output.
pub(super) fn walk(
    network: &IntNetwork,
    modulus: u64,
    input: Share,
    channel: &mut dyn Channel,
    nonlinear: &mut dyn NonLinear,
    party: &mut dyn Linear,
) -> Result<Walked, PartyError> {
    let graph = &network.graph;
    let mut uses: Vec<usize> = graph.ids().map(|id| graph.users(id).len()).collect();
    let mut shares: Vec<Option<Share>> = vec![None; graph.len()];
    let mut input = Some(input);
    let mut segment = 0;
    let mut runs = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let operands = graph.inputs(id);
        let operand = operands.first().and_then(|i| shares[i.0 as usize].as_ref());
        let seen = Seen::now(channel, nonlinear);
        let share = if matches!(node.layer, IntLayer::Input(_)) {
            input.take().ok_or(PartyError::Graph(id))?
        } else if matches!(node.layer, IntLayer::Conv(_) | IntLayer::Linear(_)) {
            segment += 1;
            let turn = SegmentId { node: id, index: segment - 1 };
            let result = party.linear(channel, turn, operand.ok_or(PartyError::Graph(id))?);
            result.map_err(|e| e.at(&node.name))?
        } else if let Some(step) = Step::of(network, id, modulus) {
            let share = operand.cloned().ok_or(PartyError::Graph(id))?;
            let result = nonlinear.apply(channel, &step, share);
            result.map_err(|e| PartyError::from(e).at(&node.name))?
        } else {
            let operands: Vec<&Share> =
                operands.iter().filter_map(|i| shares[i.0 as usize].as_ref()).collect();
            local(&node.layer, &operands, &node.shape, modulus).ok_or(PartyError::Graph(id))?
        };
        let run = seen.until_now(channel, nonlinear, id, network.nonlinear_work(id));
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
