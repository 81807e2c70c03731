//! Drops nodes that do not reach the output.
//!
//! Idea: mark backwards from the output. The input stays even if nothing reads it.

use super::{FloatModel, Rebuild, RewriteError};
use crate::graph::NodeId;

pub(super) fn run(model: &mut FloatModel) -> Result<usize, RewriteError> {
    let graph = &model.model.graph;
    let mut live = vec![false; graph.len()];
    for id in [NodeId(0), graph.output()] {
        if let Some(live) = live.get_mut(id.0 as usize) {
            *live = true;
        }
    }
    for id in graph.ids().rev().filter(|id| id.0 <= graph.output().0) {
        if live[id.0 as usize] {
            graph.inputs(id).iter().for_each(|i| live[i.0 as usize] = true);
        }
    }
    let dead = live.iter().filter(|l| !**l).count();
    if dead > 0 {
        let mut rebuilt = Rebuild::new();
        for id in graph.ids().filter(|id| live[id.0 as usize]) {
            rebuilt.copy(model, id)?;
        }
        rebuilt.finish(model);
    }
    Ok(dead)
}
