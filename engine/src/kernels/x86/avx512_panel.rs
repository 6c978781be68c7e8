//! Many rows of activations with AVX-512 and VNNI: sixteen rows of weights at a time become a panel in the first-level cache.
//!
//! A panel holds, for each four values, one register with those of all sixteen rows, so that a lane is a row and no sum is
//! ever added up across lanes. Unpacking is paid once for all activations. Formats with an offset start their integer sums
//! at minus the offset times the activations' sum, which is exact.

use super::super::{Activations, Format, Output};
use super::PANEL_ROWS;
use super::avx512::{Quants, Scales, prefetch, q4_pair, q4k_quants, q5k_quants, q6k_quants, q8_pair, scales_of_16, scales_of_32};
use std::arch::x86_64::*;
use std::ops::Range;

/// Blocks of 256 that are unpacked together.
const BLOCKS: usize = 4;

/// 256 values of sixteen rows.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Panel {
    quants: [[u8; 64]; 64],
    scales: [[f32; 16]; 16],
    minima: [[f32; 16]; 8],
}

impl Panel {
    const EMPTY: Self = Self { quants: [[0; 64]; 64], scales: [[0.0; 16]; 16], minima: [[0.0; 16]; 8] };
}

/// Sixteen registers of sixteen 32-bit lanes, rows for columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    let mut u = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        u[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        u[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    let mut v = u;
    for i in 0..4 {
        let (a, b, c, d) = (u[4 * i], u[4 * i + 1], u[4 * i + 2], u[4 * i + 3]);
        v[4 * i] = _mm512_unpacklo_epi64(a, c);
        v[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        v[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        v[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for j in 0..4 {
        let (a, b, c, d) = (v[j], v[4 + j], v[8 + j], v[12 + j]);
        let (x0, x1) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xEE>(a, b));
        let (x2, x3) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xEE>(c, d));
        u[j] = _mm512_shuffle_i32x4::<0x88>(x0, x2);
        u[4 + j] = _mm512_shuffle_i32x4::<0xDD>(x0, x2);
        u[8 + j] = _mm512_shuffle_i32x4::<0x88>(x1, x3);
        u[12 + j] = _mm512_shuffle_i32x4::<0xDD>(x1, x3);
    }
    u
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(place: &mut [f32; 16], value: __m512) {
    // SAFETY: the place is 64 bytes long.
    unsafe { _mm512_storeu_ps(place.as_mut_ptr(), value) }
}

/// Lays sixteen rows' quants and scales out as a panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn lay_out(quants: &[Quants; 16], scales: &[__m512; 16], minima: Option<&[__m512; 16]>, panel: &mut Panel) {
    for (part, places) in panel.quants.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let columns = transpose(std::array::from_fn(|row| quants[row][part]));
        for (place, column) in places.iter_mut().zip(columns) {
            // SAFETY: the place is 64 bytes long.
            unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), column) };
        }
    }
    for (place, group) in panel.scales.iter_mut().zip(transpose(scales.map(|s| _mm512_castps_si512(s)))) {
        store(place, _mm512_castsi512_ps(group));
    }
    if let Some(minima) = minima {
        for (place, group) in panel.minima.iter_mut().zip(transpose(minima.map(|m| _mm512_castps_si512(m)))) {
            store(place, _mm512_castsi512_ps(group));
        }
    }
}

/// Sixteen rows of weights, `row_bytes` apart.
struct Rows<'a> {
    weights: &'a [u8],
    row_bytes: usize,
}

macro_rules! unpack_k {
    ($name:ident, $bytes:literal, $quants:ident, $scales:ident, $minima:literal) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
        fn $name(rows: &Rows<'_>, index: usize, panel: &mut Panel) {
            let mut quants = [[_mm512_setzero_si512(); 4]; 16];
            let (mut scales, mut minima) = ([_mm512_setzero_ps(); 16], [_mm512_setzero_ps(); 16]);
            for row in 0..16 {
                let block = &rows.weights[row * rows.row_bytes + index * $bytes..][..$bytes];
                prefetch(block, 16 * rows.row_bytes);
                quants[row] = $quants(block);
                let Scales { words, minima: least_words, d, least } = $scales(block);
                scales[row] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(words)), _mm512_set1_ps(d));
                if $minima {
                    let wide = _mm512_cvtepi16_epi32(_mm256_zextsi128_si256(least_words));
                    minima[row] = _mm512_mul_ps(_mm512_cvtepi32_ps(wide), _mm512_set1_ps(least));
                }
            }
            lay_out(&quants, &scales, $minima.then_some(&minima), panel);
        }
    };
}

unpack_k!(q4k, 144, q4k_quants, scales_of_32, true);
unpack_k!(q5k, 176, q5k_quants, scales_of_32, true);
unpack_k!(q6k, 210, q6k_quants, scales_of_16, false);

macro_rules! unpack_pairs {
    ($name:ident, $bytes:literal, $pair:ident) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
        fn $name(rows: &Rows<'_>, index: usize, panel: &mut Panel) {
            let mut quants = [[_mm512_setzero_si512(); 4]; 16];
            let mut scales = [_mm512_setzero_ps(); 16];
            for row in 0..16 {
                let bytes = &rows.weights[row * rows.row_bytes + index * 8 * $bytes..][..8 * $bytes];
                prefetch(bytes, 16 * rows.row_bytes);
                let blocks = bytes.as_chunks::<$bytes>().0;
                let mut halves = [0_u16; 8];
                for (half, block) in halves.iter_mut().zip(blocks) {
                    *half = u16::from_le_bytes([block[0], block[1]]);
                }
                for part in 0..4 {
                    quants[row][part] = $pair(&blocks[2 * part], &blocks[2 * part + 1]);
                }
                // SAFETY: there are eight halves of 16 bits.
                let eight = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
                scales[row] = _mm512_cvtph_ps(_mm256_zextsi128_si256(eight));
            }
            lay_out(&quants, &scales, None, panel);
        }
    };
}

unpack_pairs!(q8_0, 34, q8_pair);
unpack_pairs!(q4_0, 18, q4_pair);

/// Where a run of panels stands: the first block of 256, and the place of its sixteen results.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    column: usize,
}

/// Four neighbouring rounded activations in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn four(x: &Activations, at: usize) -> __m512i {
    let part = &x.quants[at..at + 4];
    // SAFETY: the slice is 4 bytes long.
    _mm512_set1_epi32(unsafe { part.as_ptr().cast::<i32>().read_unaligned() })
}

macro_rules! run {
    ($name:ident, $groups:literal, $offset:literal, $minima:literal, $own_units:literal) => {
        /// Adds the products of `panels` with `M` rows of activations to their sixteen columns.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")]
        fn $name<const M: usize>(panels: &[Panel], x: &Activations, token: usize, place: Place, out: Output) {
            const STEPS: usize = 64 / $groups;
            let mut sums = [_mm512_setzero_ps(); M];
            if place.block > 0 {
                for (m, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller of this kernel promised that the columns are its own; `at` checks that they exist.
                    *sum = unsafe { _mm512_loadu_ps(out.at(token + m, place.column, PANEL_ROWS)) };
                }
            }
            for (index, panel) in panels.iter().enumerate() {
                let at = |m: usize| (token + m) * x.width + 256 * (place.block + index);
                let mut parts = [_mm512_setzero_ps(); M];
                for group in 0..$groups {
                    let mut whole = [_mm512_setzero_si512(); M];
                    if $offset > 0 {
                        for (m, start) in whole.iter_mut().enumerate() {
                            let sum = if $groups == 16 { x.sums16[at(m) / 16 + group] } else { x.sums32[at(m) / 32 + group] };
                            *start = _mm512_set1_epi32(-$offset * i32::from(sum));
                        }
                    }
                    for step in 0..STEPS {
                        // SAFETY: each place of the panel is 64 bytes long.
                        let weights = unsafe { _mm512_load_si512(panel.quants[group * STEPS + step].as_ptr().cast()) };
                        for (m, whole) in whole.iter_mut().enumerate() {
                            *whole = _mm512_dpbusd_epi32(*whole, weights, four(x, at(m) + 4 * (group * STEPS + step)));
                        }
                    }
                    // SAFETY: each place of the panel is 64 bytes long.
                    let scale = unsafe { _mm512_load_ps(panel.scales[group].as_ptr()) };
                    for m in 0..M {
                        let mut value = _mm512_cvtepi32_ps(whole[m]);
                        if $own_units {
                            value = _mm512_mul_ps(value, _mm512_set1_ps(x.scales[at(m) / 32 + group]));
                        }
                        parts[m] = _mm512_fmadd_ps(value, scale, parts[m]);
                        if $minima {
                            // SAFETY: each place of the panel is 64 bytes long.
                            let least = unsafe { _mm512_load_ps(panel.minima[group % 8].as_ptr()) };
                            parts[m] = _mm512_fnmadd_ps(least, _mm512_set1_ps(x.float_sums32[at(m) / 32 + group]), parts[m]);
                        }
                    }
                }
                for m in 0..M {
                    let unit = if $own_units { 1.0 } else { x.scales[at(m) / 32] };
                    sums[m] = _mm512_fmadd_ps(parts[m], _mm512_set1_ps(unit), sums[m]);
                }
            }
            for (m, sum) in sums.into_iter().enumerate() {
                // SAFETY: as for the load above.
                unsafe { _mm512_storeu_ps(out.at(token + m, place.column, PANEL_ROWS), sum) };
            }
        }
    };
}

run!(run_minima, 8, 0, true, false);
run!(run_q6k, 16, 32, false, false);
run!(run_q8_0, 8, 128, false, true);
run!(run_q4_0, 8, 8, false, true);

/// Goes through the activations eight at a time.
macro_rules! all_tokens {
    ($run:ident, $panels:expr, $x:expr, $place:expr, $out:expr) => {{
        let mut token = 0;
        while token < $x.rows {
            macro_rules! some {
                ($count:literal) => {{
                    $run::<$count>($panels, $x, token, $place, $out);
                    token += $count;
                }};
            }
            match $x.rows - token {
                1 => some!(1),
                2 => some!(2),
                3 => some!(3),
                4 | 5 => some!(4),
                6 | 7 => some!(6),
                _ => some!(8),
            }
        }
    }};
}

/// Multiplies some rows of a matrix, a multiple of sixteen, with all rows of activations.
///
/// # Safety
/// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
pub(super) unsafe fn multiply(format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    let row_bytes = x.width / format.block_values() * format.block_bytes();
    let mut panels = [Panel::EMPTY; BLOCKS];
    let blocks = x.width / 256;
    for first in (0..blocks).step_by(BLOCKS) {
        let count = BLOCKS.min(blocks - first);
        for column in rows.clone().step_by(PANEL_ROWS) {
            let sixteen = Rows { weights: &weights[column * row_bytes..][..PANEL_ROWS * row_bytes], row_bytes };
            for (i, panel) in panels[..count].iter_mut().enumerate() {
                match format {
                    Format::Q4K => q4k(&sixteen, first + i, panel),
                    Format::Q5K => q5k(&sixteen, first + i, panel),
                    Format::Q6K => q6k(&sixteen, first + i, panel),
                    Format::Q8_0 => q8_0(&sixteen, first + i, panel),
                    Format::Q4_0 => q4_0(&sixteen, first + i, panel),
                }
            }
            let (ready, place) = (&panels[..count], Place { block: first, column });
            match format {
                Format::Q4K | Format::Q5K => all_tokens!(run_minima, ready, x, place, out),
                Format::Q6K => all_tokens!(run_q6k, ready, x, place, out),
                Format::Q8_0 => all_tokens!(run_q8_0, ready, x, place, out),
                Format::Q4_0 => all_tokens!(run_q4_0, ready, x, place, out),
            }
        }
    }
}
