//! The order of an inference, which both parties follow: every node once, in topological order.

use super::nonlinear::{Function, NonLinear, Step};
use super::share::{Share, local};
use super::{PartyError, SegmentId};
use crate::channel::Channel;
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
    /// The time that the non-linear steps took.
    pub(super) nonlinear: Duration,
    /// The non-linear steps that were made.
    pub(super) work: NonLinearWork,
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
    let mut nonlinear_time = Duration::ZERO;
    let mut work = NonLinearWork::default();
    for id in graph.ids() {
        let node = graph.node(id);
        let operands = graph.inputs(id);
        let share = if matches!(node.layer, IntLayer::Input(_)) {
            input.take().ok_or(PartyError::Graph(id))?
        } else if matches!(node.layer, IntLayer::Conv(_) | IntLayer::Linear(_)) {
            let operand = operands.first().and_then(|i| shares[i.0 as usize].as_ref());
            segment += 1;
            let turn = SegmentId { node: id, index: segment - 1 };
            party.linear(channel, turn, operand.ok_or(PartyError::Graph(id))?)?
        } else if let Some(function) = Function::of(&node.layer) {
            let operand = *operands.first().ok_or(PartyError::Graph(id))?;
            let shape_in = graph.node(operand).shape.clone();
            let step = Step { node: id.0, function, shape_in, shape_out: node.shape.clone(), modulus };
            let share = shares[operand.0 as usize].clone().ok_or(PartyError::Graph(id))?;
            let started = Instant::now();
            let result = nonlinear.apply(channel, &step, share)?;
            nonlinear_time += started.elapsed();
            work += network.nonlinear_work(id).unwrap_or_default();
            result
        } else {
            let operands: Vec<&Share> =
                operands.iter().filter_map(|i| shares[i.0 as usize].as_ref()).collect();
            local(&node.layer, &operands, &node.shape, modulus).ok_or(PartyError::Graph(id))?
        };
        shares[id.0 as usize] = Some(share);
        release(&mut shares, &mut uses, &operands, graph.output());
    }
    let output = shares[graph.output().0 as usize].take().ok_or(PartyError::Graph(graph.output()))?;
    Ok(Walked { output, nonlinear: nonlinear_time, work })
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
