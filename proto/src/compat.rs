//! Which protocol versions work together: a server speaks its own version and the one before.

use ouro_common::envelope::PROTOCOL_VERSION;

/// The oldest version this build speaks.
pub const OLDEST_VERSION: u32 = 1;

/// The version both ends speak: the highest in both ranges.
pub fn agree(peer_min: u32, peer_max: u32) -> Option<u32> {
    let version = peer_max.min(PROTOCOL_VERSION);
    (version >= peer_min.max(OLDEST_VERSION)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_taken() {
        assert_eq!(agree(1, 1), Some(1));
        assert_eq!(agree(1, PROTOCOL_VERSION + 5), Some(PROTOCOL_VERSION));
        assert_eq!(agree(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 5), None);
        assert_eq!(agree(0, 0), None);
    }
}
