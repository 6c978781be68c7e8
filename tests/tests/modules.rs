//! Modules as files: what `ouroctl` makes, other tools read, and the other way round. A fleet is needed for next to none of it.

use ouro_common::document::ModulesDocument;
use ouro_tests::{Bench, Fleet, LoopDevice, NodeOptions, Outcome, assets, check_transcript, containers::put_container, skipped};
use std::fs;
use std::path::Path;

#[test]
fn the_same_containers_make_the_same_bytes() {
    let (one, other) = (Bench::new(), Bench::new());
    for bench in [&one, &other] {
        let _ = bench.run("module build F/containers -o F/m.img").exits(0);
    }
    assert!(fs::read(one.path("m.img")).unwrap() == fs::read(other.path("m.img")).unwrap());
    // A module in a folder is the same module, and nothing of the build stays behind.
    let image = one.run("module build F/containers -o F/again.img --output quiet").exits(0).stdout;
    assert_eq!(one.run("module build F/containers -o F/layout/ --output quiet").exits(0).stdout, image);
    let left: Vec<_> = fs::read_dir(one.folder()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_changed_byte_on_an_image_is_found() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/m.img").exits(0);
    let mut image = fs::read(bench.path("m.img")).unwrap();
    let at = image.windows(4096).position(|w| w.iter().all(|b| *b == 7)).expect("the model lies on the image");
    image[at + 100] = 8;
    fs::write(bench.path("m.img"), &image).unwrap();
    let _ = bench
        .run("module verify F/m.img --any-signature")
        .exits(1)
        .says("model:1.0.0: its layer")
        .says("DIGEST_MISMATCH");
    // An image that was cut off while it was copied is not put on a stick.
    fs::write(bench.path("m.img"), &image[..image.len() / 2]).unwrap();
    let _ = bench.run("module write F/m.img F/nowhere --yes").exits(1).says("it is cut off: it has");
}

#[test]
fn skopeo_reads_what_we_write_and_we_read_what_it_writes() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/layout/").exits(0);
    let raw = bench.other("skopeo", &["inspect", "--raw", "oci:layout:model:1.0.0"], "").stdout;
    let manifest: serde_json::Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.ouroboros.container.v1+json");
    let config = bench.other("skopeo", &["inspect", "--config", "--raw", "oci:layout:model:1.0.0"], "").stdout;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&config).unwrap()["name"], "model");
    for name in ["model", "program", "tool"] {
        bench.other("skopeo", &["copy", &format!("oci:layout:{name}:1.0.0"), &format!("oci:copied:{name}:1.0.0")], "");
    }
    let ours = bench.digests("layout");
    assert_eq!((ours.len(), bench.digests("copied")), (3, ours.clone()), "a copied container is the same container");
    let _ = bench.run("module verify F/copied --any-signature").exits(0);
    let _ = bench.run("module sign F/copied").exits(2).says("module.key");
    bench.other("skopeo", &["copy", "oci:layout:model:1.0.0", "oci-archive:model.tar:model:1.0.0"], "");
    assert_eq!(bench.digests("model.tar"), ours[..1]);
    let _ = bench.run("module verify F/model.tar --any-signature").exits(0);
}

#[test]
fn minisign_takes_our_signatures_and_we_take_its() {
    let bench = Bench::new();
    let _ = bench.run("module keygen --no-password").exits(0);
    let _ = bench.run("module build F/containers -o F/layout/ --sign F/home/module.key").exits(0);
    bench.other("minisign", &["-V", "-p", "home/module.pub", "-m", "layout/index.json"], "");
    // Its keys, without a password, in both forms of signature.
    bench.other("minisign", &["-G", "-W", "-p", "theirs.pub", "-s", "theirs.key"], "");
    for legacy in [&[][..], &["-l"]] {
        let arguments = [&["-S", "-s", "theirs.key", "-m", "layout/index.json"], legacy].concat();
        bench.other("minisign", &arguments, "");
        let _ = bench.run("module verify F/layout --key F/theirs.pub").exits(0).says("signature   good");
        let _ = bench.run("module verify F/layout").exits(1).says("which was not given");
    }
    let _ = bench.run("module sign F/layout --key F/theirs.key").exits(0);
    bench.other("minisign", &["-V", "-p", "theirs.pub", "-m", "layout/index.json"], "");
}

#[test]
fn keys_with_a_password_open_in_both_tools() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/layout/").exits(0);
    fs::write(bench.path("password"), "correct horse\n").unwrap();
    fs::write(bench.path("wrong"), "battery staple\n").unwrap();
    bench.other("minisign", &["-G", "-p", "theirs.pub", "-s", "theirs.key"], "correct horse\ncorrect horse\n");
    let _ = bench.run("module sign F/layout --key F/theirs.key").exits(2).says("--password-file");
    let _ = bench.run("module sign F/layout --key F/theirs.key --password-file F/wrong").exits(2).says("wrong password");
    let _ = bench.run("module sign F/layout --key F/theirs.key --password-file F/password").exits(0);
    bench.other("minisign", &["-V", "-p", "theirs.pub", "-m", "layout/index.json"], "");
    let _ = bench.run("module keygen -o F/ours.key --password-file F/password").exits(0);
    bench.other("minisign", &["-S", "-s", "ours.key", "-m", "layout/index.json"], "correct horse\n");
    let _ = bench.run("module verify F/layout --key F/ours.pub").exits(0);
}

fn write(bench: &Bench, image: &str, device: &Path) -> Outcome {
    let image = bench.path(image).display().to_string();
    bench.ouroctl().run(&["module", "write", &image, &device.display().to_string(), "--yes"])
}

#[test]
fn an_image_is_written_to_a_device_and_found_there() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/m.img --label OURO-WRITTEN").exits(0);
    let (stick, small) = (bench.path("stick"), bench.path("small"));
    let device = match LoopDevice::of_size(&stick, 20 << 20) {
        Ok(device) => device,
        Err(reason) => return skipped(&reason),
    };
    fs::write(&stick, vec![0xff; 20 << 20]).unwrap();
    let _ = bench
        .ouroctl()
        .run(&["module", "write", &bench.path("m.img").display().to_string(), &device.path().display().to_string()])
        .exits(2)
        .says("--yes");
    let _ = write(&bench, "m.img", device.path()).exits(0).says("read back and the same");
    let listed = bench.run("module list").exits(0).says("OURO-WRITTEN").says("model:1.0.0, program:1.0.0, tool:1.0.0");
    assert!(listed.stdout.contains(&device.path().display().to_string()), "{}", listed.stdout);
    let there = device.path().display().to_string();
    let _ = bench.ouroctl().run(&["module", "verify", &there, "--any-signature"]).exits(0).says("OURO-WRITTEN");
    let too_small = LoopDevice::of_size(&small, 64 << 10).unwrap();
    let _ = write(&bench, "m.img", too_small.path()).exits(2).says("choose a larger device");
    // While it is mounted it is somebody's.
    let mount = bench.path("mounted");
    fs::create_dir(&mount).unwrap();
    bench.other("mount", &["-o", "ro,noload,nosuid,nodev,noexec", &there, "mounted"], "");
    let refused = write(&bench, "m.img", device.path());
    let folder = bench.run("module verify F/mounted --any-signature");
    bench.other("umount", &["mounted"], "");
    let _ = refused.exits(2).says("it is mounted at");
    let _ = folder.exits(0);
}

#[test]
fn a_container_has_one_identity_in_a_folder_and_in_an_image() {
    let names = ["digits", "langid", "sentiment"];
    let bench = Bench::new();
    assets::module_with(&bench.path("samples"), &names);
    let _ = bench.run("module build F/samples -o F/m.img").exits(0);
    let fleet = Fleet::of(&[NodeOptions::new("attic", &names)]);
    fleet.wait_container("attic", "sentiment");
    let modules: ModulesDocument = fleet.operator().run(&["modules", "--output", "json"]).exits(0).json();
    let folder = modules.modules.iter().find(|module| module.slot.starts_with("dir:")).expect("the folder is a module");
    let on_node: Vec<_> = folder.containers.iter().map(|c| c.digest.to_string()).collect();
    assert_eq!(on_node, bench.digests("m.img"));
}

#[test]
fn the_samples_are_packed_and_signed_by_one_command() {
    let bench = Bench::new();
    let pack = assets::tree().join("models/containers/pack").display().to_string();
    let programs = assets::program("ouroctl").parent().unwrap().display().to_string();
    for _ in 0..2 {
        bench.other("env", &[&format!("OURO_BIN_DIR={programs}"), &pack, "out"], "");
    }
    for (module, containers) in [("language", ["keywords", "langid", "sentiment"]), ("documents", ["csv-stats", "digits", "summarize"])] {
        let verified = bench.run(&format!("module verify F/out/{module}.img --key F/out/development.pub")).exits(0);
        for container in containers {
            let _ = verified.clone().says(&format!("{container}:"));
        }
        assert!(bench.path(&format!("out/{module}/{}/container.toml", containers[0])).exists());
    }
}

#[test]
fn the_disk_of_the_running_system_is_never_written_to() {
    let bench = Bench::new();
    let _ = bench.run("module build F/containers -o F/m.img").exits(0);
    let root = bench.other("findmnt", &["-no", "SOURCE", "/"], "").stdout;
    let root = String::from_utf8(root).unwrap().trim().to_string();
    if !Path::new(&root).exists() {
        return skipped(&format!("the root file system is on {root:?}, which is no device"));
    }
    let _ = write(&bench, "m.img", Path::new(&root)).exits(2).says("of the running system");
}

#[test]
fn the_verbs_as_a_person_sees_them() {
    let bench = Bench::new();
    put_container(&bench.path("broken"), "model", "gguf", &[]);
    fs::create_dir(bench.path("empty")).unwrap();
    fs::write(bench.path("letter.txt"), "Dear all,\n").unwrap();
    for key in ["signer", "stranger"] {
        let _ = bench.run(&format!("module keygen -o F/{key}.key --no-password")).exits(0);
    }
    let folder = bench.folder().display().to_string();
    check_transcript(&assets::tree().join("tests/golden/modules.txt"), bench.ouroctl(), &[("FOLDER", &folder)]);
}
