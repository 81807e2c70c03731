//! Activations, and what clips each element.

use super::{Converter, Curve, Flow, Site, Stop, Value, refuse, refused};
use crate::layers::{Activation, Layer};

/// What each element is kept between; none: no bound.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    low: Option<f64>,
    high: Option<f64>,
}

impl Bounds {
    /// Without bounds that no 32-bit float crosses, nor any that is not negative if `natural`.
    fn effective(self, natural: bool) -> Self {
        let low = self.low.filter(|l| *l > f64::from(f32::MIN) && !(natural && *l <= 0.0));
        let high = self.high.filter(|h| *h < f64::from(f32::MAX));
        Self { low, high }
    }

    /// In words.
    fn said(self) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("clips between {low} and {high}"),
            (Some(low), None) => format!("clips from {low} upwards"),
            (None, Some(high)) => format!("clips from {high} downwards"),
            (None, None) => "clips nothing".to_owned(),
        }
    }
}

impl<'a> Converter<'a> {
    pub(super) fn activation(&mut self, site: &Site<'a>, activation: Activation) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        self.elementwise(site, &flow, Layer::Activation(activation)).map(Value::Flow)
    }

    pub(super) fn clip(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let bound = |this: &Self, i: usize, name: &str| match this.optional(site, i)? {
            Some(bound) => match bound.scalar() {
                Some(bound) => Ok(Some(bound)),
                None => refused(
                    format!("its `{name}` has the shape {:?}", bound.dims),
                    "clip all elements by one number",
                ),
            },
            None => Ok(site.attributes.float(name).map(f64::from)),
        };
        let bounds = Bounds { low: bound(self, 1, "min")?, high: bound(self, 2, "max")? };
        self.clipped(site, flow, bounds).map(Value::Flow)
    }

    /// `Max` and `Min` with a number, as older exporters write activations.
    pub(super) fn bounded(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        if site.node.input.len() != 2 {
            return Err(refuse::operator(site.op()));
        }
        let (flow, bound) = match (self.taken(site, 0)?, self.taken(site, 1)?) {
            (Value::Flow(flow), Value::Known(bound)) | (Value::Known(bound), Value::Flow(flow)) => {
                (flow, bound)
            }
            (_, _) => return Err(refuse::operator(site.op())),
        };
        let Some(bound) = bound.scalar().filter(|_| bound.dims.len() <= flow.view.dims().len()) else {
            return Err(refuse::operator(site.op()));
        };
        let bounds = match site.op() {
            "Max" => Bounds { low: Some(bound), high: None },
            _ => Bounds { low: None, high: Some(bound) },
        };
        self.clipped(site, flow, bounds).map(Value::Flow)
    }

    /// From 0 to 6, or from 0 upwards; a bound that changes nothing is none.
    fn clipped(&mut self, site: &Site<'a>, flow: Flow, bounds: Bounds) -> Result<Flow, Stop> {
        if [bounds.low, bounds.high].into_iter().flatten().any(f64::is_nan) {
            return refused(
                "clips by what is not a number".to_owned(),
                "clip from 0 to 6, or from 0 upwards",
            );
        }
        let natural = flow.curve == Curve::SAME && self.never_negative(flow.unit);
        match bounds.effective(natural) {
            Bounds { low: None, high: None } => Ok(flow),
            Bounds { low: Some(0.0), high: None } => {
                self.elementwise(site, &flow, Layer::Activation(Activation::Relu))
            }
            Bounds { low, high: Some(6.0) } if low == Some(0.0) || (natural && low.is_none()) => {
                let before = &self.network.units[flow.unit];
                let relu = natural && before.layer == Layer::Activation(Activation::Relu);
                // One activation for both.
                let unit = before.operands.first().copied().filter(|_| relu).unwrap_or(flow.unit);
                self.elementwise(site, &Flow { unit, ..flow }, Layer::Activation(Activation::Relu6))
            }
            _ => refused(
                bounds.said(),
                "use a range of 0 to 6 (relu6), or from 0 upwards (relu); 6 alone serves where no value is negative",
            ),
        }
    }

    /// A layer of each element that leaves zeros as they are, applied to the value itself; the view stays.
    fn elementwise(&mut self, site: &Site<'a>, flow: &Flow, layer: Layer) -> Result<Flow, Stop> {
        let flow = self.curved(&site.name, flow)?;
        let unit = self.network.add(layer, &[flow.unit], Vec::new(), &site.name)?;
        Ok(Flow { unit, sole: true, ..flow })
    }

    /// Whether a unit's values are known not to be negative.
    pub(super) fn never_negative(&self, unit: usize) -> bool {
        let mut at = unit;
        loop {
            let unit = &self.network.units[at];
            match (&unit.layer, unit.operands.as_slice()) {
                (Layer::Activation(a), _) => {
                    return matches!(a, Activation::Relu | Activation::Relu6 | Activation::Square);
                }
                (
                    Layer::Pool(_)
                    | Layer::Shuffle(_)
                    | Layer::Subsample(_)
                    | Layer::PadChannels(_)
                    | Layer::Flatten,
                    &[before],
                ) => {
                    at = before;
                }
                _ => return false,
            }
        }
    }
}
