//! Packed bits, and what a batch of random oblivious transfers leaves with each party.

use std::fmt;
use zeroize::Zeroize;

/// Packed bits: bit j of the vector is bit (j % 64) of word j / 64; unused high bits are 0.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bits {
    /// `len.div_ceil(64)` words.
    pub words: Vec<u64>,
    /// How many bits.
    pub len: usize,
}

impl Bits {
    /// Zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// Bit `j`, which must be below `len`.
    #[must_use]
    pub fn get(&self, j: usize) -> bool {
        self.words[j / 64] >> (j % 64) & 1 == 1
    }

    /// Clears what lies after the end.
    pub(crate) fn trim(&mut self) {
        self.words.truncate(self.len.div_ceil(64));
        if let (Some(last), used @ 1..) = (self.words.last_mut(), self.len % 64) {
            *last &= (1 << used) - 1;
        }
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits(len = {})", self.len)
    }
}

impl Zeroize for Bits {
    fn zeroize(&mut self) {
        self.words.zeroize();
        self.len = 0;
    }
}

/// The sender's half of random transfers of one word each: two uniform words a transfer.
#[derive(Clone, PartialEq, Eq)]
pub struct SenderOts {
    /// What the receiver gets where it chose 0, masked to the width.
    pub zero: Vec<u64>,
    /// What the receiver gets where it chose 1, masked to the width.
    pub one: Vec<u64>,
}

/// The receiver's half of random transfers of one word each.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverOts {
    /// Uniform choice bits.
    pub choice: Bits,
    /// `got[j]` is the sender's `one[j]` where choice j is 1, otherwise its `zero[j]`.
    pub got: Vec<u64>,
}

/// The sender's half of random transfers of one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct SenderBitOts {
    /// What the receiver gets where it chose 0.
    pub zero: Bits,
    /// What the receiver gets where it chose 1.
    pub one: Bits,
}

/// The receiver's half of random transfers of one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiverBitOts {
    /// Uniform choice bits.
    pub choice: Bits,
    /// Bit j is the sender's `one` bit j where choice j is 1, otherwise its `zero` bit j.
    pub got: Bits,
}

macro_rules! hidden {
    ($($kind:ident: $len:expr;)*) => { $(
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let len: fn(&Self) -> usize = $len;
                write!(f, "{}({})", stringify!($kind), len(self))
            }
        }
    )* };
}

hidden! {
    SenderOts: |ots| ots.zero.len();
    ReceiverOts: |ots| ots.got.len();
    SenderBitOts: |ots| ots.zero.len;
    ReceiverBitOts: |ots| ots.got.len;
}
