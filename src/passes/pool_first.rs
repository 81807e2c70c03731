//! A max pool goes before the activation that it alone reads, where that is cheaper: the activation then passes
//! the maxima alone.
//!
//! **Why it is exact.** An activation is `f(v) = clamp((v + r) >> k, lo, hi)` with one `r`, `k`, `lo` and `hi` for
//! the whole tensor. Adding a constant, rounding a quotient by `2^k` down and clamping each keep order or make
//! equal: `v <= w` gives `f(v) <= f(w)`. So with `m` the greatest value of a window, `f(m)` is one of the values
//! `f(v)` and none is above it: `max f(v) = f(max v)`. Channels are never mixed by a pool, whatever the steps that
//! their integers stand for. Padding has no part in a maximum: a window is its pixels inside the map, at least one,
//! and the value of none is ever taken. Polynomials do not keep order and stay where they are.
//!
//! Values keep their bounds, so the plaintext prime stays. The graph as it was is the meaning of the network, and
//! what is rewritten must equal it.

use crate::graph::{Graph, IntLayer, IntNetwork, Interval, NodeId};
use crate::quant::rounding_term;

/// The name of the pass, as `--print-after` takes it.
pub const POOL_FIRST: &str = "pool-first";

/// Swaps activations and the max pools that follow them, each pair where `price` says that both nodes together
/// take less afterwards; a pair without a price stays. Gives the number of swaps.
pub fn pool_first(network: &mut IntNetwork, price: &dyn Fn(&IntNetwork, NodeId) -> Option<f64>) -> usize {
    let mut swaps = 0;
    loop {
        let before = swaps;
        // From the end, so that a pool passes several activations at once.
        for activation in network.graph.ids().rev() {
            let Some([operand, pool]) = around(&network.graph, activation) else { continue };
            let both = |network: &IntNetwork| Some(price(network, activation)? + price(network, pool)?);
            let Some(now) = both(network) else { continue };
            let bounds = network.intervals.clone();
            if !swap(network, [operand, activation, pool]) {
                continue;
            }
            if both(network).is_some_and(|swapped| swapped < now) {
                swaps += 1;
            } else {
                exchange(&mut network.graph, activation, pool);
                let shape = network.graph.node(operand).shape.clone();
                network.graph.node_mut(activation).shape = shape;
                network.intervals = bounds;
            }
        }
        if swaps == before {
            return swaps;
        }
    }
}

/// What `activation` reads and the max pool that alone reads it; none if it is no such activation.
fn around(graph: &Graph<IntLayer>, activation: NodeId) -> Option<[NodeId; 2]> {
    let IntLayer::Requant(_) = graph.node(activation).layer else { return None };
    let [operand] = graph.inputs(activation)[..] else { return None };
    let [pool] = graph.users(activation)[..] else { return None };
    let IntLayer::MaxPool(windows) = graph.node(pool).layer else { return None };
    let (_, h, w) = graph.node(activation).shape.chw();
    let filled = windows.windows((h, w)).sizes().iter().all(|&(pixels, _)| pixels > 0);
    (filled && graph.output() != activation).then_some([operand, pool])
}

/// Layer, name and origin of both nodes; each result has the shape of the pool's.
fn exchange(graph: &mut Graph<IntLayer>, activation: NodeId, pool: NodeId) {
    let shape = graph.node(pool).shape.clone();
    let first = graph.node(activation).clone();
    let second = std::mem::replace(graph.node_mut(pool), first);
    *graph.node_mut(activation) = second;
    graph.node_mut(pool).shape = shape.clone();
    graph.node_mut(activation).shape = shape;
}

/// Exchanges both nodes and moves the rounding term from the bounds of the operand to those of the pool; nothing
/// where the network has no such bounds.
fn swap(network: &mut IntNetwork, [operand, activation, pool]: [NodeId; 3]) -> bool {
    let rounding = |graph: &Graph<IntLayer>, id| i64::try_from(rounding_term(graph, id)).unwrap_or(i64::MAX);
    let Some(bounds) = network.intervals.get(operand.0 as usize).copied() else { return false };
    let own = bounds.hi.saturating_sub(rounding(&network.graph, operand));
    exchange(&mut network.graph, activation, pool);
    for node in [operand, activation] {
        let hi = own.saturating_add(rounding(&network.graph, node));
        if let Some(interval) = network.intervals.get_mut(node.0 as usize) {
            *interval = Interval { hi, ..bounds };
        }
    }
    true
}
