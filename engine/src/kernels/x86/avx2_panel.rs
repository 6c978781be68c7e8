//! Many rows of activations with AVX2: eight rows of weights at a time become a panel in the first-level cache.
//!
//! A panel holds, for each four values, one register with those of all eight rows, so that a lane is a row. Products of the
//! K formats are added up in 16 bits as long as nothing can overflow (eight pairs of 15 · 127 · 2, four of 31, two of 63),
//! then multiplied with the integer scale on their way to 32 bits: a block becomes floating point once.

use super::super::format::scales_and_minima;
use super::super::{Activations, Format, Output};
use super::avx2::{Quants, half_at, load, q4k_quants, q5k_quants, q6k_quants};
use super::avx2_small::q4_0_quants;
use super::panels::{Place, Rows, all_tokens, panels};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of weights in a panel.
pub(super) const ROWS: usize = 8;
/// Blocks of 256 that are unpacked together.
const BLOCKS: usize = 4;

/// 256 values of eight rows.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
struct Panel {
    quants: [[u8; 32]; 64],
    /// K formats: for each group of 16 the rows' scales, each twice.
    scales: [[[i16; 2]; 8]; 16],
    /// K formats: what is multiplied with neighbouring sums of activations: minima, or the scales of Q6_K for its offset.
    pairs: [[[i16; 2]; 8]; 8],
    /// K formats: the rows' units of scale and of minimum; else their scales for each group of 32.
    units: [[f32; 8]; 8],
}

impl Panel {
    const EMPTY: Self = Self { quants: [[0; 32]; 64], scales: [[[0; 2]; 8]; 16], pairs: [[[0; 2]; 8]; 8], units: [[0.0; 8]; 8] };
}

/// Eight registers of eight 32-bit lanes, rows for columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(v: [__m256i; 8]) -> [__m256i; 8] {
    let mut u = [_mm256_setzero_si256(); 8];
    for i in 0..4 {
        u[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        u[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    let mut v = u;
    for i in 0..2 {
        let (a, b, c, d) = (u[4 * i], u[4 * i + 1], u[4 * i + 2], u[4 * i + 3]);
        v[4 * i] = _mm256_unpacklo_epi64(a, c);
        v[4 * i + 1] = _mm256_unpackhi_epi64(a, c);
        v[4 * i + 2] = _mm256_unpacklo_epi64(b, d);
        v[4 * i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for j in 0..4 {
        u[j] = _mm256_permute2x128_si256::<0x20>(v[j], v[4 + j]);
        u[4 + j] = _mm256_permute2x128_si256::<0x31>(v[j], v[4 + j]);
    }
    u
}

/// Lays eight rows' quants out: step for step, four values of each row.
#[inline]
#[target_feature(enable = "avx2")]
fn lay_out(quants: &[Quants; 8], panel: &mut Panel) {
    for (part, places) in panel.quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let columns = transpose(std::array::from_fn(|row| quants[row][part]));
        for (place, column) in places.iter_mut().zip(columns) {
            // SAFETY: the place is 32 bytes long.
            unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), column) };
        }
    }
}

/// What scales a block of a K format.
#[derive(Clone, Copy)]
struct Scales {
    /// A signed byte of scale for each 16 values; twice the same where the format has one for each 32.
    bytes: __m128i,
    /// A 16-bit minimum for each 32; zero where the format has none.
    minima: __m128i,
    d: f32,
    least: f32,
}

/// # Safety
/// A whole block is there; so for the one below.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales_of_32(block: *const u8) -> Scales {
    // SAFETY: blocks begin with two halves and twelve bytes of scales.
    let (packed, d, least) = unsafe { (block.add(4).cast::<[u8; 12]>().read(), half_at(block), half_at(block.add(2))) };
    let (scales, minima) = scales_and_minima(&packed);
    let eight = _mm_cvtsi64_si128(scales.cast_signed());
    let minima = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(minima.cast_signed()));
    Scales { bytes: _mm_unpacklo_epi8(eight, eight), minima, d, least }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn scales_of_16(block: *const u8) -> Scales {
    // SAFETY: a block ends with sixteen scales and a half.
    let (bytes, d) = unsafe { (_mm_loadu_si128(block.add(192).cast()), half_at(block.add(208))) };
    Scales { bytes, minima: _mm_setzero_si128(), d, least: 0.0 }
}

macro_rules! unpack_k {
    ($name:ident, $bytes:literal, $quants:ident, $scales:ident, $minima:literal) => {
        /// # Safety
        /// Eight rows with more than `index` blocks are there.
        #[inline(never)]
        #[target_feature(enable = "avx2,f16c")]
        unsafe fn $name(rows: Rows, index: usize, panel: &mut Panel) {
            let mut quants = [[_mm256_setzero_si256(); 8]; 8];
            for row in 0..ROWS {
                // SAFETY: the caller's promise; the arrays are as long as the registers that are stored in them.
                unsafe {
                    let block = rows.start.add(row * rows.bytes + index * $bytes);
                    quants[row] = $quants(block);
                    let Scales { bytes, minima, d, least } = $scales(block);
                    let mut scales = [0_i16; 16];
                    _mm256_storeu_si256(scales.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(bytes));
                    for (place, scale) in panel.scales.iter_mut().zip(scales) {
                        place[row] = [scale; 2];
                    }
                    let mut pairs = [[0_i16; 2]; 8];
                    if $minima {
                        _mm_storeu_si128(pairs.as_mut_ptr().cast(), minima);
                    } else {
                        _mm256_storeu_si256(pairs.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(bytes));
                    }
                    for (place, pair) in panel.pairs.iter_mut().zip(pairs) {
                        place[row] = pair;
                    }
                    panel.units[0][row] = d;
                    panel.units[1][row] = least;
                }
            }
            lay_out(&quants, panel);
        }
    };
}

unpack_k!(q4k, 144, q4k_quants, scales_of_32, true);
unpack_k!(q5k, 176, q5k_quants, scales_of_32, true);
unpack_k!(q6k, 210, q6k_quants, scales_of_16, false);

macro_rules! unpack_small {
    ($name:ident, $bytes:literal, |$block:ident| $quants:expr) => {
        /// # Safety
        /// Eight rows with more than `index` times eight blocks are there.
        #[inline(never)]
        #[target_feature(enable = "avx2,f16c")]
        unsafe fn $name(rows: Rows, index: usize, panel: &mut Panel) {
            let mut quants = [[_mm256_setzero_si256(); 8]; 8];
            for (row, quants) in quants.iter_mut().enumerate() {
                for (part, quants) in quants.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let $block = rows.start.add(row * rows.bytes + (8 * index + part) * $bytes);
                        panel.units[part][row] = half_at($block);
                        *quants = $quants;
                    }
                }
            }
            lay_out(&quants, panel);
        }
    };
}

unpack_small!(q8_0, 34, |block| load(block.add(2)));
unpack_small!(q4_0, 18, |block| q4_0_quants(block));

/// Two neighbouring sums of activations in every lane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn two(sums: *const i16) -> __m256i {
    // SAFETY: the caller promises two.
    _mm256_set1_epi32(unsafe { sums.cast::<i32>().read_unaligned() })
}

macro_rules! run_k {
    ($name:ident, $groups:literal, $together:literal, $minima:literal) => {
        /// Adds the products of `panels` with `M` rows of activations to their eight columns.
        ///
        /// # Safety
        /// So many rows of activations are there, with the panels' blocks, and the columns are nobody else's.
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name<const M: usize>(panels: &[Panel], x: &Activations, token: usize, place: Place, out: Output) {
            const STEPS: usize = 64 / $groups;
            let results: [*mut f32; M] = std::array::from_fn(|m| out.at(token + m, place.column, ROWS));
            // SAFETY: `at` has seen that the results exist, a panel's places are 32 bytes long, the rest is the caller's promise.
            unsafe {
                let mut sums = [_mm256_setzero_ps(); M];
                if place.block > 0 {
                    sums = results.map(|place| _mm256_loadu_ps(place));
                }
                for (index, panel) in panels.iter().enumerate() {
                    let start = token * x.width + 256 * (place.block + index);
                    let quants = x.quants.as_ptr().add(start);
                    let mut whole = [_mm256_setzero_si256(); M];
                    for group in 0..$groups {
                        let scale = _mm256_load_si256(panel.scales.as_ptr().add(group * 16 / $groups).cast());
                        for steps in (0..STEPS).step_by($together) {
                            let mut part = [_mm256_setzero_si256(); M];
                            for step in 0..$together {
                                let at = group * STEPS + steps + step;
                                let weights = _mm256_load_si256(panel.quants.as_ptr().add(at).cast());
                                for m in 0..M {
                                    let four = quants.add(m * x.width + 4 * at).cast::<i32>().read_unaligned();
                                    let products = _mm256_maddubs_epi16(weights, _mm256_set1_epi32(four));
                                    part[m] = _mm256_add_epi16(part[m], products);
                                }
                            }
                            for m in 0..M {
                                whole[m] = _mm256_add_epi32(whole[m], _mm256_madd_epi16(part[m], scale));
                            }
                        }
                    }
                    let units = _mm256_load_ps(panel.units[0].as_ptr());
                    for m in 0..M {
                        let unit = _mm256_set1_ps(*x.scales.as_ptr().add((start + m * x.width) / 32));
                        let mut beside = _mm256_setzero_si256();
                        let count = if $minima { 4 } else { 8 };
                        let sums_at = if $minima {
                            x.sums32.as_ptr().add((start + m * x.width) / 32)
                        } else {
                            x.sums16.as_ptr().add((start + m * x.width) / 16)
                        };
                        for pair in 0..count {
                            let factors = _mm256_load_si256(panel.pairs.as_ptr().add(pair).cast());
                            beside = _mm256_add_epi32(beside, _mm256_madd_epi16(factors, two(sums_at.add(2 * pair))));
                        }
                        if $minima {
                            let least = _mm256_mul_ps(_mm256_load_ps(panel.units[1].as_ptr()), unit);
                            sums[m] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(beside), least, sums[m]);
                        } else {
                            whole[m] = _mm256_sub_epi32(whole[m], _mm256_slli_epi32::<5>(beside));
                        }
                        sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[m]), _mm256_mul_ps(units, unit), sums[m]);
                    }
                }
                for (place, sum) in results.into_iter().zip(sums) {
                    _mm256_storeu_ps(place, sum);
                }
            }
        }
    };
}

run_k!(run_q4k, 8, 8, true);
run_k!(run_q5k, 8, 4, true);
run_k!(run_q6k, 16, 2, false);

macro_rules! run_small {
    ($name:ident, $signed:literal) => {
        /// As for the K formats; a group of 32 has one scale for each row, and one for the activations.
        ///
        /// # Safety
        /// So many rows of activations are there, with the panels' blocks, and the columns are nobody else's.
        #[inline(never)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name<const M: usize>(panels: &[Panel], x: &Activations, token: usize, place: Place, out: Output) {
            let ones = _mm256_set1_epi16(1);
            let results: [*mut f32; M] = std::array::from_fn(|m| out.at(token + m, place.column, ROWS));
            // SAFETY: `at` has seen that the results exist, a panel's places are 32 bytes long, the rest is the caller's promise.
            unsafe {
                let mut sums = [_mm256_setzero_ps(); M];
                if place.block > 0 {
                    sums = results.map(|place| _mm256_loadu_ps(place));
                }
                for (index, panel) in panels.iter().enumerate() {
                    let start = token * x.width + 256 * (place.block + index);
                    for group in 0..8 {
                        let mut whole = [_mm256_setzero_si256(); M];
                        for step in 8 * group..8 * group + 8 {
                            let weights = _mm256_load_si256(panel.quants.as_ptr().add(step).cast());
                            let sizes = if $signed { _mm256_abs_epi8(weights) } else { weights };
                            for m in 0..M {
                                let four = x.quants.as_ptr().add(start + m * x.width + 4 * step).cast::<i32>().read_unaligned();
                                let mut values = _mm256_set1_epi32(four);
                                if $signed {
                                    values = _mm256_sign_epi8(values, weights);
                                    let pairs = _mm256_maddubs_epi16(sizes, values);
                                    whole[m] = _mm256_add_epi32(whole[m], _mm256_madd_epi16(pairs, ones));
                                } else {
                                    whole[m] = _mm256_add_epi16(whole[m], _mm256_maddubs_epi16(sizes, values));
                                }
                            }
                        }
                        let scale = _mm256_load_ps(panel.units[group].as_ptr());
                        for m in 0..M {
                            let at = (start + m * x.width) / 32 + group;
                            let mut sum = whole[m];
                            if !$signed {
                                let offset = _mm256_set1_epi32(8 * i32::from(*x.sums32.as_ptr().add(at)));
                                sum = _mm256_sub_epi32(_mm256_madd_epi16(sum, ones), offset);
                            }
                            let unit = _mm256_mul_ps(scale, _mm256_set1_ps(*x.scales.as_ptr().add(at)));
                            sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), unit, sums[m]);
                        }
                    }
                }
                for (place, sum) in results.into_iter().zip(sums) {
                    _mm256_storeu_ps(place, sum);
                }
            }
        }
    };
}

run_small!(run_q8_0, true);
run_small!(run_q4_0, false);

macro_rules! go_through {
    ($run:ident, $panels:expr, $x:expr, $place:expr, $out:expr) => {
        all_tokens!($run, $panels, $x, $place, $out, 4 => 4, 3 => 3, 2 => 2, 1 => 1)
    };
}

/// Multiplies some rows of a matrix, a multiple of eight, with all rows of activations.
///
/// # Safety
/// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
#[target_feature(enable = "avx2,f16c,fma")]
pub(super) unsafe fn multiply(format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    panels!(
        Panel,
        ROWS,
        BLOCKS,
        format,
        weights,
        x,
        rows,
        |eight, index, panel| match format {
            Format::Q4K => q4k(eight, index, panel),
            Format::Q5K => q5k(eight, index, panel),
            Format::Q6K => q6k(eight, index, panel),
            Format::Q8_0 => q8_0(eight, index, panel),
            Format::Q4_0 => q4_0(eight, index, panel),
        },
        |ready, block, column| {
            let place = Place { block, column };
            match format {
                Format::Q4K => go_through!(run_q4k, ready, x, place, out),
                Format::Q5K => go_through!(run_q5k, ready, x, place, out),
                Format::Q6K => go_through!(run_q6k, ready, x, place, out),
                Format::Q8_0 => go_through!(run_q8_0, ready, x, place, out),
                Format::Q4_0 => go_through!(run_q4_0, ready, x, place, out),
            }
        }
    );
}
