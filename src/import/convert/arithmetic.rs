//! Sums, products and powers of each element.
//!
//! With one number they stay a polynomial of the value; with one number a channel they are a bias of the
//! layer before, or a batch normalisation; between two layers' values only sums are layers.

use super::{Converter, Curve, Flow, Site, Stop, Value, refused};
use crate::import::constant::{Constant, Numbers};
use crate::import::view::Axis;
use crate::layers::{Layer, Linear};
use std::sync::Arc;

/// A channel's numbers, by which it is multiplied or which are added.
enum PerChannel {
    Times(Vec<f32>),
    Plus(Vec<f32>, String),
}

impl<'a> Converter<'a> {
    /// `Add`, `Sub`, `Mul`, `Div`.
    pub(super) fn arithmetic(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let (left, right) = (self.taken(site, 0)?, self.taken(site, 1)?);
        let (flow, constant, flow_first) = match (left, right) {
            (Value::Flow(a), Value::Flow(b)) => return self.between(site, &a, &b).map(Value::Flow),
            (Value::Flow(flow), Value::Known(constant)) => (flow, constant, true),
            (Value::Known(constant), Value::Flow(flow)) => (flow, constant, false),
            (_, _) => return Err(Stop::Lost),
        };
        self.with_constant(site, site.op(), flow, &constant, flow_first).map(Value::Flow)
    }

    /// A flow `op` a constant, or the other way round.
    fn with_constant(
        &mut self,
        site: &Site<'a>,
        op: &str,
        flow: Flow,
        constant: &Arc<Constant>,
        flow_first: bool,
    ) -> Result<Flow, Stop> {
        if flow.frame != [0; 4] {
            return refused(
                "reads an image that `Pad` has framed",
                "pad right before a convolution or a pool",
            );
        }
        let small = constant.dims.len() <= flow.view.dims().len();
        let Some(v) = constant.scalar().filter(|_| small) else {
            return self.with_vector(site, op, &flow, constant, flow_first);
        };
        let Curve { a, b, c } = flow.curve;
        let curve = match (op, flow_first) {
            ("Add", _) => Curve { c: c + v, ..flow.curve },
            ("Sub", true) => Curve { c: c - v, ..flow.curve },
            ("Sub", false) => Curve { a: -a, b: -b, c: v - c },
            ("Mul", _) => Curve { a: a * v, b: b * v, c: c * v },
            ("Div", true) if v != 0.0 => Curve { a: a / v, b: b / v, c: c / v },
            _ => return refused("divides by the image, or by zero", "use sums and products"),
        };
        Ok(Flow { curve, ..flow })
    }

    /// A flow and one number a channel.
    fn with_vector(
        &mut self,
        site: &Site<'a>,
        op: &str,
        flow: &Flow,
        constant: &Arc<Constant>,
        flow_first: bool,
    ) -> Result<Flow, Stop> {
        let flow = self.curved(&site.name, flow)?;
        self.memory.charge_tensor(&[self.network.shape(flow.unit).channels()], 24, "a scaling")?;
        let Some(vector) = self.by_channel(&flow, constant) else {
            return refused(
                format!("a constant of shape {:?} with a {:?} tensor", constant.dims, flow.view.dims()),
                "use one number, or one a channel",
            );
        };
        let negated = |v: Vec<f32>| v.into_iter().map(|v| -v).collect();
        let name = constant.name.clone();
        Ok(match (op, flow_first) {
            ("Add", _) => self.channelwise(site, flow, PerChannel::Plus(vector, name))?,
            ("Sub", true) => self.channelwise(site, flow, PerChannel::Plus(negated(vector), name))?,
            ("Mul", _) => self.channelwise(site, flow, PerChannel::Times(vector))?,
            ("Div", true) if vector.iter().all(|v| *v != 0.0) => {
                let inverse = vector.into_iter().map(|v| 1.0 / v).collect();
                self.channelwise(site, flow, PerChannel::Times(inverse))?
            }
            ("Sub", false) => {
                let flipped = Flow { curve: Curve { a: 0.0, b: -1.0, c: 0.0 }, ..flow };
                let flipped = self.curved(&site.name, &flipped)?;
                self.channelwise(site, flipped, PerChannel::Plus(vector, name))?
            }
            _ => return refused("divides by the image, or by zero", "use sums and products"),
        })
    }

    /// Into the bias of the layer before, into the batch normalisation before, or as one of its own.
    fn channelwise(&mut self, site: &Site<'a>, flow: Flow, what: PerChannel) -> Result<Flow, Stop> {
        let alone = flow.sole;
        let before = &self.network.units[flow.unit];
        if alone && matches!(before.layer, Layer::BatchNorm(_)) {
            let (scale, shift) = match what {
                PerChannel::Times(v) => (v.clone(), vec![0.0; v.len()]),
                PerChannel::Plus(v, _) => (vec![1.0; v.len()], v),
            };
            self.scaled_again(flow.unit, &scale, &shift)?;
            return Ok(flow);
        }
        let (scale, shift) = match what {
            PerChannel::Plus(v, name) if alone && unbiased(&before.layer).is_some() => {
                let bias = Constant { name, dims: vec![v.len()], data: Numbers::Floats(v) };
                let unit = &mut self.network.units[flow.unit];
                if let Some(layer) = unbiased(&unit.layer) {
                    unit.layer = layer;
                    unit.weights.push(("bias", Arc::new(bias)));
                }
                return Ok(flow);
            }
            PerChannel::Times(v) => (v.clone(), vec![0.0; v.len()]),
            PerChannel::Plus(v, _) => (vec![1.0; v.len()], v),
        };
        let unit = self.scaled(&site.name, flow.unit, scale, shift)?;
        Ok(Flow { unit, sole: true, ..flow })
    }

    /// The constant as one number a channel of the flow's value, if it is that.
    fn by_channel(&self, flow: &Flow, constant: &Constant) -> Option<Vec<f32>> {
        let dims = flow.view.dims();
        let shape = self.network.shape(flow.unit);
        let extra = constant.dims.len().saturating_sub(dims.len());
        if constant.dims.iter().take(extra).any(|d| *d != 1) {
            return None;
        }
        let own = constant.dims.get(extra..)?;
        let first = dims.len() - own.len();
        let mut long = own.iter().enumerate().filter(|(_, d)| **d != 1);
        let (axis, size) = long.next().map(|(i, d)| (first + i, *d))?;
        let fits =
            long.next().is_none() && dims.get(axis) == Some(&size) && flow.view.is(axis, Axis::C, shape);
        fits.then(|| constant.floats().into_owned())
    }

    /// Two layers' values.
    fn between(&mut self, site: &Site<'a>, a: &Flow, b: &Flow) -> Result<Flow, Stop> {
        let (dims, others) = (self.seen(a), self.seen(b));
        if dims != others {
            return refused(
                format!("joins tensors of shapes {dims:?} and {others:?}"),
                "bring both to one shape; a gate that scales channels by the image is not to be had",
            );
        }
        if a.frame != [0; 4] || b.frame != [0; 4] {
            return refused(
                "reads an image that `Pad` has framed",
                "pad right before a convolution or a pool",
            );
        }
        let same = a.unit == b.unit && a.view == b.view;
        let (p, q) = (a.curve, b.curve);
        match site.op() {
            "Mul" if same && p.a == 0.0 && q.a == 0.0 => {
                let curve = Curve { a: p.b * q.b, b: p.b * q.c + p.c * q.b, c: p.c * q.c };
                Ok(Flow { curve, ..a.clone() })
            }
            "Add" if same => {
                Ok(Flow { curve: Curve { a: p.a + q.a, b: p.b + q.b, c: p.c + q.c }, ..a.clone() })
            }
            "Sub" if same => {
                Ok(Flow { curve: Curve { a: p.a - q.a, b: p.b - q.b, c: p.c - q.c }, ..a.clone() })
            }
            "Add" => self.sum_of(site, &[a.clone(), b.clone()]),
            "Sub" => {
                let minus = Flow { curve: Curve { a: -q.a, b: -q.b, c: -q.c }, ..b.clone() };
                self.sum_of(site, &[a.clone(), minus])
            }
            _ => refused(
                "multiplies or divides two computed tensors",
                "only a tensor with itself can be multiplied (square); leave gates such as squeeze-and-excitation out",
            ),
        }
    }

    /// Values of one shape, and constants that are added to their sum.
    pub(super) fn sum(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let (mut flows, mut constants) = (Vec::new(), Vec::new());
        for i in 0..site.node.input.len() {
            match self.taken(site, i)? {
                Value::Flow(flow) => flows.push(flow),
                Value::Known(constant) => constants.push(constant),
                Value::Lost => return Err(Stop::Lost),
            }
        }
        let sum = match flows.as_slice() {
            [only] => only.clone(),
            [first, rest @ ..] if rest.iter().all(|f| self.seen(f) == self.seen(first)) => {
                self.sum_of(site, &flows)?
            }
            _ => {
                let shapes: Vec<_> = flows.iter().map(|f| format!("{:?}", self.seen(f))).collect();
                return refused(
                    format!("sums tensors of the shapes {}", shapes.join(", ")),
                    "bring all to one shape",
                );
            }
        };
        let add = |sum, constant: &Arc<Constant>| self.with_constant(site, "Add", sum, constant, true);
        constants.iter().try_fold(sum, add).map(Value::Flow)
    }

    fn sum_of(&mut self, site: &Site<'a>, flows: &[Flow]) -> Result<Flow, Stop> {
        let flows = flows.iter().map(|f| self.settle(&site.name, f)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = flows.first() else { return Err(Stop::Lost) };
        let alike =
            |f: &Flow| f.view == first.view && self.network.shape(f.unit) == self.network.shape(first.unit);
        if flows.iter().all(alike) {
            let units: Vec<usize> = flows.iter().map(|f| f.unit).collect();
            let unit = self.network.add(Layer::Add, &units, Vec::new(), &site.name)?;
            return Ok(Flow { unit, sole: true, ..first.clone() });
        }
        let units = flows.iter().map(|f| self.plain_image(&site.name, f)).collect::<Result<Vec<_>, _>>()?;
        let unit = self.network.add(Layer::Add, &units, Vec::new(), &site.name)?;
        Ok(self.natural(unit))
    }

    pub(super) fn power(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let exponent = self.constant_at(site, 1)?.scalar();
        match exponent {
            Some(1.0) => Ok(Value::Flow(flow)),
            Some(2.0) if flow.curve.a == 0.0 => {
                let Curve { b, c, .. } = flow.curve;
                Ok(Value::Flow(Flow { curve: Curve { a: b * b, b: 2.0 * b * c, c: c * c }, ..flow }))
            }
            other => refused(format!("raises to the power {other:?}"), "use the power 2 (square)"),
        }
    }

    pub(super) fn negated(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let Curve { a, b, c } = flow.curve;
        Ok(Value::Flow(Flow { curve: Curve { a: -a, b: -b, c: -c }, ..flow }))
    }
}

/// The layer with a bias, if it is linear and has none.
fn unbiased(layer: &Layer) -> Option<Layer> {
    if let Layer::Conv(conv) = layer
        && conv.bias == Some(false)
    {
        return Some(Layer::Conv(crate::layers::Conv { bias: Some(true), ..*conv }));
    }
    if let Layer::Linear(linear) = layer
        && linear.bias == Some(false)
    {
        return Some(Layer::Linear(Linear { bias: Some(true), ..*linear }));
    }
    None
}
