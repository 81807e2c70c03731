//! Convolutions and matrices of small integers, exactly, by single-precision floats: the fast path of the
//! plain meaning.
//!
//! A float adds and multiplies integers without rounding as long as no result exceeds 2^24, and every
//! x86-64 does four at once. Sums are cut into pieces that stay below ([`piece`]); the pieces are added as
//! 32-bit integers, which the caller has bounded. The image is laid out with its channels innermost and
//! framed by its padding, so that a patch is a few runs of it and need not be copied.

use super::number::dot;
use super::{Conv, Linear};
use crate::tensor::{Groups, Shape, Support, Tensor};
use rayon::prelude::*;

/// Integers up to it are exact in single precision.
const EXACT: u32 = 1 << 24;
/// No 8-bit weight is larger.
const WEIGHT: u32 = 1 << 7;
/// The largest magnitude of a value that is worth this path.
pub(crate) const LARGEST: u32 = 1 << 12;
/// Pixels and output channels that are computed together: their sums fill half of the registers.
const PIXELS: usize = 4;
const OUTPUTS: usize = 8;
/// Products that are worth a task of their own.
const TASK: usize = 1 << 18;

/// How many products of a weight and a value up to `largest` have an exact sum in any order.
fn piece(largest: u32) -> usize {
    (EXACT / (WEIGHT * largest.clamp(1, LARGEST))) as usize
}

impl Conv {
    /// The plain meaning; `weight` has [`Conv::weight_shape`], in memory order, one bias an output channel.
    /// No value of `x` exceeds `largest`, nor [`LARGEST`]; no sum of magnitudes exceeds `i32::MAX`.
    pub(crate) fn apply_narrow(
        &self,
        x: &Tensor<i64>,
        largest: u32,
        weight: &[i8],
        bias: &[i32],
    ) -> Tensor<i32> {
        let (rows, columns) = self.geometry(&x.shape).out_size();
        let mut out = Tensor::zeros(Shape::image(self.out, rows, columns));
        for group in 0..self.groups.count() {
            let members = self.members(group);
            let image = Framed::new(self, x, members[0]);
            let runs = self.runs(image.channels, piece(largest));
            let panels = Panels::of_kernel(self, weight, &members, &runs);
            let per_row = columns * members.len();
            let mut sums = vec![0; rows * per_row];
            let tasks = (TASK / (per_row * panels.depth).max(1)).max(1);
            sums.par_chunks_mut(per_row).with_min_len(tasks).enumerate().for_each(|(row, sums)| {
                let step = self.stride.1 * image.channels;
                let first = row * self.stride.0 * image.pitch;
                let offsets: Vec<usize> = runs.iter().map(|run| first + run.offset(&image)).collect();
                for (panel, sums) in panels.panels().zip(sums.chunks_mut(OUTPUTS * columns)) {
                    for start in (0..columns).step_by(PIXELS) {
                        let pixels = [0, 1, 2, 3].map(|i| (start + i).min(columns - 1) * step);
                        let tile = tile(panel, &image.data, pixels, &offsets, &runs);
                        for (line, results) in sums.chunks_mut(columns).zip(tile) {
                            line[start..].iter_mut().zip(results).for_each(|(sum, r)| *sum = r);
                        }
                    }
                }
            });
            let pixels = rows * columns;
            for (row, sums) in sums.chunks(per_row).enumerate() {
                for (&o, line) in members.iter().zip(sums.chunks(columns)) {
                    let target = &mut out.data[o * pixels + row * columns..][..columns];
                    target.iter_mut().zip(line).for_each(|(y, sum)| *y = sum.wrapping_add(bias[o]));
                }
            }
        }
        out
    }

    /// The output channels of a group.
    fn members(&self, group: usize) -> Vec<usize> {
        match self.groups {
            Groups::Dense => (0..self.out).collect(),
            Groups::Contiguous(g) => (group * (self.out / g)..(group + 1) * (self.out / g)).collect(),
            Groups::Striped(g) => (group..self.out).step_by(g).collect(),
        }
    }

    /// The runs of a patch of `channels` channels that meet weights, none longer than `piece`.
    fn runs(&self, channels: usize, piece: usize) -> Vec<Run> {
        let (kh, kw) = self.kernel;
        let mut runs = Vec::new();
        for row in 0..kh {
            let (column, columns) = match self.support {
                Support::Cross | Support::Strips if row != kh / 2 => (kw / 2, 1),
                Support::Full | Support::Cross | Support::Strips => (0, kw),
            };
            let (mut start, end) = (column * channels, (column + columns) * channels);
            while start < end {
                let length = piece.min(end - start);
                runs.push(Run { row, start, length });
                start += length;
            }
        }
        runs
    }
}

impl Linear {
    /// The plain meaning; `weight` is `[out, in]`, the rest as for [`Conv::apply_narrow`].
    pub(crate) fn apply_narrow(
        self,
        x: &Tensor<i64>,
        largest: u32,
        weight: &[i8],
        bias: &[i32],
    ) -> Tensor<i32> {
        let line: Vec<f32> = x.data.iter().map(|&v| small(v)).collect();
        let row = |(row, bias): (&[i8], &i32)| {
            let pieces = row.chunks(piece(largest)).zip(line.chunks(piece(largest)));
            pieces.fold(*bias, |sum, (row, line)| sum.wrapping_add(whole(dot(row, line))))
        };
        let rows = weight.par_chunks(line.len().max(1)).zip(bias.par_iter());
        Tensor { shape: Shape::flat(self.out), data: rows.map(row).collect() }
    }
}

/// Consecutive elements of a patch: in one row of the kernel, from `start` on.
#[derive(Clone, Copy)]
struct Run {
    row: usize,
    start: usize,
    length: usize,
}

impl Run {
    fn offset(self, image: &Framed) -> usize {
        self.row * image.pitch + self.start
    }
}

/// The input channels of one group with their padding, `[row, column, channel]`.
struct Framed {
    channels: usize,
    /// Elements of a row.
    pitch: usize,
    data: Vec<f32>,
}

impl Framed {
    /// What output channel `o` reads of `x`.
    fn new(conv: &Conv, x: &Tensor<i64>, o: usize) -> Self {
        let (c_in, h, w) = x.shape.chw();
        let channels = c_in / conv.groups.count();
        let pitch = (w + 2 * conv.pad.w) * channels;
        let mut data = vec![0.0; (h + 2 * conv.pad.h) * pitch];
        for j in 0..channels {
            let plane = &x.data[conv.input_channel(o, j, c_in) * h * w..][..h * w];
            for (y, line) in plane.chunks(w.max(1)).enumerate() {
                let start = (y + conv.pad.h) * pitch + conv.pad.w * channels + j;
                let places = data[start..].iter_mut().step_by(channels);
                places.zip(line).for_each(|(place, v)| *place = small(*v));
            }
        }
        Self { channels, pitch, data }
    }
}

/// Weights in the order of the runs, `[panel, element, output]`; the last panel is filled with zeros.
struct Panels {
    /// Elements of a patch.
    depth: usize,
    data: Vec<[f32; OUTPUTS]>,
}

impl Panels {
    fn of_kernel(conv: &Conv, weight: &[i8], members: &[usize], runs: &[Run]) -> Self {
        let (kh, kw) = conv.kernel;
        let per = weight.len() / conv.out.max(1);
        let channels = per / (kh * kw).max(1);
        let elements = runs.iter().flat_map(|run| (run.start..run.start + run.length).map(|k| (run.row, k)));
        let places: Vec<usize> =
            elements.map(|(row, k)| k % channels * kh * kw + row * kw + k / channels).collect();
        let mut data = Vec::with_capacity(members.len().div_ceil(OUTPUTS) * places.len());
        for outputs in members.chunks(OUTPUTS) {
            data.extend(places.iter().map(|place| {
                let mut weights = [0.0; OUTPUTS];
                weights.iter_mut().zip(outputs).for_each(|(w, o)| *w = f32::from(weight[o * per + place]));
                weights
            }));
        }
        Self { depth: places.len(), data }
    }

    fn panels(&self) -> impl Iterator<Item = &[[f32; OUTPUTS]]> {
        self.data.chunks(self.depth.max(1))
    }
}

/// The sums of one panel over the patches at `pixels`.
fn tile(
    panel: &[[f32; OUTPUTS]],
    image: &[f32],
    pixels: [usize; PIXELS],
    offsets: &[usize],
    runs: &[Run],
) -> [[i32; PIXELS]; OUTPUTS] {
    let mut sums = [[0_i32; PIXELS]; OUTPUTS];
    let mut rest = panel;
    for (run, offset) in runs.iter().zip(offsets) {
        let (weights, more) = rest.split_at(run.length);
        rest = more;
        let exact = products(weights, pixels.map(|pixel| &image[pixel + offset..][..run.length]));
        for (pixel, exact) in exact.iter().enumerate() {
            for (sum, exact) in sums.iter_mut().zip(exact) {
                sum[pixel] = sum[pixel].wrapping_add(whole(*exact));
            }
        }
    }
    sums
}

/// The inner loop: its sums stay in registers.
fn products(weights: &[[f32; OUTPUTS]], [a, b, c, d]: [&[f32]; PIXELS]) -> [[f32; OUTPUTS]; PIXELS] {
    let mut sums = [[0.0; OUTPUTS]; PIXELS];
    let values = a.iter().zip(b).zip(c.iter().zip(d));
    for (weights, ((a, b), (c, d))) in weights.iter().zip(values) {
        for (sums, value) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += value * weight;
            }
        }
    }
    sums
}

/// A value within [`LARGEST`].
#[expect(clippy::cast_precision_loss, reason = "exact below 2^24, as the caller has checked")]
fn small(value: i64) -> f32 {
    value as f32
}

/// An exact sum.
#[expect(clippy::cast_possible_truncation, reason = "an integer of at most 2^24")]
fn whole(sum: f32) -> i32 {
    sum as i32
}
