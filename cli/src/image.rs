//! Modules as files: reading them in every form they come in, and making them.
//!
//! What is on a module is judged by `ouro_common::module`; here are only the ways to its bytes, and back.

pub(crate) mod archive;
pub(crate) mod blobs;
pub(crate) mod digests;
pub(crate) mod ext4;
pub(crate) mod folder;
pub(crate) mod gather;
pub(crate) mod layout;
pub(crate) mod make_ext4;
pub(crate) mod open;
pub(crate) mod rootfs;
