//! Asking for memory before it is wanted: the processor's own reading ahead follows few streams at a time and stops at the end
//! of a page.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the cache lines of `bytes` bytes from `start` on, which may lie anywhere: what is not there is not read.
#[inline(always)]
pub(crate) fn ask_for(start: *const u8, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        line(start.wrapping_add(at));
        at += LINE_BYTES;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn line(start: *const u8) {
    // SAFETY: every x86-64 has SSE; a prefetch reads nothing.
    unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(start.cast()) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn line(start: *const u8) {
    // SAFETY: as an instruction it changes nothing but the caches. Its intrinsic is not stable.
    unsafe { std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) start, options(readonly, nostack, preserves_flags)) };
}

/// Elsewhere the processor's own reading ahead has to do.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn line(_: *const u8) {}
