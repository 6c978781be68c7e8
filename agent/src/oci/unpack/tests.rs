//! Layers as honest tools and as attackers write them, unpacked beside a file that must stay as it is.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use ouro_common::id::Digest;
use ouro_common::module::Layer;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use tar::{Builder, EntryType, Header};

/// (type, path, content or link, mode)
type Line<'a> = (EntryType, &'a str, &'a str, u32);

fn tar(lines: &[Line<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(vec![]);
    for (kind, path, text, mode) in lines {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // The library refuses to write hostile names; an attacker does not use the library.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        let is_link = matches!(kind, Symlink | EntryType::Link);
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        let content = if is_link { "" } else { text };
        header.set_size(content.len() as u64);
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

struct Ground {
    folder: tempfile::TempDir,
    layers: Vec<LayerFile>,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "untouched").unwrap();
        fs::create_dir(folder.path().join("rootfs")).unwrap();
        Self { folder, layers: vec![] }
    }

    fn layer(&mut self, kind: LayerKind, bytes: &[u8]) {
        let path = self.folder.path().join(format!("layer-{}", self.layers.len()));
        fs::write(&path, bytes).unwrap();
        let digest = Digest::sha256(Sha256::digest(bytes).into());
        self.layers.push(LayerFile { path, layer: Layer { kind, digest, size_bytes: bytes.len() as u64 } });
    }

    fn unpack(&self, allowed: u64) -> Result<u64, UnpackError> {
        let unpacked = unpack(&self.layers, &self.root(), allowed, 0);
        assert_eq!(fs::read_to_string(self.folder.path().join("precious")).unwrap(), "untouched");
        assert_eq!(
            fs::read_dir(self.folder.path()).unwrap().count(),
            2 + self.layers.len(),
            "nothing was written beside the folder"
        );
        unpacked
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }
}

use EntryType::{Directory, Regular as Plain, Symlink};

#[test]
fn upper_layers_replace_remove_and_empty_what_lower_ones_have() {
    let mut ground = Ground::new();
    ground.layer(
        LayerKind::Tar,
        &tar(&[
            (Directory, "etc/", "", 0o755),
            (Plain, "etc/a", "lower", 0o4755),
            (Plain, "etc/gone", "x", 0o644),
            (Plain, "old/deep/file", "x", 0o644),
            (Symlink, "lib", "usr/lib", 0o777),
            (Plain, "usr/lib/real", "x", 0o644),
            (EntryType::Link, "second", "etc/a", 0o644),
        ]),
    );
    let mut gz = GzEncoder::new(vec![], Compression::default());
    gz.write_all(&tar(&[
        (Plain, "etc/.wh.gone", "", 0),
        (Plain, "old/.wh..wh..opq", "", 0),
        (Plain, "etc/a", "upper", 0o644),
        (Plain, "lib/added", "through the link, inside", 0o644),
    ]))
    .unwrap();
    ground.layer(LayerKind::TarGzip, &gz.finish().unwrap());
    ground.unpack(1 << 20).unwrap();
    let root = ground.root();
    assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "upper");
    assert!(!root.join("etc/gone").exists() && !root.join("old/deep").exists());
    assert!(root.join("usr/lib/added").is_file());
    assert_eq!(fs::read_to_string(root.join("second")).unwrap(), "lower");
    assert_eq!(fs::metadata(root.join("second")).unwrap().permissions().mode() & 0o7777, 0o755, "the set-user bit is gone");
}

#[test]
fn links_planted_first_lead_nowhere_afterwards() {
    let absolute = |target: &str| tar(&[(Symlink, "trap", target, 0o777), (Plain, "trap/precious", "overwritten", 0o644)]);
    let outside = Ground::new();
    let mut ground = Ground::new();
    // Resolved as if the folder were the root, the trap leads to a folder of that name inside.
    ground.layer(LayerKind::Tar, &absolute(&outside.folder.path().to_string_lossy()));
    ground.unpack(1 << 20).unwrap_err();
    assert_eq!(fs::read_to_string(outside.folder.path().join("precious")).unwrap(), "untouched");
    for lines in [
        &[(Symlink, "trap", "../", 0o777), (Plain, "trap/precious", "overwritten", 0o644)][..],
        &[(Plain, "../precious", "overwritten", 0o644)],
        &[(EntryType::Link, "mine", "../precious", 0o644), (Plain, "mine", "overwritten", 0o644)],
        &[(EntryType::Char, "mem", "", 0o666)],
        &[(EntryType::Fifo, "pipe", "", 0o666)],
    ] {
        let mut ground = Ground::new();
        ground.layer(LayerKind::Tar, &tar(lines));
        assert!(matches!(ground.unpack(1 << 20), Err(UnpackError::Layer { .. })), "{lines:?}");
    }
}

#[test]
fn a_hard_link_to_a_planted_symbolic_one_is_refused() {
    let mut ground = Ground::new();
    ground.layer(LayerKind::Tar, &tar(&[(Symlink, "a", "/etc/shadow", 0o777), (EntryType::Link, "b", "a", 0o644)]));
    assert!(ground.unpack(1 << 20).is_err());
}

#[test]
fn bombs_lies_and_damage_end_the_unpacking() {
    let mut bomb = GzEncoder::new(vec![], Compression::best());
    bomb.write_all(&tar(&[(Plain, "zeros", &"\0".repeat(64 << 20), 0o644)])).unwrap();
    let bomb = bomb.finish().unwrap();
    let mut ground = Ground::new();
    ground.layer(LayerKind::TarGzip, &bomb);
    let error = ground.unpack(1 << 40).unwrap_err();
    assert!(error.to_string().contains("bomb"), "{error}");
    assert!(ground.unpack(1 << 20).unwrap_err().to_string().contains("oci.rootfs_bytes"));

    let mut ground = Ground::new();
    ground.layer(LayerKind::Tar, &tar(&[(Plain, "a", "x", 0o644)]));
    fs::write(&ground.layers[0].path, tar(&[(Plain, "a", "y", 0o644)])).unwrap();
    assert!(matches!(ground.unpack(1 << 20), Err(UnpackError::Digest { .. })));

    for kind in [LayerKind::Tar, LayerKind::TarGzip, LayerKind::TarZstd] {
        let mut ground = Ground::new();
        ground.layer(kind, &[7; 2000]);
        assert!(matches!(ground.unpack(1 << 20), Err(UnpackError::Io { .. })), "{kind}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
fn owners_are_shifted_into_the_range_of_the_user_namespace() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let mut ground = Ground::new();
    ground.layer(LayerKind::Tar, &tar(&[(Plain, "folder/a", "x", 0o600)]));
    unpack(&ground.layers, &ground.root(), 1 << 20, 70_000).unwrap();
    assert_eq!(fs::metadata(ground.root().join("folder/a")).unwrap().uid(), 70_000);
    assert_eq!(fs::metadata(ground.root().join("folder")).unwrap().uid(), 70_000);
}
