//! Operators that show the same numbers in another order, put tensors side by side, or take parts of them.

use super::{Converter, Flow, Site, Stop, Value, refused, small};
use crate::import::constant::{Constant, Numbers};
use crate::import::shape;
use crate::import::view::{Axis, View};
use crate::layers::{Layer, PadChannels, Subsample};

/// The shape that `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze` gives a tensor of `dims`, `second` being its
/// known second operand; none if it gives none.
pub(super) fn target(
    site: &Site<'_>,
    dims: &[usize],
    second: Option<&Constant>,
    batch: Option<usize>,
) -> Option<Vec<usize>> {
    let given = &site.attributes;
    match site.op() {
        "Reshape" => shape::reshape(dims, second?.integers()?, given.int("allowzero", 0) != 0, batch),
        "Flatten" => {
            let axis = given.int("axis", 1);
            let axis = if usize::try_from(axis) == Ok(dims.len()) {
                dims.len()
            } else {
                shape::axis(axis, dims.len())?
            };
            let product = |dims: &[usize]| dims.iter().fold(1_usize, |n, &d| n.saturating_mul(d));
            Some(vec![product(&dims[..axis]), product(&dims[axis..])])
        }
        "Squeeze" => {
            let axes = shape::axes(second, given, dims.len())?;
            let gone = |i: usize, d: usize| axes.as_ref().map_or(d == 1, |axes| axes.contains(&i));
            if dims.iter().enumerate().any(|(i, &d)| gone(i, d) && d != 1) {
                return None;
            }
            Some(dims.iter().enumerate().filter(|(i, d)| !gone(*i, **d)).map(|(_, &d)| d).collect())
        }
        "Unsqueeze" => {
            let count =
                second.map_or_else(|| given.ints("axes").map(<[i64]>::len), |c| Some(c.elements()))?;
            let rank = dims.len().checked_add(count)?;
            let axes = shape::axes(second, given, rank)??;
            if axes.len() != count {
                return None;
            }
            let mut rest = dims.iter().copied();
            (0..rank).map(|i| if axes.contains(&i) { Some(1) } else { rest.next() }).collect()
        }
        _ => None,
    }
}

/// What `Shape` gives for a tensor of `dims`.
pub(super) fn shape_of(site: &Site<'_>, dims: &[usize]) -> Constant {
    let bound = |name: &str, default: i64| {
        let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
        let given = site.attributes.int(name, default);
        let at = if given < 0 { given.saturating_add(rank) } else { given }.clamp(0, rank);
        usize::try_from(at).unwrap_or(0)
    };
    let (start, end) = (bound("start", 0), bound("end", i64::MAX));
    let sizes: Vec<i64> = dims
        .get(start..end)
        .unwrap_or_default()
        .iter()
        .map(|&d| i64::try_from(d).unwrap_or(i64::MAX))
        .collect();
    Constant { name: site.name.clone(), dims: vec![sizes.len()], data: Numbers::Integers(sizes) }
}

impl<'a> Converter<'a> {
    pub(super) fn reshape(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        if flow.frame != [0; 4] {
            return refused(
                "reads an image that `Pad` has framed",
                "pad right before a convolution or a pool",
            );
        }
        let second = self.optional(site, 1)?;
        let dims = target(site, flow.view.dims(), second.as_deref(), self.batch);
        match dims {
            Some(dims) => Ok(Value::Flow(Flow { view: flow.view.reshaped(dims), ..flow })),
            None => refused(
                format!("does not fit a {:?} tensor of one image", flow.view.dims()),
                "export the network with a batch of 1",
            ),
        }
    }

    pub(super) fn transpose(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let order = shape::permutation(site.attributes.ints("perm"), flow.view.dims().len());
        let view = order.and_then(|order| flow.view.transposed(&order));
        let shape = self.network.shape(flow.unit);
        let image = |view: &View| *view == View::of(shape) || *view == View::channels_last(shape);
        if flow.frame != [0; 4] && !view.as_ref().is_some_and(image) {
            return refused(
                "reads an image that `Pad` has framed",
                "pad right before a convolution or a pool",
            );
        }
        match view {
            Some(view) => Ok(Value::Flow(Flow { view, ..flow })),
            None => refused(
                format!("permutes axes of a {:?} tensor that are not whole", flow.view.dims()),
                "split channels evenly before transposing",
            ),
        }
    }

    pub(super) fn concat(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let count = site.node.input.len();
        let flows = (0..count).map(|i| self.flow(site, i)).collect::<Result<Vec<_>, _>>()?;
        let flows = flows.iter().map(|f| self.settle(&site.name, f)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = flows.first() else { return Err(Stop::Lost) };
        let axis = shape::axis(site.attributes.int("axis", 1), first.view.dims().len());
        let along_channels = |f: &Flow| {
            let shape = self.network.shape(f.unit);
            axis.is_some_and(|axis| f.view.is(axis, Axis::C, shape))
        };
        let natural = |f: &Flow| *f.view.dims() == *View::of(self.network.shape(f.unit)).dims();
        let units: Vec<usize> = if flows.iter().all(natural) && axis == Some(1) {
            flows.iter().map(|f| self.in_order(site, f)).collect::<Result<_, _>>()?
        } else if flows.iter().all(along_channels) {
            flows.iter().map(|f| f.unit).collect()
        } else {
            return refused(
                format!("joins {:?} tensors along axis {axis:?}", first.view.dims()),
                "join channels",
            );
        };
        if let [only] = flows.as_slice() {
            return Ok(Value::Flow(only.clone()));
        }
        let unit = self.network.add(Layer::Concat, &units, Vec::new(), &site.name)?;
        self.seen_as(first, unit).map(Value::Flow)
    }

    /// The unit of an image or of features in their own order.
    fn in_order(&mut self, site: &Site<'a>, flow: &Flow) -> Result<usize, Stop> {
        let shape = self.network.shape(flow.unit);
        if flow.view.is_natural(shape) { Ok(flow.unit) } else { self.plain_image(&site.name, flow) }
    }

    /// The value of `unit` in the order in which `like` is seen, or in its own if that is not another.
    fn seen_as(&self, like: &Flow, unit: usize) -> Result<Flow, Stop> {
        let (from, to) = (self.network.shape(like.unit), self.network.shape(unit));
        if *like.view.dims() == *View::of(from).dims() {
            return Ok(self.natural(unit));
        }
        match like.view.resized(from, to) {
            Some(view) => Ok(Flow { view, ..self.natural(unit) }),
            None => refused(
                format!("changes a {:?} tensor", like.view.dims()),
                "keep images in the order [1, C, H, W]",
            ),
        }
    }

    /// Zeros around an image go into the layer behind; zero channels are a layer.
    pub(super) fn pad(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let rank = flow.view.dims().len();
        let pads = match self.optional(site, 1)? {
            Some(pads) => pads.integers().map(<[i64]>::to_vec),
            None => site.attributes.ints("pads").map(<[i64]>::to_vec),
        };
        let along = match self.optional(site, 3)? {
            Some(axes) => axes.integers().and_then(|a| a.iter().map(|&a| shape::axis(a, rank)).collect()),
            None => Some((0..rank).collect::<Vec<_>>()),
        };
        let (Some(pads), Some(along)) = (pads, along) else {
            return refused("its padding is not known", "give the padding as constants");
        };
        let Some(sizes) = small(&pads, "its padding")? else {
            return refused("crops", "crop the image before the network");
        };
        if sizes.len() != 2 * along.len() {
            return refused(
                format!("its padding is {} numbers for {} axes", sizes.len(), along.len()),
                "check the model with ONNX's own checker",
            );
        }
        let mut sides = vec![(0, 0); rank];
        for (i, &axis) in along.iter().enumerate() {
            sides[axis] = (sizes[i], sizes[along.len() + i]);
        }
        if sides.iter().all(|s| *s == (0, 0)) {
            return Ok(Value::Flow(flow));
        }
        let value = self
            .optional(site, 2)?
            .map_or_else(|| site.attributes.float("value").map(f64::from), |v| v.scalar());
        if site.attributes.text("mode").unwrap_or("constant") != "constant" || value.is_some_and(|v| v != 0.0)
        {
            return refused("pads with something else than zeros", "pad with zeros");
        }
        self.padded(site, &flow, &sides).map(Value::Flow)
    }

    fn padded(&mut self, site: &Site<'a>, flow: &Flow, sides: &[(usize, usize)]) -> Result<Flow, Stop> {
        let flow = self.curved(&site.name, flow)?;
        let shape = self.network.shape(flow.unit).clone();
        let last = flow.view == View::channels_last(&shape) && shape.is_image();
        let sides = match *sides {
            [(0, 0), h, w, c] if last => [c, h, w],
            [(0, 0), c, h, w] => [c, h, w],
            [(0, 0), c] if !shape.is_image() => [c, (0, 0), (0, 0)],
            _ => return refused("pads a tensor that is no image", "pad images"),
        };
        let [(before, after), (top, bottom), (left, right)] = sides;
        let mut flow = if last || !shape.is_image() {
            flow
        } else {
            let (unit, frame) = self.image(&site.name, &flow)?;
            Flow { frame, ..self.natural(unit) }
        };
        if (before, after) != (0, 0) {
            let layer = Layer::PadChannels(PadChannels { before, after });
            let unit = self.network.add(layer, &[flow.unit], Vec::new(), &site.name)?;
            let frame = flow.frame;
            flow = Flow { frame, ..self.seen_as(&flow, unit)? };
        }
        for (side, more) in flow.frame.iter_mut().zip([top, left, bottom, right]) {
            *side += more;
        }
        Ok(flow)
    }

    /// Every so many rows and columns.
    pub(super) fn slice(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let flow = self.settle(&site.name, &flow)?;
        let dims = flow.view.dims().to_vec();
        let others =
            (1..site.node.input.len()).map(|i| self.optional(site, i)).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<Option<&Constant>> =
            std::iter::once(None).chain(others.iter().map(Option::as_deref)).collect();
        let strides = shape::slices(dims.len(), &inputs, &site.attributes).and_then(|ranges| {
            ranges.iter().zip(&dims).map(|(r, &d)| r.stride(d)).collect::<Option<Vec<_>>>()
        });
        let only_stride =
            "takes a part of a tensor; only every so many rows and columns of the whole can be taken";
        let Some(strides) = strides else {
            return refused(
                only_stride,
                "use a convolution that selects channels, or crop the image before the network",
            );
        };
        if strides.iter().zip(&dims).all(|(&s, &d)| s == 1 || d == 1) {
            return Ok(Value::Flow(flow));
        }
        let shape = self.network.shape(flow.unit).clone();
        let along = |axis| {
            strides
                .iter()
                .enumerate()
                .find(|(i, s)| **s > 1 && flow.view.is(*i, axis, &shape))
                .map(|(_, &s)| s)
        };
        let stride = (along(Axis::H).unwrap_or(1), along(Axis::W).unwrap_or(1));
        let named = strides.iter().zip(&dims).filter(|(s, d)| **s > 1 && **d > 1).count();
        if !shape.is_image() || named != usize::from(stride.0 > 1) + usize::from(stride.1 > 1) {
            return refused(
                only_stride,
                "use a convolution that selects channels, or crop the image before the network",
            );
        }
        let unit = self.subsampled(site, &flow, stride)?;
        self.seen_as(&flow, unit).map(Value::Flow)
    }

    /// Two of them behind each other, rows and columns, are one.
    fn subsampled(&mut self, site: &Site<'a>, flow: &Flow, stride: (usize, usize)) -> Result<usize, Stop> {
        let before = &self.network.units[flow.unit];
        if let (Layer::Subsample(first), &[source], true) =
            (&before.layer, before.operands.as_slice(), flow.sole)
        {
            let stride = (first.stride.0.saturating_mul(stride.0), first.stride.1.saturating_mul(stride.1));
            return Ok(self.network.add(
                Layer::Subsample(Subsample { stride }),
                &[source],
                Vec::new(),
                &site.name,
            )?);
        }
        Ok(self.network.add(Layer::Subsample(Subsample { stride }), &[flow.unit], Vec::new(), &site.name)?)
    }
}
