//! The numbers that plain layers compute with: floats and integers.
//!
//! Every sum runs in one fixed order, so that a float result depends on neither thread count nor tiling.
//! Integers wrap; who calls with integers has bounded the sums before.

/// A number that linear layers, pools and sums work on.
pub(crate) trait Number: Copy + Send + Sync + PartialOrd + Default {
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
}

impl Number for f32 {
    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }
}

impl Number for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
}

/// The inner product, over eight interleaved partial sums.
pub(super) fn dot<T: Number, W: Copy + Into<T>>(row: &[W], x: &[T]) -> T {
    let mut lanes = [T::default(); 8];
    let (row_blocks, x_blocks) = (row.chunks_exact(8), x.chunks_exact(8));
    let tail = row_blocks.remainder().iter().zip(x_blocks.remainder());
    for (w, v) in row_blocks.zip(x_blocks) {
        for ((lane, &w), &v) in lanes.iter_mut().zip(w).zip(v) {
            *lane = lane.plus(v.times(w.into()));
        }
    }
    let sum = lanes.into_iter().fold(T::default(), T::plus);
    tail.fold(sum, |sum, (&w, &v)| sum.plus(v.times(w.into())))
}

/// Adds `weight * line` to `sums` for each pair, four lines at a time.
pub(super) fn accumulate<T: Number>(sums: &mut [T], terms: &[(T, &[T])]) {
    let mut blocks = terms.chunks_exact(4);
    for block in &mut blocks {
        let [(w0, l0), (w1, l1), (w2, l2), (w3, l3)] = *block else { continue };
        let lines = l0.iter().zip(l1).zip(l2.iter().zip(l3));
        for (sum, ((&a, &b), (&c, &d))) in sums.iter_mut().zip(lines) {
            let pairs = (a.times(w0).plus(b.times(w1)), c.times(w2).plus(d.times(w3)));
            *sum = sum.plus(pairs.0.plus(pairs.1));
        }
    }
    for &(w, line) in blocks.remainder() {
        for (sum, &v) in sums.iter_mut().zip(line) {
            *sum = sum.plus(v.times(w));
        }
    }
}
