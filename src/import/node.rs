//! An ONNX node's attributes, by name.

use super::constant::{self, Constant};
use super::memory::Memory;
use rten_onnx::onnx::{AttributeProto, NodeProto};

/// The attributes of one node. A missing attribute has the default that the specification gives.
pub(super) struct Attributes<'a>(pub(super) &'a NodeProto);

/// The most bytes of a tensor within an attribute that is read by name.
const SMALL: u64 = 1 << 16;

impl<'a> Attributes<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|a| a.name.as_deref() == Some(name))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).and_then(|a| a.i).unwrap_or(default)
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.find(name).and_then(|a| a.f)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.find(name).and_then(|a| a.s.as_deref())
    }

    /// A list of integers; none if it is absent.
    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|a| a.ints.as_slice()).filter(|ints| !ints.is_empty())
    }

    /// A small tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<Constant> {
        let tensor = self.find(name)?.t.as_ref()?;
        constant::decode(tensor, None, &mut Memory::new(SMALL)).ok()
    }
}

/// The largest kernel, stride or padding: beyond, no map has so many pixels.
pub(super) const MAX_SIZE: usize = 1 << 24;
