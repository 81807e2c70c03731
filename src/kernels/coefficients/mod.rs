//! Convolutions and fully connected layers as products of polynomials: no rotation, no Galois key.
//!
//! With `I` channels of `S = H * W` coefficients in a ciphertext and `O` outputs in a product, tap `(a, b)`
//! between channel `c` and output `o` is coefficient
//! ```text
//! weight   o*I*S + (I-1-c)*S + (kh-1-a)*W + (kw-1-b)        input   c*S + i*W + j
//! wanted   o*I*S + (I-1)*S + (y*s + kh-1-lead)*W + x*s + kw-1-lead
//! ```
//! (Cheetah, USENIX Security 2022; padding shared by neighbouring rows and channels). No other product
//! reaches a wanted coefficient, also not around X^N = -1: what would lands on the zeros behind a row or a
//! channel, as long as `I * O * S <= N`. A fully connected layer is a 1x1 convolution on one pixel.

mod axis;
mod share;

use super::{KernelError, MAX_TERMS, check_features, check_ring, conv, narrow, pixel};
use crate::circuit::{Axis, Builder, Places, PlainId, Segment};
use crate::layout::{Coefficients as Layout, Order, Packing};
use crate::tensor::{ConvGeometry, Groups, Shape};
use axis::Reads;
use share::{Share, reached};
use std::ops::Range;

/// The coefficient kernel of one linear layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coefficients {
    geometry: ConvGeometry,
    weights: Shape,
    ring: usize,
    share: Share,
    /// Rows and columns of taps that meet a pixel.
    taps: (Range<usize>, Range<usize>),
    order: Order,
    /// Output and input ciphertext, in a tile, of each product; a plaintext's id is its place here.
    pairs: Vec<(u32, u32)>,
    input: Packing,
    output: Packing,
}

impl Coefficients {
    pub(super) fn conv(g: &ConvGeometry, ring: usize) -> Result<Self, KernelError> {
        check_ring(ring)?;
        conv::check_sizes(g)?;
        let columns = g.c_in / g.groups.count();
        Self::new(g, Shape::of(&[g.c_out, columns, g.kernel.0, g.kernel.1]), ring)
    }

    pub(super) fn linear(inputs: usize, outputs: usize, ring: usize) -> Result<Self, KernelError> {
        check_ring(ring)?;
        check_features(inputs, outputs)?;
        Self::new(&pixel(inputs, outputs), Shape::of(&[outputs, inputs]), ring)
    }

    fn new(g: &ConvGeometry, weights: Shape, ring: usize) -> Result<Self, KernelError> {
        let rows = Reads::new(g.h, g.kernel.0, g.stride.0, g.pad.h).ok_or(KernelError::NoTerm(0))?;
        let columns = Reads::new(g.w, g.kernel.1, g.stride.1, g.pad.w).ok_or(KernelError::NoTerm(0))?;
        let share = Share::choose(g, &rows, &columns, ring)?;
        let order = match g.groups {
            Groups::Dense | Groups::Contiguous(_) => Order::Natural,
            Groups::Striped(groups) => Order::Striped(groups),
        };
        let (width, plane) = (share.columns.extent, share.plane());
        let input = Layout {
            ring,
            shape: (g.c_in, g.h, g.w),
            order,
            channels: share.inputs,
            first: 0,
            plane,
            rows: share.rows.input(width),
            columns: share.columns.input(1),
        };
        let (out_h, out_w) = g.out_size();
        let output = Layout {
            ring,
            shape: (g.c_out, out_h, out_w),
            order,
            channels: share.outputs,
            first: (share.inputs - 1) * plane + share.rows.offset() * width + share.columns.offset(),
            plane: share.inputs * plane,
            rows: share.rows.output(width),
            columns: share.columns.output(1),
        };
        let taps = (rows.taps.clone(), columns.taps.clone());
        let (input, output) = (Packing::Coefficients(input), Packing::Coefficients(output));
        let mut kernel =
            Self { geometry: *g, weights, ring, share, taps, order, pairs: Vec::new(), input, output };
        kernel.list_pairs()?;
        Ok(kernel)
    }

    pub(super) fn input(&self) -> &Packing {
        &self.input
    }

    pub(super) fn output(&self) -> &Packing {
        &self.output
    }

    pub(super) fn weight_shape(&self) -> Shape {
        self.weights.clone()
    }

    pub(super) fn emit(&self, layer: &str) -> Segment {
        let (inputs, outputs) = (self.parts(&self.input), self.output.ciphertexts());
        let tiles = outputs / self.parts(&self.output);
        let weights = narrow(self.most_weights());
        let mut builder = Builder::in_coefficients(layer, narrow(self.ring), weights, narrow(tiles * inputs));
        let plains: Vec<PlainId> = self.pairs.iter().map(|_| builder.plain()).collect();
        let mut output = 0;
        for tile in 0..tiles {
            let mut first = 0;
            for pairs in self.pairs.chunk_by(|a, b| a.0 == b.0) {
                let plains = &plains[first..first + pairs.len()];
                let source = |&(_, part): &(u32, u32)| builder.input(narrow(tile * inputs) + part);
                let terms: Vec<_> = pairs.iter().map(source).zip(plains.iter().copied()).collect();
                let sum = builder.dot(terms);
                builder.output_places(sum, self.places(output));
                first += pairs.len();
                output += 1;
            }
        }
        builder.finish()
    }

    /// Writes the weights of plaintext `id` into `values`, which are zero.
    pub(super) fn fill(&self, weights: &[i8], id: PlainId, values: &mut [i64]) {
        self.each_weight(weights, id, &mut |place, weight| {
            values[place] = i64::from(weight);
            true
        });
    }

    /// Each weight of plaintext `id` and its coefficient, until `visit` says to stop.
    fn each_weight(&self, weights: &[i8], id: PlainId, visit: &mut dyn FnMut(usize, i8) -> bool) {
        let Some(&(output, input)) = self.pairs.get(id.0 as usize) else { return };
        let (g, plane, width) = (&self.geometry, self.share.plane(), self.share.columns.extent);
        let columns = g.c_in / g.groups.count();
        for (o_place, o) in self.channels(output as usize, self.share.outputs, g.c_out) {
            for (c_place, c) in self.channels(input as usize, self.share.inputs, g.c_in) {
                let Some(column) = g.groups.column(o, c, g.c_in, g.c_out) else { continue };
                let channel = (o_place * self.share.inputs + self.share.inputs - 1 - c_place) * plane;
                for (a, b) in self.taps_of(o) {
                    let at = ((o * columns + column) * g.kernel.0 + a) * g.kernel.1 + b;
                    let tap = (self.taps.0.end - 1 - a) * width + self.taps.1.end - 1 - b;
                    if !visit(channel + tap, weights[at]) {
                        return;
                    }
                }
            }
        }
    }

    /// How many plaintexts it has: tiles share them.
    pub(super) fn products(&self) -> usize {
        self.pairs.len()
    }

    /// Whether plaintext `id` is zero under `weights`.
    pub(super) fn is_zero(&self, weights: &[i8], id: PlainId) -> bool {
        let mut zero = true;
        self.each_weight(weights, id, &mut |_, weight| {
            zero = weight == 0;
            zero
        });
        zero
    }

    /// The channels of ciphertext `part` of a tile, `per_part` each: place and channel.
    fn channels(&self, part: usize, per_part: usize, all: usize) -> impl Iterator<Item = (usize, usize)> {
        let places = part * per_part..((part + 1) * per_part).min(all);
        places.map(move |place| (place - part * per_part, self.order.channel(place, all)))
    }

    /// The taps of output channel `o` that are declared and meet a pixel.
    fn taps_of(&self, o: usize) -> impl Iterator<Item = (usize, usize)> {
        let g = &self.geometry;
        let all = self.taps.0.clone().flat_map(|a| self.taps.1.clone().map(move |b| (a, b)));
        all.filter(move |&tap| g.support.has(tap, g.kernel, o, g.c_out))
    }

    /// No plaintext has more weights than this.
    fn most_weights(&self) -> usize {
        let g = &self.geometry;
        let taps = [0, g.c_out - 1].map(|o| self.taps_of(o).count());
        let channels = self.share.inputs.min(g.c_in / g.groups.count());
        self.share.outputs * channels * taps[0].max(taps[1])
    }

    /// Ciphertexts of one tile.
    fn parts(&self, packing: &Packing) -> usize {
        packing.ciphertexts() / (self.share.rows.tiles() * self.share.columns.tiles())
    }

    fn places(&self, output: usize) -> Places {
        let places = match &self.output {
            Packing::Coefficients(layout) => layout.places(output),
            Packing::Image(_) | Packing::Features(_) => None,
        };
        let (first, axes) = places.expect("outputs are in coefficients, one a ciphertext");
        let axes = axes.map(|(count, step)| Axis { count: narrow(count), step: narrow(step) });
        Places { first: narrow(first), axes }
    }

    /// Lists the products whose plaintext has a weight by declaration.
    fn list_pairs(&mut self) -> Result<(), KernelError> {
        let (g, share) = (&self.geometry, &self.share);
        let refused = KernelError::TooLarge { limit: MAX_TERMS };
        let tiles = share.rows.tiles() * share.columns.tiles();
        let ciphertexts = self.input.ciphertexts().max(self.output.ciphertexts());
        if ciphertexts > MAX_TERMS {
            return Err(refused);
        }
        let parts = g.c_out.div_ceil(share.outputs);
        let met = (0..parts).map(|part| reached(g, share.inputs, share.outputs, part).len());
        if met.fold(0, usize::saturating_add).saturating_mul(tiles) > MAX_TERMS {
            return Err(refused);
        }
        let mut pairs = Vec::new();
        for part in 0..parts {
            let before = pairs.len();
            for input in reached(g, share.inputs, share.outputs, part) {
                if self.meet(part, input) {
                    pairs.push((narrow(part), narrow(input)));
                }
            }
            if pairs.len() == before {
                return Err(KernelError::NoTerm(part));
            }
        }
        self.pairs = pairs;
        Ok(())
    }

    /// Whether an output with taps meets a channel of its group.
    fn meet(&self, output: usize, input: usize) -> bool {
        let (g, share) = (&self.geometry, &self.share);
        let (fan_in, fan_out) = (g.c_in / g.groups.count(), g.c_out / g.groups.count());
        let held = input * share.inputs..(input + 1) * share.inputs;
        let mut outputs = (output * share.outputs..).zip(self.channels(output, share.outputs, g.c_out));
        outputs.any(|(place, (_, o))| {
            let group = place / fan_out;
            let shares = group * fan_in < held.end && held.start < (group + 1) * fan_in;
            shares && self.taps_of(o).next().is_some()
        })
    }
}
