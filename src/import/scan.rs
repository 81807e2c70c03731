//! A look at the bytes of an ONNX file before they are decoded.
//!
//! Protocol Buffers name the length of every message and text in front of it, and messages may nest. The scan
//! checks that every length lies within the message around it and that nothing nests too deeply, and sums up
//! what decoding would allocate, without allocating anything itself. Only what the decoder enters is entered.

use super::error::ImportError;

/// Messages within messages; a model without subgraphs has seven levels.
const MAX_DEPTH: usize = 32;

/// The messages of `onnx.proto` that the decoder enters.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    /// One without messages in it.
    Leaf,
}

impl Message {
    /// The message in field `number`; none for texts, bytes and what is skipped.
    fn within(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6) => Self::Graph,
            (Self::Model, 8 | 14) | (Self::Tensor, 13) | (Self::Shape, 1) => Self::Leaf,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Node, 5) => Self::Attribute,
            (Self::ValueInfo, 2) | (Self::SequenceType, 1) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::Type, 4) => Self::SequenceType,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }

    /// Bytes of the decoded message itself, with room for a vector that grows by doubling.
    fn size(self) -> u64 {
        match self {
            Self::Attribute => 2048,
            Self::Tensor | Self::Graph | Self::Node => 1024,
            Self::Model
            | Self::ValueInfo
            | Self::Type
            | Self::TensorType
            | Self::SequenceType
            | Self::Shape
            | Self::Leaf => 512,
        }
    }

    /// Decoded bytes for each byte of a field that is no message: numbers of one byte become eight, and
    /// their vector may be twice as long.
    fn growth(self, number: u64) -> u64 {
        match (self, number) {
            (Self::Tensor, 4 | 5 | 7 | 10) => 16,
            _ => 1,
        }
    }
}

/// Checks the structure of `bytes`; gives about how many bytes the decoded model takes, at least that many.
///
/// # Errors
/// [`ImportError::Malformed`], with the byte at which it was found.
pub(super) fn scan(bytes: &[u8]) -> Result<u64, ImportError> {
    let mut at = 0;
    let mut open = vec![(Message::Model, bytes.len())];
    let mut needed = 0_u64;
    while let Some(&(message, end)) = open.last() {
        if at >= end {
            open.pop();
            continue;
        }
        let within = bytes.get(..end).unwrap_or_default();
        let tag = varint(within, &mut at)?;
        let number = tag >> 3;
        needed = needed.saturating_add(16);
        match tag & 7 {
            0 => drop(varint(within, &mut at)?),
            1 => skip(within, &mut at, 8)?,
            5 => skip(within, &mut at, 4)?,
            2 => {
                let length = varint(within, &mut at)?;
                let start = at;
                skip(within, &mut at, length)?;
                needed = needed.saturating_add(64 + length.saturating_mul(message.growth(number)));
                if let Some(inner) = message.within(number) {
                    if open.len() >= MAX_DEPTH {
                        return Err(ImportError::Malformed { at: start, fault: "messages nest too deeply" });
                    }
                    needed = needed.saturating_add(inner.size());
                    open.push((inner, at));
                    at = start;
                }
            }
            3 | 4 => {}
            _ => return Err(ImportError::Malformed { at, fault: "a field of no known kind" }),
        }
    }
    Ok(needed)
}

fn varint(within: &[u8], at: &mut usize) -> Result<u64, ImportError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some(&byte) = within.get(*at) else {
            return Err(ImportError::Malformed { at: *at, fault: "it ends within a number" });
        };
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(ImportError::Malformed { at: *at, fault: "a number of more than 64 bits" })
}

fn skip(within: &[u8], at: &mut usize, length: u64) -> Result<(), ImportError> {
    let end = usize::try_from(length).ok().and_then(|n| at.checked_add(n)).filter(|end| *end <= within.len());
    match end {
        Some(end) => {
            *at = end;
            Ok(())
        }
        None => Err(ImportError::Malformed { at: *at, fault: "a field is longer than what it stands in" }),
    }
}

#[cfg(test)]
mod tests {
    use super::scan;

    /// A field of bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 128 {
            bytes.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn lengths_beyond_the_message_are_found() {
        let node = field(1, &field(3, b"name"));
        assert!(scan(&field(7, &node)).is_ok());
        let mut cut = field(7, &node);
        cut.pop();
        assert!(scan(&cut).is_err());
        let mut longer = field(7, &node);
        longer[3] += 1;
        assert!(scan(&longer).is_err(), "the node is longer than the graph");
        assert!(scan(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }

    #[test]
    fn subgraphs_in_subgraphs_are_refused() {
        let mut graph = Vec::new();
        for _ in 0..10 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(scan(&field(7, &graph)).is_ok());
        for _ in 0..1000 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(scan(&field(7, &graph)).is_err());
    }

    #[test]
    fn many_small_messages_count() {
        let graph: Vec<u8> = std::iter::repeat_n([10, 0], 1000).flatten().collect();
        assert!(scan(&field(7, &graph)).unwrap() > 500_000);
    }
}
