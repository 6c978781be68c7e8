//! Dot products: how the rows of a matrix are gone through, and the blocks of a row. The same for all levels, whose modules say how
//! some blocks are added up.

/// So many rows of activations share one reading of the weights.
pub(super) const DOT_TOKENS: usize = 4;

/// Goes through rows of weights one after the other, and for each through the activations, at most [`DOT_TOKENS`] at a time.
macro_rules! each_row {
    ($dot:ident $(::<$fixed:literal>)?, $bytes:expr, $weights:expr, $x:expr, $out:expr, $rows:expr) => {{
        let (weights, x, out, bytes, rows) = ($weights, $x, $out, $bytes, $rows);
        for row in rows {
            let start = weights[row * bytes..][..bytes].as_ptr();
            let mut token = 0;
            macro_rules! some {
                ($count:literal) => {{
                    // SAFETY: the row was just seen to be there, and so many tokens are left.
                    let found = unsafe { $dot::<$($fixed,)? $count>(start, x, token) };
                    for (m, value) in found.into_iter().enumerate() {
                        // SAFETY: the caller of this kernel promised that the columns are its own.
                        unsafe { out.set(token + m, row, value) };
                    }
                    token += $count;
                }};
            }
            while token < x.rows {
                match (x.rows - token).min(crate::kernels::x86::rows::DOT_TOKENS) {
                    1 => some!(1),
                    2 => some!(2),
                    3 => some!(3),
                    _ => some!(4),
                }
            }
        }
    }};
}
pub(super) use each_row;

/// The sums of a row of weights with rows of activations so far, two for each.
pub(super) type Sums<V, const M: usize> = [[V; 2]; M];

/// A function for a row of weights in either of two formats with `M` rows of activations: `$add_blocks` adds so many of the row's
/// blocks to the sums as `$count` says, the most first; in the end `$join` makes one sum of two.
macro_rules! whole_row {
    ($name:ident, $features:literal, $add_blocks:ident by $($count:expr),+; either $second:expr, or $first:expr;
     $zero:ident, $join:ident, $add_up:ident) => {
        /// A row of one format, or of the other, with `M` rows of activations.
        ///
        /// # Safety
        /// The row, and the activations from `token` on, are there.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name<const SECOND: bool, const M: usize>(row: *const u8, x: &Activations, token: usize) -> [f32; M] {
            let format = if SECOND { $second } else { $first };
            let blocks = x.width / format.block_values();
            let mut sums = [[$zero(); 2]; M];
            let mut index = 0;
            $(
                while blocks - index >= $count {
                    // SAFETY: the row has so many blocks left, and each row of activations as many groups of values.
                    unsafe { $add_blocks::<SECOND, M, { $count }>(&mut sums, row.add(index * format.block_bytes()), x, token * blocks + index) };
                    index += $count;
                }
            )+
            sums.map(|[a, b]| $add_up($join(a, b)))
        }
    };
}
pub(super) use whole_row;

/// A level's way through a matrix by its own dot products, which are called alike at every level.
macro_rules! dots {
    ($features:literal) => {
        /// Multiplies some rows of a matrix with all rows of activations.
        ///
        /// # Safety
        /// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn multiply(
            format: Format,
            weights: &[u8],
            x: &Activations,
            out: crate::kernels::Output,
            rows: std::ops::Range<usize>,
        ) {
            let row_bytes = x.width / format.block_values() * format.block_bytes();
            match format {
                Format::Q4K => each_row!(with_minima::<false>, row_bytes, weights, x, out, rows),
                Format::Q5K => each_row!(with_minima::<true>, row_bytes, weights, x, out, rows),
                Format::Q6K => each_row!(q6k, row_bytes, weights, x, out, rows),
                Format::Q8_0 => each_row!(small::<false>, row_bytes, weights, x, out, rows),
                Format::Q4_0 => each_row!(small::<true>, row_bytes, weights, x, out, rows),
            }
        }
    };
}
pub(super) use dots;
