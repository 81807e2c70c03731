//! The search for scales: how much finer than its ranges alone allow each layer's weights are to be.
//!
//! Two searches, of which the one with the smaller estimated error counts. One chooses *shifts*: rounds that
//! take each layer's best shift alone. The other chooses *gains*: the bits by which a layer's shift exceeds the
//! one that costs its result nothing, given the scales of its input; they leave the layers behind as they are,
//! which pays with few bits. Both then go up and down in single steps, of one layer, of those that write one
//! residual stream, or of all, as long as the estimated error of the whole network falls.

use super::QuantError;
use super::classes::Term;
use super::rescale::Fitted;
use super::site::{Need, Site};
use super::solve::steps;
use crate::graph::NodeId;
use std::collections::BTreeMap;

/// Rounds of choosing shifts one by one, and of raising scales until every layer has a shift.
const ROUNDS: usize = 12;
/// Gains that all layers start with, and the largest that is tried.
const STARTS: [u32; 4] = [0, 1, 2, 3];
const LARGEST: u32 = 8;
/// Sweeps over all layers until scales that depend on each other in a circle are taken to be settled.
const SWEEPS: usize = 6;
/// Weights that either search may look at.
const BUDGET: usize = 1_000_000_000;
/// The search goes on while the error falls by more than this part.
const GAIN: f64 = 1e-3;
pub(super) const TOLERANCE: f64 = 1e-9;

/// What is to be solved.
pub(super) struct Problem<'a> {
    pub(super) fitted: &'a Fitted,
    /// All linear layers in topological order.
    pub(super) sites: &'a [Site],
    /// The clamp that each of them reads, perhaps re-indexed.
    pub(super) operands: Vec<NodeId>,
    /// The least unknowns at which every clamp holds its range.
    pub(super) floor: Vec<f64>,
    /// Powers of two by which clamps are finer than their class, at least.
    pub(super) finer: BTreeMap<NodeId, i32>,
}

/// What a search chooses for each site.
#[derive(Clone, PartialEq, Eq)]
enum Aim {
    Shifts(Vec<u32>),
    Gains(Vec<u32>),
}

/// A choice, the scales that follow and the estimated error.
#[derive(Clone)]
struct Choice {
    aim: Aim,
    x: Vec<f64>,
    error: f64,
}

impl Aim {
    /// The same with `sites` one step up or down; none if nothing moves.
    fn moved(&self, sites: &[usize], step: i32, caps: &[Site]) -> Option<Self> {
        let mut moved = self.clone();
        let (values, largest): (_, &dyn Fn(usize) -> u32) = match &mut moved {
            Self::Shifts(values) => (values, &|i| caps[i].cap),
            Self::Gains(values) => (values, &|_| LARGEST),
        };
        for &i in sites {
            values[i] = values[i].saturating_add_signed(step).min(largest(i));
        }
        (moved != *self).then_some(moved)
    }
}

impl Problem<'_> {
    /// The scales of the best choice found.
    pub(super) fn search(&self) -> Vec<f64> {
        let gains = STARTS.map(|gain| self.evaluate(Aim::Gains(vec![gain; self.sites.len()])));
        let [first, others @ ..] = gains;
        let gains = self.descend(others.into_iter().fold(first, better));
        better(self.descend(self.by_shifts()), gains).x
    }

    /// The best choice of rounds in which every layer takes its best shift alone.
    fn by_shifts(&self) -> Choice {
        let mut best = self.evaluate(Aim::Shifts(vec![0; self.sites.len()]));
        let mut x = self.floor.clone();
        for _ in 0..ROUNDS {
            let choice = self.evaluate(Aim::Shifts(self.alone(&x)));
            let settled = choice.x == x;
            x.clone_from(&choice.x);
            best = better(best, choice);
            if settled {
                break;
            }
        }
        best
    }

    /// The shift of least error of each layer, given the scales of its input.
    fn alone(&self, x: &[f64]) -> Vec<u32> {
        let mut x = x.to_vec();
        let mut shifts = Vec::with_capacity(self.sites.len());
        for (i, site) in self.sites.iter().enumerate() {
            let (terms, needs) = self.needs(i, &x, &self.finer);
            let shift = if self.clamped(terms) { self.best_shift(site, terms, &needs) } else { 0 };
            raise(&mut x, terms, &needs, f64::from(shift));
            shifts.push(shift);
        }
        shifts
    }

    fn best_shift(&self, site: &Site, terms: &[Term], needs: &[Need]) -> u32 {
        let error = |shift: u32| -> f64 {
            let channel = |(term, need): (&Term, &Need)| {
                let step = term.at(&self.floor).max(need.step + f64::from(shift));
                rounding(step, need, f64::from(shift))
            };
            terms.iter().zip(needs).map(channel).sum()
        };
        let errors = (0..=useful(site, needs)).map(|shift| (shift, error(shift)));
        errors.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(shift, _)| shift)
    }

    /// The least scales that allow this choice, and the error with them: the sum over the layers of the
    /// square error of their results over that of the clamps alone.
    fn evaluate(&self, aim: Aim) -> Choice {
        let mut x = self.floor.clone();
        for _ in 0..SWEEPS {
            let mut raised = false;
            for i in 0..self.sites.len() {
                let (terms, needs) = self.needs(i, &x, &self.finer);
                let shift = match &aim {
                    Aim::Shifts(shifts) => f64::from(shifts[i]),
                    Aim::Gains(gains) if self.clamped(terms) => {
                        let free = room(terms, &needs, &self.floor).floor() + f64::from(gains[i]);
                        free.clamp(0.0, f64::from(self.sites[i].cap))
                    }
                    Aim::Gains(_) => 0.0,
                };
                raised |= raise(&mut x, terms, &needs, shift);
            }
            if !raised {
                break;
            }
        }
        let error = (0..self.sites.len()).map(|i| {
            let (terms, needs) = self.needs(i, &x, &self.finer);
            if !self.clamped(terms) {
                return 0.0;
            }
            let shift = room(terms, &needs, &x).floor().max(0.0);
            let error: f64 = terms.iter().zip(&needs).map(|(t, n)| rounding(t.at(&x), n, shift)).sum();
            error / terms.iter().map(|t| (2.0 * t.at(&self.floor)).exp2()).sum::<f64>()
        });
        let error = error.sum();
        Choice { aim, x, error }
    }

    /// Sites that move together: all, those that write one residual stream, each alone.
    fn moves(&self) -> Vec<Vec<usize>> {
        let mut writers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, site) in self.sites.iter().enumerate() {
            if let Some(first) = self.fitted.classes.terms[site.id.0 as usize].first() {
                writers.entry(first.var).or_default().push(i);
            }
        }
        let all = (0..self.sites.len()).collect();
        let streams = writers.into_values().filter(|sites| sites.len() > 1);
        std::iter::once(all).chain(streams).chain((0..self.sites.len()).map(|i| vec![i])).collect()
    }

    fn descend(&self, mut best: Choice) -> Choice {
        let weights: usize = self.sites.iter().map(Site::size).sum();
        let mut evaluations = BUDGET / (weights.max(1) * (SWEEPS + 1));
        let moves = self.moves();
        loop {
            let start = best.error;
            for sites in &moves {
                for step in [1, -1] {
                    let Some(aim) = best.aim.moved(sites, step, self.sites) else { continue };
                    if evaluations == 0 {
                        return best;
                    }
                    evaluations -= 1;
                    best = better(best, self.evaluate(aim));
                }
            }
            if best.error >= start * (1.0 - GAIN) {
                return best;
            }
        }
    }

    /// Keeps the scales and gives every layer the largest useful shift; scales that do not even allow a
    /// shift of 0 are raised.
    pub(super) fn largest_shifts(
        &self,
        finer: &BTreeMap<NodeId, i32>,
        x: &mut [f64],
    ) -> Result<BTreeMap<NodeId, u32>, QuantError> {
        let mut raised = None;
        for _ in 0..ROUNDS {
            raised = None;
            let mut shifts = BTreeMap::new();
            for (i, site) in self.sites.iter().enumerate() {
                let (terms, needs) = self.needs(i, x, finer);
                let room = room(terms, &needs, x);
                if room < -TOLERANCE {
                    raised = Some(site.id);
                    raise(x, terms, &needs, 0.0);
                    continue;
                }
                let cap = if self.clamped(terms) { useful(site, &needs) } else { site.cap };
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..=cap")]
                let shift = (room + TOLERANCE).floor().clamp(0.0, f64::from(cap)) as u32;
                shifts.insert(site.id, shift);
            }
            if raised.is_none() {
                return Ok(shifts);
            }
        }
        let node = raised.unwrap_or(NodeId(0));
        Err(QuantError::Unsolvable { node: self.fitted.skeleton.graph.node(node).name.clone() })
    }

    /// What a site asks, raised to the largest of the channels that share a scale, and its terms.
    fn needs(&self, i: usize, x: &[f64], finer: &BTreeMap<NodeId, i32>) -> (&[Term], Vec<Need>) {
        let site = &self.sites[i];
        let rho = finer.get(&self.operands[i]).copied().unwrap_or(0);
        let terms = self.fitted.classes.terms[site.id.0 as usize].as_slice();
        let mut needs = site.needs(&steps(self.fitted, site.operand, x, rho));
        if terms.is_sorted_by(|a, b| a.var < b.var) {
            return (terms, needs);
        }
        let mut largest: BTreeMap<usize, f64> = BTreeMap::new();
        for (term, need) in terms.iter().zip(&needs) {
            let x = largest.entry(term.var).or_insert(f64::NEG_INFINITY);
            *x = x.max(term.solve(need.step));
        }
        for (term, need) in terms.iter().zip(&mut needs) {
            need.step = term.mul * largest[&term.var] + term.off;
        }
        (terms, needs)
    }

    /// Whether a range bounds the scales from below: else only the weights do, and a shift is no gain.
    fn clamped(&self, terms: &[Term]) -> bool {
        terms.iter().any(|t| self.floor[t.var] > f64::NEG_INFINITY)
    }
}

/// The one with the smaller error, the first if equal.
fn better(a: Choice, b: Choice) -> Choice {
    if b.error < a.error { b } else { a }
}

/// The square error of a result of this step (a logarithm), from its rounding and that of the weights.
fn rounding(step: f64, need: &Need, shift: f64) -> f64 {
    (2.0 * step).exp2() * (1.0 + need.power * (-2.0 * shift).exp2())
}

/// Raises scales to what a layer with this shift needs; whether any moved.
fn raise(x: &mut [f64], terms: &[Term], needs: &[Need], shift: f64) -> bool {
    let mut raised = false;
    for (term, need) in terms.iter().zip(needs) {
        let wanted = term.solve(need.step + shift);
        raised |= wanted > x[term.var] + TOLERANCE;
        x[term.var] = x[term.var].max(wanted);
    }
    raised
}

/// The logarithm of the largest power of two by which the weights may be refined.
fn room(terms: &[Term], needs: &[Need], x: &[f64]) -> f64 {
    terms.iter().zip(needs).map(|(t, n)| t.at(x) - n.step).fold(f64::MAX, f64::min)
}

/// The shift beyond which finer weights change nothing that the result can show.
fn useful(site: &Site, needs: &[Need]) -> u32 {
    let power = needs.iter().map(|n| n.power).fold(1.0, f64::max);
    let enough = (0..site.cap).find(|k| power * (-2.0 * f64::from(*k)).exp2() < 1.0 / 64.0);
    enough.unwrap_or(site.cap)
}
