//! What hashed n-grams of characters and of words have in common: the hash, the weights, and the limits of their parameters.

use super::OnnxError;

/// The parameters as a manifest declares them.
pub(super) struct Declared<'a> {
    pub(super) min_n: usize,
    pub(super) max_n: usize,
    pub(super) buckets: usize,
    pub(super) hash: &'a str,
    pub(super) weight: &'a str,
}

impl Declared<'_> {
    pub(super) fn check(&self) -> Result<(), OnnxError> {
        let Self { min_n, max_n, buckets, hash, weight } = self;
        let refuse = |field, problem| Err(OnnxError::Tensors { field, problem });
        if *hash != "fnv1a32" {
            return refuse("tensors.input.hash", format!("{hash:?} is not known, only fnv1a32 is"));
        }
        if *weight != "log1p_l2" {
            return refuse("tensors.input.weight", format!("{weight:?} is not known, only log1p_l2 is"));
        }
        if *min_n == 0 || min_n > max_n || *max_n > 16 {
            return refuse("tensors.input.min_n", format!("{min_n} to {max_n} is not a range within 1 to 16"));
        }
        if !(1..=1 << 24).contains(buckets) {
            return refuse("tensors.input.buckets", format!("{buckets} is not within 1 to 16777216"));
        }
        Ok(())
    }
}

/// FNV-1a, 32 bits (draft-eastlake-fnv).
pub(super) fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// ln(1 + count), scaled to unit length; no counts stay all zero.
pub(super) fn log1p_l2(counts: Vec<u32>) -> Vec<f32> {
    let logs: Vec<f64> = counts.into_iter().map(|count| f64::from(count).ln_1p()).collect();
    let length = logs.iter().map(|log| log * log).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    logs.into_iter().map(|log| (log * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!([fnv1a32(b""), fnv1a32(b"a"), fnv1a32(b"foobar")], [0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968]);
    }

    #[test]
    fn nothing_counted_stays_zero() {
        assert_eq!(log1p_l2(vec![0, 0]), [0.0, 0.0]);
        assert_eq!(log1p_l2(vec![0, 3]), [0.0, 1.0]);
    }
}
