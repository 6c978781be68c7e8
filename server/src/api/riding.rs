//! Small inputs ride along: what lies on the server's disk and fits into a message goes with the assignment, since a node that has
//! to fetch it waits for one more round trip.

use crate::blobs::Blobs;
use crate::store::{LiveAttempt, TagRecord};
use crate::world::World;
use ouro_common::envelope::INLINE_TAG_BYTES;
use ouro_common::id::Name;
use std::sync::Arc;

/// The attempt with as many of its inputs inline as fit.
pub(super) async fn with_small_inputs(world: &Arc<World>, attempt: LiveAttempt) -> LiveAttempt {
    let places = riders(&attempt.inputs);
    if places.is_empty() {
        return attempt;
    }
    let (world, inputs) = (world.clone(), attempt.inputs.clone());
    let read = tokio::task::spawn_blocking(move || load(&world.blobs, inputs, &places)).await;
    LiveAttempt { inputs: read.unwrap_or_else(|_| attempt.inputs.clone()), ..attempt }
}

/// The places of the inputs that are to be read, the smallest first, so that as many as possible ride.
fn riders(inputs: &[(Name, TagRecord)]) -> Vec<usize> {
    let riding = inputs.iter().filter_map(|(_, tag)| tag.inline.as_ref()).map(Vec::len).sum();
    let mut room = INLINE_TAG_BYTES.saturating_sub(riding) as u64;
    let on_disk = |at: &usize| inputs[*at].1.inline.is_none() && inputs[*at].1.on_server;
    let mut places: Vec<usize> = (0..inputs.len()).filter(on_disk).collect();
    places.sort_by_key(|at| inputs[*at].1.size_bytes);
    let fits = |at: &usize| {
        let left = room.checked_sub(inputs[*at].1.size_bytes);
        room = left.unwrap_or(0);
        left.is_some()
    };
    places.into_iter().take_while(fits).collect()
}

/// What cannot be read is left for the node to ask for: it is told why then.
fn load(blobs: &Blobs, mut inputs: Vec<(Name, TagRecord)>, places: &[usize]) -> Vec<(Name, TagRecord)> {
    for &at in places {
        let tag = &mut inputs[at].1;
        let bytes = blobs.read(&tag.digest, 0, INLINE_TAG_BYTES);
        tag.inline = bytes.ok().filter(|bytes| bytes.len() as u64 == tag.size_bytes);
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouro_common::id::{Digest, RequestId};

    fn input(bytes: &[u8], on_server: bool, inline: bool) -> (Name, TagRecord) {
        let tag = TagRecord {
            request: RequestId::from_parts(1, [1; 10]),
            tag: "t".parse().unwrap(),
            media: "text/plain".into(),
            digest: Digest::blake3(bytes),
            size_bytes: bytes.len() as u64,
            inline: inline.then(|| bytes.to_vec()),
            on_server,
            holders: vec![],
        };
        ("in".parse().unwrap(), tag)
    }

    #[test]
    fn as_many_as_fit_ride_and_what_is_gone_is_left_to_be_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 0).unwrap();
        let (large, middle, small) = (vec![1; INLINE_TAG_BYTES], vec![2; 20_000], vec![3; 5_000]);
        for bytes in [&large, &middle, &small] {
            blobs.put(Digest::blake3(bytes), bytes).unwrap();
        }
        let inputs = vec![
            input(&large, true, false),
            input(&middle, true, false),
            input(&small, true, false),
            input(b"rides already", false, true),
            input(b"with a node", false, false),
            input(b"gone", true, false),
        ];
        let places = riders(&inputs);
        let rode: Vec<bool> = load(&blobs, inputs, &places).iter().map(|(_, tag)| tag.inline.is_some()).collect();
        assert_eq!(rode, [false, true, true, true, false, false]);
        assert!(riders(&[input(&large, true, false)]) == [0] && riders(&[input(&[0; 40_000], true, false)]).is_empty());
    }
}
