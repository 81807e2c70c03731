//! What is known of one way to compute one operation, whatever the parameters: counts after fusion, depth,
//! rotations by step, replies. Prices follow from it under any parameters without emitting again.

use super::{Operation, Pick, PlanError, Rings};
use crate::circuit::{Contents, Counts, Places, Segment, Step, count};
use crate::cost::{self, CostTable, LAN, OpCosts, Sizes};
use crate::kernels::Kernel;
use crate::lower;
use crate::params::{Depth, Encoding, Scheme, SchemeParams, Workload};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The facts of a layer under one pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What ciphertexts hold.
    pub encoding: Encoding,
    /// What it does, the additions of shares and masks included.
    pub counts: Counts,
    /// What noise depends on.
    pub depth: Depth,
    /// Its automorphisms: one Galois key each, ascending.
    pub steps: Vec<Step>,
    /// How many replies have so many values.
    pub replies: BTreeMap<u64, u64>,
    /// Whether slots hold spectra rather than pixels.
    pub spectral: bool,
}

/// What a linear layer takes, in an inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Seconds of the server on one thread.
    pub server: f64,
    /// Seconds of the client on one thread.
    pub client: f64,
    /// Bytes either way.
    pub bytes: u64,
}

impl LayerCost {
    /// Seconds of both parties and of the bytes between them, at [`LAN`]'s speed.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.server + self.client + LAN.seconds(self.bytes, 0)
    }
}

/// Parameters with their price list.
#[derive(Clone, Debug)]
pub struct Prices {
    /// The parameters.
    pub params: SchemeParams,
    /// Seconds of each operation under them.
    pub costs: OpCosts,
    /// Bytes of each object.
    pub sizes: Sizes,
}

impl Facts {
    /// Emits, verifies, rewrites and counts; the circuit is dropped.
    pub(super) fn find(
        operation: &Operation,
        pick: Pick,
        rings: Rings,
        weights: Option<&Tensor<i8>>,
    ) -> Result<Self, PlanError> {
        let layer = || "candidate".to_owned();
        let about = |source| PlanError::Kernel { layer: layer(), source };
        let kernel = operation.kernel(pick, rings).map_err(about)?;
        let dropped =
            weights.map_or(Ok(Vec::new()), |weights| super::zeros(&kernel, weights)).map_err(about)?;
        let ring = rings.of(pick.encoding());
        let segment = lower::segment(&kernel, &layer(), ring, &dropped)?;
        Self::of(&kernel, &segment, ring).ok_or(PlanError::Depth)
    }

    /// Those of `segment`, made of `kernel`, at ring degree `ring`; none if it multiplies a product.
    #[must_use]
    pub fn of(kernel: &Kernel, segment: &Segment, ring: u32) -> Option<Self> {
        let mut counts = count(segment);
        counts.plain_adds = counts.ciphertexts_in + counts.ciphertexts_out;
        let mut replies = BTreeMap::new();
        match &segment.contents {
            Contents::Slots => {
                replies.insert(u64::from(ring), segment.outputs.len() as u64);
            }
            Contents::Coefficients { sent, .. } => {
                sent.iter().map(Places::len).for_each(|values| *replies.entry(values).or_default() += 1);
            }
        }
        let steps: BTreeSet<Step> = segment.steps().collect();
        Some(Self {
            encoding: segment.contents.encoding(),
            counts,
            depth: cost::depth(segment)?,
            steps: steps.into_iter().collect(),
            replies,
            spectral: kernel.spectrum().is_some(),
        })
    }

    /// Values of all its replies.
    #[must_use]
    pub fn values_sent(&self) -> u64 {
        self.replies.iter().fold(0, |sum, (values, times)| sum.saturating_add(values.saturating_mul(*times)))
    }

    /// What it takes under `prices`, which are for its encoding.
    #[must_use]
    pub fn cost(&self, prices: &Prices) -> LayerCost {
        let replies = self.replies.iter().map(|(&values, times)| times * prices.sizes.reply_of(values));
        prices.cost_of(&self.counts, self.spectral, replies.sum())
    }
}

impl Prices {
    /// Those of `table` under `params`; none if it has no row for their encoding.
    #[must_use]
    pub fn of(params: SchemeParams, table: &CostTable) -> Option<Self> {
        let costs = table.costs(&params)?;
        let sizes = Sizes::of(Scheme::Bfv, &params);
        Some(Self { params, costs, sizes })
    }

    /// What `counts` take, on spectra or on pixels, with replies of so many bytes together.
    pub(super) fn cost_of(&self, counts: &Counts, spectral: bool, replies: u64) -> LayerCost {
        let costs = if spectral { self.costs.of_spectra() } else { self.costs };
        LayerCost {
            server: costs.server_seconds(counts),
            client: costs.client_seconds(counts),
            bytes: self.sizes.bytes_up(counts) + replies,
        }
    }
}

/// What parameters for `encoding` must provide for so that `layers` run; none if no layer is in it. Replies
/// in either encoding count, for their flooding has to hide all of them together.
pub fn workload<'a>(layers: impl Iterator<Item = &'a Facts> + Clone, encoding: Encoding) -> Option<Workload> {
    let sent = layers.clone().map(Facts::values_sent).fold(0, u64::saturating_add);
    let depths: Vec<Depth> = layers.filter(|l| l.encoding == encoding).map(|l| l.depth).collect();
    (!depths.is_empty()).then(|| Workload::of(depths, sent).encoded(encoding))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
