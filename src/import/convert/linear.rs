//! Convolutions, products with constant matrices, batch normalisations.

use super::{Converter, Flow, Site, Stop, Value, refuse, refused};
use crate::import::Note;
use crate::import::constant::{Constant, Numbers};
use crate::import::fold;
use crate::import::network::{self, Unit};
use crate::layers::{BatchNorm, Conv, Layer, Linear};
use crate::tensor::{Groups, Pad, Support};
use std::sync::Arc;

/// ONNX's default for batch normalisation.
const EPSILON: f32 = 1e-5;

/// Sizes along rows and columns: kernel, strides, and zeros above, left, below, right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: (usize, usize),
    pub(super) stride: (usize, usize),
    pub(super) pads: [usize; 4],
}

/// A weight, its kernel's rows and columns, and the padding on both sides.
type Centred = (Arc<Constant>, (usize, usize), Pad);

impl<'a> Converter<'a> {
    /// The window of a convolution or pool with `kernel` over a map of `map` pixels.
    pub(super) fn window(
        site: &Site<'a>,
        kernel: (usize, usize),
        map: (usize, usize),
    ) -> Result<Window, Stop> {
        let given = &site.attributes;
        let pair = |name: &str| match given.ints(name) {
            None => Ok((1, 1)),
            Some(_) => match site.sizes(name, "use images, with rows and columns")? {
                [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
                _ => refused(format!("`{name}` has a size of 0"), "check the model with ONNX's own checker"),
            },
        };
        let stride = pair("strides")?;
        if pair("dilations")? != (1, 1) && kernel != (1, 1) {
            return Err(refuse::dilated());
        }
        let pads = match given.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => match given.ints("pads") {
                None => [0; 4],
                Some(_) => site.sizes("pads", "crop the image before the network")?,
            },
            "VALID" => [0; 4],
            word @ ("SAME_UPPER" | "SAME_LOWER") => {
                let all = |size: usize, kernel: usize, stride: usize| {
                    ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size)
                };
                let (rows, columns) = (all(map.0, kernel.0, stride.0), all(map.1, kernel.1, stride.1));
                let (less, more) = ([rows / 2, columns / 2], [rows.div_ceil(2), columns.div_ceil(2)]);
                if word == "SAME_UPPER" {
                    [less[0], less[1], more[0], more[1]]
                } else {
                    [more[0], more[1], less[0], less[1]]
                }
            }
            word => return refused(format!("`auto_pad` is `{word}`"), "give the padding as numbers"),
        };
        Ok(Window { kernel, stride, pads })
    }

    pub(super) fn conv(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let weight = self.constant_at(site, 1)?;
        let bias = self.optional(site, 2)?;
        let &[out, per, rows, columns] = weight.dims.as_slice() else {
            return refused(
                format!("its kernel has the shape {:?}", weight.dims),
                "use images, with rows and columns",
            );
        };
        let groups = usize::try_from(site.attributes.int("group", 1)).unwrap_or(0);
        let (unit, frame) = self.image(&site.name, &flow)?;
        let shape = self.network.shape(unit).clone();
        let (_, h, w) = shape.chw();
        let window = Self::window(site, (rows, columns), (h + frame[0] + frame[2], w + frame[1] + frame[3]))?;
        let pads: [usize; 4] = std::array::from_fn(|i| window.pads[i].saturating_add(frame[i]));
        if !shape.is_image() {
            return self.pixel_conv(site, unit, &weight, bias, (groups, pads));
        }
        if per.checked_mul(groups) != Some(shape.channels()) {
            return refused(
                format!("its kernel is for {per} x {groups} channels, the image has {}", shape.channels()),
                "check the model with ONNX's own checker",
            );
        }
        let (weight, kernel, pad) = self.centred(site, weight, pads)?;
        let support = support(&weight, kernel);
        let layer = Layer::Conv(Conv {
            out,
            kernel,
            support,
            stride: window.stride,
            pad,
            groups: if groups == 1 { Groups::Dense } else { Groups::Contiguous(groups) },
            bias: Some(bias.is_some()),
        });
        let mut weights = vec![("weight", weight)];
        weights.extend(self.vector(bias, out)?.map(|b| ("bias", b)));
        let unit = self.network.add(layer, &[unit], weights, &site.name)?;
        Ok(Value::Flow(self.natural(unit)))
    }

    /// A convolution of features, an image of one pixel.
    fn pixel_conv(
        &mut self,
        site: &Site<'a>,
        unit: usize,
        weight: &Constant,
        bias: Option<Arc<Constant>>,
        (groups, pads): (usize, [usize; 4]),
    ) -> Result<Value, Stop> {
        let &[out, per, 1, 1] = weight.dims.as_slice() else {
            return refused("convolves one pixel with a larger kernel", "use a 1x1 kernel");
        };
        if groups != 1 || pads != [0; 4] {
            return refused(
                "convolves one pixel in groups, or padded",
                "use a dense 1x1 kernel without padding",
            );
        }
        self.memory.charge_tensor(&[out, per], 4, "a matrix")?;
        let weight = Arc::new(weight.reshaped(vec![out, per]));
        let bias = self.vector(bias, out)?;
        let unit = self.matrix(site, unit, weight, bias)?;
        Ok(Value::Flow(self.as_pixel(unit)))
    }

    /// A kernel with equal padding on opposite sides: where there is more on one, the kernel gets rows or
    /// columns of zeros on the other.
    fn centred(
        &mut self,
        site: &Site<'a>,
        weight: Arc<Constant>,
        [top, left, bottom, right]: [usize; 4],
    ) -> Result<Centred, Stop> {
        let &[out, per, rows, columns] = weight.dims.as_slice() else { return Err(Stop::Lost) };
        let pad = Pad { h: top.max(bottom), w: left.max(right) };
        if top == bottom && left == right {
            return Ok((weight, (rows, columns), pad));
        }
        let size = (rows.saturating_add(top.abs_diff(bottom)), columns.saturating_add(left.abs_diff(right)));
        let dims = vec![out, per, size.0, size.1];
        let elements = self.memory.charge_tensor(&dims, 4, &format!("`{}` with zeros", weight.name))?;
        let first = (bottom.saturating_sub(top), right.saturating_sub(left));
        let old = weight.floats();
        let mut data = vec![0.0; elements];
        for (map, kernel) in
            data.chunks_mut((size.0 * size.1).max(1)).zip(old.chunks((rows * columns).max(1)))
        {
            for (y, line) in kernel.chunks(columns.max(1)).enumerate() {
                map[(first.0 + y) * size.1 + first.1..][..columns].copy_from_slice(line);
            }
        }
        self.notes.push(Note::Uneven { node: site.name.clone(), from: (rows, columns), to: size });
        let weight = Constant { name: weight.name.clone(), dims, data: Numbers::Floats(data) };
        Ok((Arc::new(weight), size, pad))
    }

    pub(super) fn gemm(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let matrix = self.constant_at(site, 1)?;
        let bias = self.optional(site, 2)?;
        let given = &site.attributes;
        if given.int("transA", 0) != 0 {
            return refused("transposes its first operand", "transpose the matrix instead");
        }
        let matrix = if given.int("transB", 0) != 0 { matrix } else { self.transposed(&matrix)? };
        let &[out, _] = matrix.dims.as_slice() else {
            return refused(
                format!("its matrix has the shape {:?}", matrix.dims),
                "use a matrix of two axes",
            );
        };
        let matrix = self.times(matrix, given.float("alpha").unwrap_or(1.0))?;
        let bias = match self.vector(bias, out)? {
            Some(bias) => Some(self.times(bias, given.float("beta").unwrap_or(1.0))?),
            None => None,
        };
        self.product(site, &flow, matrix, bias).map(Value::Flow)
    }

    pub(super) fn matmul(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let matrix = self.constant_at(site, 1)?;
        let rank = matrix.dims.len();
        if rank < 2 || matrix.dims.iter().rev().skip(2).any(|d| *d != 1) {
            return refused(
                format!("its matrix has the shape {:?}", matrix.dims),
                "use a matrix of two axes",
            );
        }
        let flat = Constant {
            name: matrix.name.clone(),
            dims: matrix.dims[rank - 2..].to_vec(),
            data: matrix.data.clone(),
        };
        let matrix = self.transposed(&flat)?;
        self.product(site, &flow, matrix, None).map(Value::Flow)
    }

    /// The product of `matrix` (`[out, in]`) with a row of features, in whatever order they come.
    fn product(
        &mut self,
        site: &Site<'a>,
        flow: &Flow,
        matrix: Arc<Constant>,
        bias: Option<Arc<Constant>>,
    ) -> Result<Flow, Stop> {
        let flow = self.settle(&site.name, flow)?;
        let dims = flow.view.dims().to_vec();
        let shape = self.network.shape(flow.unit).clone();
        let &[out, per] = matrix.dims.as_slice() else { return Err(Stop::Lost) };
        if dims.last() != Some(&per) || dims.iter().rev().skip(1).any(|d| *d != 1) {
            return refused(
                format!("multiplies a {dims:?} tensor with a matrix for {per} features"),
                "flatten to [1, features] before it",
            );
        }
        let matrix = if flow.view.is_natural(&shape) {
            matrix
        } else {
            // The columns take the order of the value instead.
            let elements = self.memory.charge_tensor(&[out, per], 4, "a matrix")?;
            self.memory.charge_tensor(&[per], 16, "its order")?;
            let (order, old) = (flow.view.indices(&shape), matrix.floats());
            let mut data = vec![0.0; elements];
            for (row, old) in data.chunks_mut(per.max(1)).zip(old.chunks(per.max(1))) {
                order.iter().zip(old).for_each(|(&to, &v)| row[to] = v);
            }
            Arc::new(Constant {
                name: matrix.name.clone(),
                dims: matrix.dims.clone(),
                data: Numbers::Floats(data),
            })
        };
        let unit = self.matrix(site, flow.unit, matrix, bias)?;
        let mut dims = dims;
        if let Some(last) = dims.last_mut() {
            *last = out;
        }
        let flow = self.natural(unit);
        Ok(Flow { view: flow.view.reshaped(dims), ..flow })
    }

    /// A fully connected layer on a unit's value in its own order.
    fn matrix(
        &mut self,
        site: &Site<'a>,
        unit: usize,
        weight: Arc<Constant>,
        bias: Option<Arc<Constant>>,
    ) -> Result<usize, Stop> {
        let (_, h, w) = self.network.shape(unit).chw();
        let unit = if h * w == 1 {
            unit
        } else {
            self.network.add(Layer::Flatten, &[unit], Vec::new(), &site.name)?
        };
        let &[out, per] = weight.dims.as_slice() else { return Err(Stop::Lost) };
        if self.network.shape(unit).elements() != per {
            return refused(
                format!("its matrix is for {per} features, {} come", self.network.shape(unit).elements()),
                "check the model with ONNX's own checker",
            );
        }
        let layer = Layer::Linear(Linear { out, bias: Some(bias.is_some()) });
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|b| ("bias", b)));
        Ok(self.network.add(layer, &[unit], weights, &site.name)?)
    }

    pub(super) fn batch_norm(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        if site.attributes.int("training_mode", 0) != 0 || site.attributes.int("spatial", 1) != 1 {
            return refused("normalises by the batch", "export the network in inference mode");
        }
        let parts = (1..5).map(|i| self.constant_at(site, i)).collect::<Result<Vec<_>, _>>()?;
        let eps: f64 = site.attributes.float("epsilon").unwrap_or(EPSILON).to_string().parse().unwrap_or(0.0);
        let flow = self.settle(&site.name, &flow)?;
        let features =
            matches!(flow.view.dims(), [1, _]) && flow.view.is_natural(self.network.shape(flow.unit));
        let unit = if features { flow.unit } else { self.plain_image(&site.name, &flow)? };
        let channels = self.network.shape(unit).channels();
        if parts.iter().any(|p| p.dims != [channels]) {
            return refused(
                format!("its constants are not {channels} numbers each"),
                "check the model with ONNX's own checker",
            );
        }
        if !eps.is_finite() || eps < 0.0 {
            return refused(format!("its epsilon is {eps}"), "train it with a small positive number");
        }
        // Scale and shift are computed to see whether they are finite.
        self.memory.charge_tensor(&[channels], 32, "a batch normalisation")?;
        let suffixes = ["weight", "bias", "running_mean", "running_var"];
        let weights = suffixes.into_iter().zip(parts).collect();
        let norm = Unit {
            layer: Layer::BatchNorm(BatchNorm { eps }),
            operands: vec![unit],
            shape: self.network.shape(unit).clone(),
            weights,
            origin: site.name.clone(),
        };
        if norm.affine().is_none() {
            return refused(
                "its numbers give no finite scale",
                "train it again: a variance is negative, or all are zero",
            );
        }
        let before = &self.network.units[unit];
        let after = if flow.sole && matches!(before.layer, Layer::BatchNorm(_)) {
            let (scale, shift) = norm.affine().unwrap_or_default();
            self.scaled_again(unit, &scale, &shift)?;
            unit
        } else {
            self.network.add(norm.layer, &[unit], norm.weights, &site.name)?
        };
        let out = if features { Flow { unit: after, sole: true, ..flow } } else { self.as_pixel(after) };
        Ok(Value::Flow(out))
    }

    /// `x * scale + shift`, channel by channel, as a layer of its own.
    pub(super) fn scaled(
        &mut self,
        origin: &str,
        unit: usize,
        scale: Vec<f32>,
        shift: Vec<f32>,
    ) -> Result<usize, Stop> {
        let (layer, weights) = network::scaling(origin, scale, shift);
        Ok(self.network.add(layer, &[unit], weights, origin)?)
    }

    /// Joins a scale and a shift to the batch normalisation `unit`, which nothing else reads.
    pub(super) fn scaled_again(&mut self, unit: usize, scale: &[f32], shift: &[f32]) -> Result<(), Stop> {
        self.memory.charge_tensor(&[scale.len()], 8, "a scaling")?;
        let norm = &self.network.units[unit];
        let Some((first, then)) = norm.affine() else { return Err(Stop::Lost) };
        let joined = first.iter().zip(&then).zip(scale.iter().zip(shift));
        let (scale, shift) = joined.map(|((a, b), (s, t))| (a * s, b * s + t)).unzip();
        let name = norm.weight("weight").map(|c| c.name.clone()).unwrap_or_default();
        let (layer, weights) = network::scaling(&name, scale, shift);
        let norm = &mut self.network.units[unit];
        (norm.layer, norm.weights) = (layer, weights);
        Ok(())
    }

    /// A bias as `out` numbers.
    fn vector(&mut self, bias: Option<Arc<Constant>>, out: usize) -> Result<Option<Arc<Constant>>, Stop> {
        let Some(bias) = bias else { return Ok(None) };
        if bias.dims == [out] {
            return Ok(Some(bias));
        }
        self.memory.charge_tensor(&[out], 4, "a bias")?;
        let data = match (bias.scalar(), bias.elements() == out) {
            (_, true) => Numbers::Floats(bias.floats().into_owned()),
            #[expect(clippy::cast_possible_truncation, reason = "it was one")]
            (Some(v), _) => Numbers::Repeated(v as f32),
            (None, false) => {
                return refused(
                    format!("its bias has the shape {:?}", bias.dims),
                    "use one number an output",
                );
            }
        };
        Ok(Some(Arc::new(Constant { name: bias.name.clone(), dims: vec![out], data })))
    }

    fn transposed(&mut self, matrix: &Constant) -> Result<Arc<Constant>, Stop> {
        if matrix.dims.len() != 2 {
            return refused(
                format!("its matrix has the shape {:?}", matrix.dims),
                "use a matrix of two axes",
            );
        }
        Ok(Arc::new(fold::permuted(matrix, &[1, 0], self.memory)?))
    }

    fn times(&mut self, constant: Arc<Constant>, factor: f32) -> Result<Arc<Constant>, Stop> {
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        if factor == 1.0 {
            return Ok(constant);
        }
        self.memory.charge_tensor(&constant.dims, 4, &format!("`{}` scaled", constant.name))?;
        let data = match &constant.data {
            Numbers::Repeated(v) => Numbers::Repeated(v * factor),
            Numbers::Floats(_) | Numbers::Integers(_) => {
                Numbers::Floats(constant.floats().iter().map(|v| v * factor).collect())
            }
        };
        Ok(Arc::new(Constant { name: constant.name.clone(), dims: constant.dims.clone(), data }))
    }
}

/// The taps of an odd square kernel that are in use: what a middle row and column hold need not be computed
/// elsewhere.
fn support(weight: &Constant, (rows, columns): (usize, usize)) -> Support {
    let Numbers::Floats(data) = &weight.data else { return Support::Full };
    let out = weight.dims.first().copied().unwrap_or(0);
    if rows != columns || rows < 3 || rows.is_multiple_of(2) || out == 0 {
        return Support::Full;
    }
    let per = (data.len() / out).max(1);
    let fits = |support: Support| {
        data.iter().enumerate().all(|(i, v)| {
            let tap = i % (rows * columns);
            *v == 0.0 || support.has((tap / columns, tap % columns), (rows, columns), i / per, out)
        })
    };
    [Support::Strips, Support::Cross].into_iter().find(|s| fits(*s)).unwrap_or(Support::Full)
}
