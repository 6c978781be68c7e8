//! A snapshot gives the same report as the machine, and nothing of what names the machine.

use super::*;
use crate::sensing::properties::{fuzz, fuzz_time};
use std::process::Command;

/// A laptop with every kind of secret in the places where real machines keep them.
fn plant(root: &Path) -> Vec<&'static str> {
    let files: &[(&str, &[u8])] = &[
        ("proc/meminfo", b"MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"),
        ("proc/loadavg", b"0.80 0.5 0.4 1/1 1\n"),
        (
            "proc/cpuinfo",
            b"processor\t: 0\nmodel name\t: Made by ACMESERIAL7\nSerial\t\t: 10000000deadbeef\nflags\t: fpu tsc lm avx2 serialize\n\
              processor 0: version = FF,  identification = 0FACE8,  machine = 3931\nidentification  : 0FACE8\n",
        ),
        ("proc/sysinfo", b"Sequence Code:        00000000000FACE8\nLPAR Name:            PAYROLL1\n"),
        ("proc/version", b"Linux version 6.1.0 (janedoe@builder7) on planetexpress #1\n"),
        ("proc/sys/kernel/hostname", b"planetexpress\n"),
        (
            "proc/driver/nvidia/gpus/0000:01:00.0/information",
            b"Model: \t NVIDIA RTX\nGPU UUID: GPU-deadbeef-1111-2222-3333-444455556666\n",
        ),
        ("sys/class/dmi/id/product_serial", b"ACMESERIAL7\n"),
        ("sys/class/dmi/id/product_uuid", b"cafebabe-1111-2222-3333-444455556666\n"),
        ("sys/class/dmi/id/chassis_type", b"10\n"),
        ("sys/class/net/eth0/address", b"9c:b6:d0:aa:bb:cc\n"),
        ("sys/devices/pci0000:00/0000:01:00.0/class", b"0x030000\n"),
        ("sys/devices/pci0000:00/0000:01:00.0/vendor", b"0x10de\n"),
        (
            "sys/devices/pci0000:00/0000:01:00.0/uevent",
            b"DRIVER=nvidia\nHID_UNIQ=9C-B6-D0-AA-BB-CC\nIP=10.20.30.40 fe80::9eb6:d0ff\n",
        ),
        ("sys/devices/nvme-fabrics/ctl/nvme0/transport", b"tcp\n"),
        ("sys/devices/nvme-fabrics/ctl/nvme0/address", b"traddr=10.20.30.40,trsvcid=4420\n"),
        ("sys/devices/nvme-fabrics/ctl/nvme0/serial", b"NVMESN0042\n"),
        ("sys/devices/nvme-fabrics/ctl/nvme0/model", b"Big Disk NVMESN0042\n"),
        ("sys/devices/bt/hid-9c:b6:d0:aa:bb:cc-battery/type", b"Battery\n"),
        ("sys/devices/bt/hid-9c:b6:d0:aa:bb:cc-battery/scope", b"Device\n"),
        ("sys/devices/bt/hid-9c:b6:d0:aa:bb:cc-battery/capacity", b"3\n"),
        ("sys/devices/acpi/BAT0/type", b"Battery\n"),
        ("sys/devices/acpi/BAT0/status", b"Discharging\n"),
        ("sys/devices/acpi/BAT0/capacity", b"55\n"),
        ("sys/devices/acpi/BAT0/energy_now", b"31337\n"),
        ("sys/devices/acpi/BAT0/serial_number", b"31337\n"),
        ("sys/devices/acpi/BAT0/uevent", b"POWER_SUPPLY_CAPACITY=55\nPOWER_SUPPLY_SERIAL_NUMBER=BATSN99X\n"),
    ];
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    for (link, target) in [
        ("sys/bus/pci/devices/0000:01:00.0", concat!("/", "sys/devices/pci0000:00/0000:01:00.0")),
        ("sys/class/nvme/nvme0", "../../devices/nvme-fabrics/ctl/nvme0"),
        ("sys/class/power_supply/BAT0", "../../devices/acpi/BAT0"),
        ("sys/class/power_supply/hid-9c:b6:d0:aa:bb:cc-battery", "../../devices/bt/hid-9c:b6:d0:aa:bb:cc-battery"),
    ] {
        let link = root.join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
    }
    vec![
        "ACMESERIAL7",
        "10000000deadbeef",
        "janedoe",
        "builder7",
        "planetexpress",
        "deadbeef-1111",
        "cafebabe",
        "9c:b6:d0",
        "9C-B6-D0",
        "10.20.30.40",
        "fe80::9eb6",
        "NVMESN0042",
        "BATSN99X",
        "0FACE8",
        "PAYROLL1",
    ]
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    bytes.windows(secret.len()).any(|window| window.eq_ignore_ascii_case(secret))
}

fn snapshot(root: &Path, file: PathBuf) -> Result<String, SnapshotError> {
    let mut out = Vec::new();
    run(&SnapshotOptions { root: Some(root.to_path_buf()), file }, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn no_secret_leaves_the_machine_and_the_report_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("machine");
    let secrets = plant(&root);
    let said = snapshot(&root, dir.path().join("copy.tar")).unwrap();
    assert!(said.contains("its report is the machine's"), "{said}");
    let bytes = fs::read(dir.path().join("copy.tar")).unwrap();
    for secret in &secrets {
        assert!(!holds(&bytes, secret), "{secret} is in the snapshot");
    }
    assert!(holds(&bytes, "Big Disk") && holds(&bytes, "31337"), "models and measurements stay");
    assert!(
        Command::new("tar")
            .arg("-xf")
            .arg(dir.path().join("copy.tar"))
            .arg("-C")
            .arg(dir.path())
            .status()
            .unwrap()
            .success()
    );
    let copy = report(&HostRoot::recorded(dir.path().join("copy/root")), REPORT);
    assert_eq!(copy.power.battery_percent, Some(55.0));
    assert_eq!(copy.power.supplies.len(), 2, "the headset is still there, under another name");
    assert_eq!((copy.pcie.len(), copy.nvme.len()), (1, 1));
    assert_eq!(copy.nvme[0].address.as_deref(), Some("traddr=192.0.2.1,trsvcid=4420"));
    let expected: HardwareReport = serde_json::from_slice(&fs::read(dir.path().join("copy/expected.json")).unwrap()).unwrap();
    assert_eq!(HardwareReport { root: "copy".into(), ..copy }, expected);
}

#[test]
fn every_recorded_machine_survives_being_recorded_again() {
    let dir = tempfile::tempdir().unwrap();
    for fixture in hw_fixtures::all() {
        let folder = dir.path().join(format!("{}/", fixture.name));
        let said = snapshot(&fixture.root, folder.clone()).unwrap();
        assert!(
            said.contains("its report is the machine's"),
            "{}: {said}{}",
            fixture.name,
            fs::read_to_string(folder.join("ORIGIN.md")).unwrap()
        );
        let readings = |root: &Path| Sampler::new().sample(&HostRoot::recorded(root), Duration::ZERO);
        assert_eq!(readings(&fixture.root), readings(&folder.join("root")), "{}", fixture.name);
    }
}

#[test]
fn the_live_machine_is_recorded_without_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("here.tar");
    let mut out = Vec::new();
    run(&SnapshotOptions { root: None, file: file.clone() }, &mut out).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert!(holds(&bytes, "MemTotal"));
    for secret in secrets::collect(&HostRoot::live()) {
        assert!(secret.len() < 8 || !holds(&bytes, &secret), "{secret}");
    }
    let again = run(&SnapshotOptions { root: None, file }, &mut out).unwrap_err();
    assert!(matches!(again, SnapshotError::Exists(_)), "{again}");
}

#[test]
fn a_name_that_is_neither_archive_nor_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    plant(&dir.path().join("machine"));
    assert!(matches!(snapshot(&dir.path().join("machine"), dir.path().join("x.zip")), Err(SnapshotError::UnclearForm(_))));
    assert!(matches!(snapshot(dir.path(), dir.path().join("x.tar")), Err(SnapshotError::NoMachine(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-written stays");
}

#[test]
fn forms_are_found_and_lookalikes_are_left() {
    let mut scrubber = Scrubber::new(vec!["R90XKJ7Z".into()]);
    for kept in [
        "0000:01:00.0",
        "10000:00:04.0",
        "pci0000:00",
        "0003:046D:C52B.0005",
        "16.0 GT/s PCIe",
        "processor : 1",
        "535.129.03",
        "0x010802",
        "POWER_SUPPLY_CAPACITY=85",
        "machine : PowerNV",
        "flags : serialize",
        "0-7,16-23",
        "LNXSYSTM:00",
        "XR90XKJ7ZX",
    ] {
        assert_eq!(scrubber.scrub_text(kept), kept);
    }
    assert_eq!(scrubber.scrub_text("SSD_R90xkj7z_1"), "SSD_scrubbed_1");
    assert_eq!(scrubber.scrub_text("hci 00:11:22:33:44:55:66:77 x"), "hci 02:00:00:00:00:01 x");
    assert_eq!(scrubber.scrub_text("{\"serial\": \"abc\", \"x\": 1}").matches("abc").count(), 0);
    let twice = scrubber.scrub_text("a 00-11-22-33-44-55 b 00:11:22:33:44:55");
    assert_eq!(twice, "a 02:00:00:00:00:02 b 02:00:00:00:00:02", "one address, one replacement");
}

#[test]
fn the_scrubber_survives_anything_and_scrubs_once() {
    fuzz("scrubber", fuzz_time() / 5, |bytes| {
        let mut scrubber = Scrubber::new(vec!["planet".into()]);
        let once = scrubber.scrub_file("uevent", bytes);
        let text = String::from_utf8_lossy(&once).to_ascii_lowercase();
        proptest::prop_assert!(!text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "planet"));
        proptest::prop_assert!(!text.contains("deadbeef-1111-2222"), "{}", text);
        let _path = scrubber.scrub_path(&text);
        Ok(())
    });
}
