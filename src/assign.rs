//! Chooses the encoding of each linear layer: the cheaper one, by measured costs.
//!
//! Both encodings are compiled whole, so that each is weighed under the parameters that it would run with;
//! then every layer takes the one of fewer seconds. A layer's seconds are both parties' on one thread and
//! those of its bytes on the wire. Keys are left out: they are sent once.

use crate::circuit::{Segment, count};
use crate::compiled::Compiled;
use crate::cost::{CostTable, Sizes};
use crate::params::Encoding;

/// Bytes a second between the parties: 3 Gbit/s.
const BYTES_PER_SECOND: f64 = 3e9 / 8.0;

/// The cheaper encoding of each linear layer, from the network compiled in slots and in coefficients.
#[must_use]
pub fn cheaper(slots: &Compiled, coefficients: &Compiled, table: &CostTable) -> Vec<Encoding> {
    let layers = slots.circuit.segments.iter().zip(&coefficients.circuit.segments);
    layers
        .map(|(in_slots, in_coefficients)| {
            let seconds = [seconds(slots, in_slots, table), seconds(coefficients, in_coefficients, table)];
            match seconds {
                [Some(slots), Some(coefficients)] if coefficients < slots => Encoding::Coefficients,
                [None, Some(_)] => Encoding::Coefficients,
                [Some(_) | None, _] => Encoding::Slots,
            }
        })
        .collect()
}

/// What a layer takes, if the table knows.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(compiled: &Compiled, segment: &Segment, table: &CostTable) -> Option<f64> {
    let params = compiled.sets().of(segment.contents.encoding())?;
    let costs = table.costs(params)?;
    let sizes = Sizes::of(compiled.scheme, params);
    let mut counts = count(segment);
    counts.plain_adds = counts.ciphertexts_in + counts.ciphertexts_out;
    let bytes = (sizes.bytes_up(&counts) + sizes.replies(segment)) as f64;
    Some(costs.server_seconds(&counts) + costs.client_seconds(&counts) + bytes / BYTES_PER_SECOND)
}
