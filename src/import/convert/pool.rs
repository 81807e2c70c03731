//! Pools and means.

use super::linear::Window;
use super::{Converter, Flow, Site, Stop, Value, refuse, refused};
use crate::import::shape;
use crate::import::view::Axis;
use crate::layers::{Layer, Pool, PoolKind, Rounding};
use crate::tensor::Pad;

impl<'a> Converter<'a> {
    pub(super) fn max_pool(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let (unit, frame, window) = self.pooled(site)?;
        // Zeros around the image and nothing around it are alike where no value is negative.
        if frame != [0; 4] && !self.never_negative(unit) {
            return refused(
                "its image has zeros around it and may be negative",
                "put relu before the padding",
            );
        }
        let pads: [usize; 4] = std::array::from_fn(|i| window.pads[i].saturating_add(frame[i]));
        self.pool(site, unit, PoolKind::Max, Window { pads, ..window })
    }

    pub(super) fn average_pool(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let (unit, frame, window) = self.pooled(site)?;
        let counted = site.attributes.int("count_include_pad", 0) != 0;
        let (_, h, w) = self.network.shape(unit).chw();
        let map = (h + frame[0] + frame[2], w + frame[1] + frame[3]);
        let own = if counted { window.pads } else { window.reached(map, rounded_up(site)) };
        if own != [0; 4] && !counted {
            return Err(refuse::uneven_mean(site));
        }
        let pads: [usize; 4] = std::array::from_fn(|i| own[i].saturating_add(frame[i]));
        if pads == [0; 4] && window.kernel == (h, w) {
            return self.global(site, unit);
        }
        self.pool(site, unit, PoolKind::Average, Window { pads, ..window })
    }

    /// The image that a pool reads, the zeros around it, and the pool's window.
    fn pooled(&mut self, site: &Site<'a>) -> Result<(usize, [usize; 4], Window), Stop> {
        let flow = self.flow(site, 0)?;
        let [rows, columns] = site.sizes("kernel_shape", "use images, with rows and columns")?;
        let (unit, frame) = self.image(&site.name, &flow)?;
        let (_, h, w) = self.network.shape(unit).chw();
        let map = (h + frame[0] + frame[2], w + frame[1] + frame[3]);
        if rows == 0 || columns == 0 || rows > map.0.saturating_mul(2) || columns > map.1.saturating_mul(2) {
            return refused(
                format!("a {rows}x{columns} window on a {}x{} image", map.0, map.1),
                "use a smaller window",
            );
        }
        Ok((unit, frame, Self::window(site, (rows, columns), map)?))
    }

    fn pool(&mut self, site: &Site<'a>, unit: usize, kind: PoolKind, window: Window) -> Result<Value, Stop> {
        let (_, h, w) = self.network.shape(unit).chw();
        let up = rounded_up(site);
        let [top, left, bottom, right] = window.pads;
        let wanted = (
            windows(h, window.kernel.0, window.stride.0, (top, bottom), up),
            windows(w, window.kernel.1, window.stride.1, (left, right), up),
        );
        let pool = |rounding| Pool {
            kind,
            kernel: window.kernel,
            stride: window.stride,
            pad: Pad { h: top, w: left },
            rounding,
        };
        // Where opposite sides differ, it matters only if that gives another number of windows.
        let fits = |pool: &Pool| {
            let found = Layer::Pool(*pool).infer(&[self.network.shape(unit)]);
            found.is_ok_and(|found| (Some(found.chw().1), Some(found.chw().2)) == wanted)
        };
        let candidates = match kind {
            // Of a window that ends beyond the padding, the mean is over fewer pixels.
            PoolKind::Average if window.beyond((h, w), up) => vec![],
            PoolKind::Average | PoolKind::GlobalAverage => vec![pool(Rounding::Down)],
            PoolKind::Max => vec![pool(Rounding::Down), pool(Rounding::Up)],
        };
        let Some(layer) = candidates.into_iter().find(fits) else {
            return refused(
                "its padding is not the same on opposite sides, or its last windows reach beyond the image",
                "pad equally on all sides, and round the number of windows down (ceil_mode = 0)",
            );
        };
        let unit = self.network.add(Layer::Pool(layer), &[unit], Vec::new(), &site.name)?;
        Ok(Value::Flow(self.natural(unit)))
    }

    pub(super) fn global_average(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let unit = self.plain_image(&site.name, &flow)?;
        self.global(site, unit)
    }

    /// The mean of an image's map; features are their own.
    fn global(&mut self, site: &Site<'a>, unit: usize) -> Result<Value, Stop> {
        if !self.network.shape(unit).is_image() {
            return Ok(Value::Flow(self.as_pixel(unit)));
        }
        let unit = self.mean(site, unit)?;
        Ok(Value::Flow(self.as_pixel(unit)))
    }

    fn mean(&mut self, site: &Site<'a>, unit: usize) -> Result<usize, Stop> {
        let (_, h, w) = self.network.shape(unit).chw();
        let kind = PoolKind::GlobalAverage;
        let pool =
            Pool { kind, kernel: (h, w), stride: (h, w), pad: Pad { h: 0, w: 0 }, rounding: Rounding::Down };
        Ok(self.network.add(Layer::Pool(pool), &[unit], Vec::new(), &site.name)?)
    }

    pub(super) fn global_max(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let unit = self.plain_image(&site.name, &flow)?;
        if !self.network.shape(unit).is_image() {
            return Ok(Value::Flow(self.as_pixel(unit)));
        }
        let (_, h, w) = self.network.shape(unit).chw();
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: (h, w),
            stride: (h, w),
            pad: Pad { h: 0, w: 0 },
            rounding: Rounding::Down,
        };
        let unit = self.network.add(Layer::Pool(pool), &[unit], Vec::new(), &site.name)?;
        Ok(Value::Flow(self.natural(unit)))
    }

    /// The mean over rows and columns, wherever they stand.
    pub(super) fn reduce_mean(&mut self, site: &Site<'a>) -> Result<Value, Stop> {
        let flow = self.flow(site, 0)?;
        let axes = self.optional(site, 1)?;
        let dims = flow.view.dims().to_vec();
        let flow = self.settle(&site.name, &flow)?;
        let shape = self.network.shape(flow.unit).clone();
        let Some(Some(axes)) = shape::axes(axes.as_deref(), &site.attributes, dims.len()) else {
            return refused("its axes are not known", "take the mean over rows and columns");
        };
        let (_, h, w) = shape.chw();
        let reduces = |axis, size: usize| size == 1 || axes.iter().any(|&i| flow.view.is(i, axis, &shape));
        let others = axes
            .iter()
            .all(|&i| dims[i] == 1 || flow.view.is(i, Axis::H, &shape) || flow.view.is(i, Axis::W, &shape));
        let channels = (0..dims.len()).any(|i| flow.view.is(i, Axis::C, &shape)) || shape.channels() == 1;
        if !shape.is_image() || !others || !channels || !reduces(Axis::H, h) || !reduces(Axis::W, w) {
            return refused(
                format!("takes the mean over axes {axes:?} of a {dims:?} tensor"),
                "take it over rows and columns",
            );
        }
        let unit = self.mean(site, flow.unit)?;
        let keep = site.attributes.int("keepdims", 1) != 0;
        let dims = dims
            .iter()
            .enumerate()
            .filter(|(i, _)| keep || !axes.contains(i))
            .map(|(i, &d)| if axes.contains(&i) { 1 } else { d })
            .collect();
        let out = self.natural(unit);
        Ok(Value::Flow(Flow { view: out.view.reshaped(dims), ..out }))
    }
}

impl Window {
    /// Of the padding of a map of `size` pixels, what its windows cover.
    fn reached(&self, size: (usize, usize), up: bool) -> [usize; 4] {
        let [top, left, bottom, right] = self.pads;
        let (kernel, stride) = (self.kernel, self.stride);
        let behind = |size: usize, kernel: usize, stride: usize, pads: (usize, usize)| {
            let count = windows(size, kernel, stride, pads, up)?;
            let end = count.saturating_sub(1).saturating_mul(stride).saturating_add(kernel);
            Some(end.saturating_sub(size.saturating_add(pads.0)))
        };
        let below = behind(size.0, kernel.0, stride.0, (top, bottom)).unwrap_or(bottom);
        let beside = behind(size.1, kernel.1, stride.1, (left, right)).unwrap_or(right);
        [top, left, below, beside]
    }

    /// Whether a window ends beyond the padding.
    fn beyond(&self, size: (usize, usize), up: bool) -> bool {
        self.reached(size, up).iter().zip(self.pads).any(|(reached, pad)| *reached > pad)
    }
}

/// Whether pixels at the end that do not fill a window have one too.
fn rounded_up(site: &Site<'_>) -> bool {
    site.attributes.int("ceil_mode", 0) != 0
}

/// How many windows a side has; none if not even one fits. Rounded up, the last window still begins in the
/// image or in the padding before it.
fn windows(size: usize, kernel: usize, stride: usize, pads: (usize, usize), up: bool) -> Option<usize> {
    let room = size.saturating_add(pads.0).saturating_add(pads.1).checked_sub(kernel)?;
    if !up {
        return Some(room / stride + 1);
    }
    let count = room.div_ceil(stride) + 1;
    let outside = (count - 1).saturating_mul(stride) >= size.saturating_add(pads.0);
    Some(if outside { count - 1 } else { count })
}
