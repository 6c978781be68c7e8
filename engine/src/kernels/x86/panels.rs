//! Panels: rows of weights that are unpacked together for many rows of activations, and how both are gone through. The same for all
//! levels, whose modules say what a panel is.

/// Neighbouring rows of a matrix, read without a check in the inner loops: whoever makes one has seen that they are there.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// The first row's first byte.
    pub(super) start: *const u8,
    /// Bytes of a row.
    pub(super) bytes: usize,
}

/// Where a run of panels stands: the first block of 256, and the place of its first result.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) column: usize,
}

/// Goes through the activations, as many at a time as the registers hold.
macro_rules! all_tokens {
    ($run:ident, $panels:expr, $x:expr, $place:expr, $out:expr, $($least:literal => $count:literal),+) => {{
        let mut token = 0;
        while token < $x.rows {
            match $x.rows - token {
                // SAFETY: the caller of this kernel promised that the columns are its own; so many tokens are left.
                $($least.. => { unsafe { $run::<$count>($panels, $x, token, $place, $out) }; token += $count; })+
                0 => break,
            }
        }
    }};
}
pub(super) use all_tokens;

/// So many rows of activations and fewer go through a panel's rows to their end before the next rows are unpacked.
pub(super) const FEW: usize = 32;

/// Goes through rows of weights panel by panel: unpacks some blocks of a panel's rows and multiplies them with all activations.
///
/// With few activations the memory sets the pace: rows are finished block by block, one panel after the other. With many the
/// activations' part that belongs to some blocks stays in the first-level cache for all panels. The next panel's rows, one
/// stretch of memory, are asked for meanwhile, as the processor does not follow so many streams by itself; with few activations those
/// past the end of these rows too, as that is where the thread mostly goes on.
macro_rules! panels {
    ($panel:ident, $height:expr, $together:expr, $format:expr, $weights:expr, $x:expr, $rows:expr,
     |$some:ident, $index:ident, $place:ident| $unpack:expr, |$ready:ident, $block:ident, $column:ident| $run:expr) => {{
        let (bytes, all): (usize, Range<usize>) = ($x.width / $format.block_values() * $format.block_bytes(), $rows);
        let mut unpacked = [$panel::EMPTY; $together];
        let (few, blocks, height) = ($x.rows <= crate::kernels::x86::panels::FEW, $x.width / 256, $height * bytes);
        let together = $together;
        let (columns, parts) = (all.len() / $height, blocks.div_ceil(together));
        crate::kernels::ask_for($weights[all.start * bytes..].as_ptr(), height);
        for step in 0..columns * parts {
            let (at, part) = if few { (step / parts, step % parts) } else { (step % columns, step / columns) };
            let $column = all.start + at * $height;
            let $some = Rows { start: $weights[$column * bytes..][..height].as_ptr(), bytes };
            let $block = part * together;
            let count = together.min(blocks - $block);
            let (next, half) = ($some.start.wrapping_add(height), height / blocks / 2);
            for (i, $place) in unpacked[..count].iter_mut().enumerate() {
                let $index = $block + i;
                match (at + 1 < columns, few) {
                    (_, true) => crate::kernels::ask_for(next.wrapping_add($index * 2 * half), half),
                    (true, false) if part == 0 => crate::kernels::ask_for(next.wrapping_add(i * (height / count)), height / count),
                    _ => {}
                }
                // SAFETY: the rows were just seen to be there, and have `blocks` blocks of 256 values.
                unsafe { $unpack };
                if few {
                    crate::kernels::ask_for(next.wrapping_add($index * 2 * half + half), half);
                }
            }
            let $ready = &unpacked[..count];
            $run
        }
    }};
}
pub(super) use panels;
