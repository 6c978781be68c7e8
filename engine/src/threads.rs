//! How many threads the decoder uses: decided by whoever starts the process, because candle's pools read it once.
//!
//! Changing the environment of a running process is unsound as soon as it has a second thread, so the count is not an
//! argument of opening a model: the agent puts these variables into the environment of the worker it spawns.

/// The environment variables with which a process must be started for its decoder to use `count` threads.
///
/// The first is read by rayon (attention, element-wise work), the second by candle's own pool (quantised products).
pub fn environment(count: usize) -> [(&'static str, String); 2] {
    let count = count.max(1).to_string();
    [("RAYON_NUM_THREADS", count.clone()), ("CANDLE_NUM_THREADS", count)]
}

/// The threads the decoder of this process uses.
pub fn in_use() -> usize {
    candle_core::utils::get_num_threads()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_started_with_no_threads() {
        assert!(environment(0).iter().all(|(_, value)| value == "1"));
        assert!(environment(3).iter().all(|(_, value)| value == "3"));
    }
}
