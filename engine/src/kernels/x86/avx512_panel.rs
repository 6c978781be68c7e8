//! Many rows of activations with AVX-512 and VNNI: sixteen rows of weights at a time become a panel in the first-level cache.
//!
//! A panel holds, for each four values, one register with those of all sixteen rows, so that a lane is a row and no sum is
//! ever added up across lanes. Unpacking is paid once for all activations. Formats with an offset start their integer sums
//! at minus the offset times the activations' sum, which is exact.

use super::super::{Activations, Format, Output};
use super::panels::{Place, Rows, all_tokens, panels};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of weights in a panel.
pub(super) const ROWS: usize = 16;
/// Blocks of 256 that are unpacked together.
const BLOCKS: usize = 4;

/// 256 values of sixteen rows.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Panel {
    /// For each four values those of all rows.
    quants: [[u8; 64]; 64],
    /// For each group of 16 or 32 the rows' scales.
    scales: [[f32; 16]; 16],
    minima: [[f32; 16]; 8],
}

impl Panel {
    const EMPTY: Self = Self { quants: [[0; 64]; 64], scales: [[0.0; 16]; 16], minima: [[0.0; 16]; 8] };

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set_quants(&mut self, step: usize, values: __m512i) {
        // SAFETY: the place is 64 bytes long, and aligned as the panel is.
        unsafe { _mm512_store_si512(self.quants[step].as_mut_ptr().cast(), values) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(place: &mut [f32; 16], values: __m512) {
    // SAFETY: the place is 64 bytes long.
    unsafe { _mm512_storeu_ps(place.as_mut_ptr(), values) }
}

/// Sixteen bytes of each of sixteen rows: four registers of four bytes of each row, in the order of the rows.
///
/// # Safety
/// The bytes are there, `stride` bytes apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn quads(start: *const u8, stride: usize) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    let row = |index: usize| unsafe { _mm_loadu_si128(start.add(index * stride).cast()) };
    let [a, b, c, d] = std::array::from_fn(|i| {
        let two = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(row(i)), row(4 + i));
        _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(two, row(8 + i)), row(12 + i))
    });
    let (first, second) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (third, fourth) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(first, second),
        _mm512_unpackhi_epi64(first, second),
        _mm512_unpacklo_epi64(third, fourth),
        _mm512_unpackhi_epi64(third, fourth),
    ]
}

/// Half-precision numbers in the low sixteen bits of each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn singles(halves: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(halves))
}

/// A half of each row.
///
/// # Safety
/// They are there, `stride` bytes apart.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(start: *const u8, stride: usize) -> __m512 {
    let mut bits = [0_u16; 16];
    for (row, half) in bits.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *half = u16::from_le(unsafe { start.add(row * stride).cast::<u16>().read_unaligned() });
    }
    // SAFETY: sixteen halves are 32 bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}

/// Turns the bytes' bits to the left by `count`, to the right if it is negative; only bits that stay in their byte are looked
/// at afterwards.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(values: __m512i, count: i32) -> __m512i {
    _mm512_rolv_epi32(values, _mm512_set1_epi32(count.rem_euclid(32)))
}

/// The scales and minima of Q4_K and Q5_K: their blocks begin with two halves and twelve bytes that hold eight pairs of six
/// bits, here for all rows at once.
///
/// # Safety
/// As for [`quads`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn scales_and_minima(start: *const u8, stride: usize, panel: &mut Panel) {
    // SAFETY: the caller's promise.
    let [units, a, b, c] = unsafe { quads(start, stride) };
    let (d, least) = (singles(units), singles(_mm512_srli_epi32::<16>(units)));
    let (six, four, two) = (_mm512_set1_epi8(0x3f), _mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
    let top = |of: __m512i| _mm512_and_si512(_mm512_srli_epi32::<2>(of), two);
    let scales = [_mm512_and_si512(a, six), _mm512_or_si512(_mm512_and_si512(c, four), top(a))];
    let high = _mm512_and_si512(_mm512_srli_epi32::<4>(c), four);
    let minima = [_mm512_and_si512(b, six), _mm512_or_si512(high, top(b))];
    for group in 0..8 {
        let byte = |of: __m512i| _mm512_and_si512(turned(of, -8 * (group % 4)), _mm512_set1_epi32(0xff));
        let (at, half) = (group as usize, group as usize / 4);
        store(&mut panel.scales[at], _mm512_mul_ps(_mm512_cvtepi32_ps(byte(scales[half])), d));
        store(&mut panel.minima[at], _mm512_mul_ps(_mm512_cvtepi32_ps(byte(minima[half])), least));
    }
}

/// # Safety
/// Sixteen rows with more than `index` blocks are there; so for the formats below.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn q4k(rows: Rows, index: usize, panel: &mut Panel) {
    let low = _mm512_set1_epi8(15);
    // SAFETY: a block is 144 bytes long, its quants are the last 128.
    unsafe {
        let start = rows.start.add(index * 144);
        scales_and_minima(start, rows.bytes, panel);
        for part in 0..8 {
            for (i, bytes) in quads(start.add(16 + 16 * part), rows.bytes).into_iter().enumerate() {
                let step = part / 2 * 16 + part % 2 * 4 + i;
                panel.set_quants(step, _mm512_and_si512(bytes, low));
                panel.set_quants(step + 8, _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low));
            }
        }
    }
}

/// # Safety
/// As above.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn q5k(rows: Rows, index: usize, panel: &mut Panel) {
    let (low, high) = (_mm512_set1_epi8(15), _mm512_set1_epi8(16));
    // SAFETY: a block is 176 bytes long: 16 of scales, 32 of fifth bits, 128 of the others.
    unsafe {
        let start = rows.start.add(index * 176);
        scales_and_minima(start, rows.bytes, panel);
        let fifth = [quads(start.add(16), rows.bytes), quads(start.add(32), rows.bytes)];
        for part in 0..8 {
            for (i, bytes) in quads(start.add(48 + 16 * part), rows.bytes).into_iter().enumerate() {
                let (step, group) = (part / 2 * 16 + part % 2 * 4 + i, (part / 2 * 2) as i32);
                let bit = |group: i32| _mm512_and_si512(turned(fifth[part % 2][i], 4 - group), high);
                panel.set_quants(step, _mm512_or_si512(_mm512_and_si512(bytes, low), bit(group)));
                let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
                panel.set_quants(step + 8, _mm512_or_si512(upper, bit(group + 1)));
            }
        }
    }
}

/// # Safety
/// As above.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn q6k(rows: Rows, index: usize, panel: &mut Panel) {
    let (four, two) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
    // SAFETY: a block is 210 bytes long: 128 of low bits, 64 of high ones, 16 scales and a half.
    unsafe {
        let start = rows.start.add(index * 210);
        let d = halves(start.add(208), rows.bytes);
        let scales = quads(start.add(192), rows.bytes);
        for (group, place) in panel.scales.iter_mut().enumerate() {
            let bytes = _mm512_srai_epi32::<24>(turned(scales[group / 4], 24 - 8 * (group % 4) as i32));
            store(place, _mm512_mul_ps(_mm512_cvtepi32_ps(bytes), d));
        }
        for part in 0..2 {
            let high = [quads(start.add(128 + 32 * part), rows.bytes), quads(start.add(144 + 32 * part), rows.bytes)];
            for quarter in 0..4 {
                let half = quarter % 2;
                let (step, bits) = (32 * part + 8 * (quarter / 2), quads(start.add(64 * part + 16 * quarter), rows.bytes));
                for (i, bytes) in bits.into_iter().enumerate() {
                    // The low bits of the values 32 and 96 further on lie beside each other in the same bytes.
                    let top = |turn: i32| _mm512_and_si512(turned(high[half][i], turn), two);
                    let (near, far) = (_mm512_and_si512(bytes, four), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), four));
                    let turn = if quarter < 2 { 4 } else { 2 };
                    panel.set_quants(step + 4 * half + i, _mm512_or_si512(near, top(turn)));
                    panel.set_quants(step + 16 + 4 * half + i, _mm512_or_si512(far, top(turn - 4)));
                }
            }
        }
    }
}

/// # Safety
/// As above, with eight small blocks for one.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn q8_0(rows: Rows, index: usize, panel: &mut Panel) {
    // SAFETY: a block is 34 bytes long, a half and 32 quants.
    unsafe {
        for block in 0..8 {
            let start = rows.start.add((8 * index + block) * 34);
            store(&mut panel.scales[block], halves(start, rows.bytes));
            for part in 0..2 {
                for (i, bytes) in quads(start.add(2 + 16 * part), rows.bytes).into_iter().enumerate() {
                    // Plus 128: the product wants unsigned weights.
                    panel.set_quants(8 * block + 4 * part + i, _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)));
                }
            }
        }
    }
}

/// # Safety
/// As above.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
unsafe fn q4_0(rows: Rows, index: usize, panel: &mut Panel) {
    let low = _mm512_set1_epi8(15);
    // SAFETY: a block is 18 bytes long, a half and 16 bytes of quants.
    unsafe {
        for block in 0..8 {
            let start = rows.start.add((8 * index + block) * 18);
            store(&mut panel.scales[block], halves(start, rows.bytes));
            for (i, bytes) in quads(start.add(2), rows.bytes).into_iter().enumerate() {
                panel.set_quants(8 * block + i, _mm512_and_si512(bytes, low));
                panel.set_quants(8 * block + 4 + i, _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low));
            }
        }
    }
}

macro_rules! run {
    ($name:ident, $groups:literal, $offset:literal, $minima:literal, $own_units:literal) => {
        /// Adds the products of `panels` with `M` rows of activations to their sixteen columns.
        ///
        /// # Safety
        /// So many rows of activations are there, with the panels' blocks, and the columns are nobody else's.
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma")]
        unsafe fn $name<const M: usize>(panels: &[Panel], x: &Activations, token: usize, place: Place, out: Output) {
            const STEPS: usize = 64 / $groups;
            let results: [*mut f32; M] = std::array::from_fn(|m| out.at(token + m, place.column, ROWS));
            let mut sums = [_mm512_setzero_ps(); M];
            // SAFETY: `at` has seen that the results exist, a panel's places are 64 bytes long, the rest is the caller's promise.
            unsafe {
                if place.block > 0 {
                    sums = results.map(|place| _mm512_loadu_ps(place));
                }
                for (index, panel) in panels.iter().enumerate() {
                    let start = token * x.width + 256 * (place.block + index);
                    let (quants, scales) = (x.quants.as_ptr().add(start), x.scales.as_ptr().add(start / 32));
                    let (sums16, sums32) = (x.sums16.as_ptr().add(start / 16), x.sums32.as_ptr().add(start / 32));
                    let float_sums = x.float_sums32.as_ptr().add(start / 32);
                    let mut parts = [_mm512_setzero_ps(); M];
                    for group in 0..$groups {
                        let mut whole = [_mm512_setzero_si512(); M];
                        if $offset > 0 {
                            for m in 0..M {
                                let row = m * x.width;
                                let sum = if $groups == 16 { *sums16.add(row / 16 + group) } else { *sums32.add(row / 32 + group) };
                                whole[m] = _mm512_set1_epi32(-$offset * i32::from(sum));
                            }
                        }
                        for step in 0..STEPS {
                            let at = group * STEPS + step;
                            let weights = _mm512_load_si512(panel.quants.as_ptr().add(at).cast());
                            for m in 0..M {
                                let four = quants.add(m * x.width + 4 * at).cast::<i32>().read_unaligned();
                                whole[m] = _mm512_dpbusd_epi32(whole[m], weights, _mm512_set1_epi32(four));
                            }
                        }
                        let scale = _mm512_load_ps(panel.scales.as_ptr().add(group).cast());
                        for m in 0..M {
                            let row = m * x.width / 32 + group % 8;
                            let mut value = _mm512_cvtepi32_ps(whole[m]);
                            if $own_units {
                                value = _mm512_mul_ps(value, _mm512_set1_ps(*scales.add(row)));
                            }
                            parts[m] = _mm512_fmadd_ps(value, scale, parts[m]);
                            if $minima {
                                let least = _mm512_load_ps(panel.minima.as_ptr().add(group % 8).cast());
                                parts[m] = _mm512_fnmadd_ps(least, _mm512_set1_ps(*float_sums.add(row)), parts[m]);
                            }
                        }
                    }
                    for m in 0..M {
                        let unit = if $own_units { 1.0 } else { *scales.add(m * x.width / 32) };
                        sums[m] = _mm512_fmadd_ps(parts[m], _mm512_set1_ps(unit), sums[m]);
                    }
                }
                for (place, sum) in results.into_iter().zip(sums) {
                    _mm512_storeu_ps(place, sum);
                }
            }
        }
    };
}

run!(run_minima, 8, 0, true, false);
run!(run_q6k, 16, 32, false, false);
run!(run_q8_0, 8, 128, false, true);
run!(run_q4_0, 8, 8, false, true);

macro_rules! go_through {
    ($run:ident, $panels:expr, $x:expr, $place:expr, $out:expr) => {
        all_tokens!($run, $panels, $x, $place, $out, 8 => 8, 6 => 6, 4 => 4, 3 => 3, 2 => 2, 1 => 1)
    };
}

/// Multiplies some rows of a matrix, a multiple of sixteen, with all rows of activations.
///
/// # Safety
/// No other thread writes these columns of `out`; `weights` holds whole rows of `format`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma")]
pub(super) unsafe fn multiply(format: Format, weights: &[u8], x: &Activations, out: Output, rows: Range<usize>) {
    panels!(
        Panel,
        ROWS,
        BLOCKS,
        format,
        weights,
        x,
        rows,
        |sixteen, index, panel| match format {
            Format::Q4K => q4k(sixteen, index, panel),
            Format::Q5K => q5k(sixteen, index, panel),
            Format::Q6K => q6k(sixteen, index, panel),
            Format::Q8_0 => q8_0(sixteen, index, panel),
            Format::Q4_0 => q4_0(sixteen, index, panel),
        },
        |ready, block, column| {
            let place = Place { block, column };
            match format {
                Format::Q4K | Format::Q5K => go_through!(run_minima, ready, x, place, out),
                Format::Q6K => go_through!(run_q6k, ready, x, place, out),
                Format::Q8_0 => go_through!(run_q8_0, ready, x, place, out),
                Format::Q4_0 => go_through!(run_q4_0, ready, x, place, out),
            }
        }
    );
}
