//! The processor, from `/proc/cpuinfo` in its x86, Arm, POWER, RISC-V, LoongArch and s390 dialects, and from `devices/system/cpu` where an app
//! may not read that.

use super::memory::count_list;
use super::scan::Scan;
use ouro_common::device::Cpu;
use std::collections::BTreeSet;

mod arm_parts;

/// Extensions that matter to inference, in the order in which they are reported.
const INFERENCE_ISA: &[&str] = &[
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
    "altivec",
    "vsx",
    "v",
    "zvfh",
    "lsx",
    "lasx",
    "vxe",
    "vxe2",
    "nnpa",
];

/// The processor, and whether it says that a hypervisor runs it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuReading {
    pub(crate) cpu: Cpu,
    /// The `hypervisor` flag of x86.
    pub(crate) hypervisor: bool,
    /// Sockets.
    pub(crate) packages: usize,
}

/// Reads the processor.
pub(crate) fn read(scan: &Scan<'_>) -> CpuReading {
    let text = scan.table(&scan.proc("cpuinfo")).unwrap_or_default();
    let mut reading = parse(&text);
    let directory = scan.sys("devices/system/cpu");
    if reading.cpu.logical.is_none() {
        reading.cpu.logical = ["online", "present", "possible"].iter().find_map(|name| count_list(&scan.text(&directory.join(name))?));
    }
    // Core ids repeat between clusters and sockets; sets of sibling threads do not.
    if reading.cpu.physical.is_none() {
        reading.cpu.physical = count_cores(scan).filter(|cores| reading.cpu.logical.is_none_or(|logical| *cores <= logical));
    }
    if reading.cpu.arch.is_none() {
        reading.cpu.arch = if scan.root().is_live() { Some(std::env::consts::ARCH.to_string()) } else { arch_of_version(scan) };
    }
    reading
}

/// POWER's cpuinfo does not say its byte order; the kernel's banner mostly does.
fn arch_of_version(scan: &Scan<'_>) -> Option<String> {
    let version = scan.table(&scan.proc("version"))?;
    let known = ["x86_64", "aarch64", "ppc64le", "ppc64", "riscv64", "s390x", "loongarch64", "armv7l", "i686"];
    known.iter().find(|arch| version.contains(**arch)).map(|arch| (*arch).to_string())
}

/// Distinct sets of sibling threads, only if every processor seen has one.
fn count_cores(scan: &Scan<'_>) -> Option<u32> {
    let directory = scan.sys("devices/system/cpu");
    let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let mut sets = BTreeSet::new();
    for name in scan.names(&directory).into_iter().filter(is_cpu) {
        let topology = directory.join(&name).join("topology");
        // The masks tell cores apart as well as the lists.
        let files = ["core_cpus_list", "thread_siblings_list", "core_cpus", "thread_siblings"];
        let siblings = files.iter().find_map(|file| scan.text(&topology.join(file)))?;
        sets.insert(siblings);
    }
    u32::try_from(sets.len()).ok().filter(|count| *count > 0)
}

/// What cpuinfo says.
pub(crate) fn parse(text: &str) -> CpuReading {
    let mut processors = 0u32;
    let (mut cores, mut packages) = (BTreeSet::new(), BTreeSet::new());
    let (mut package, mut names) = (None, NameParts::default());
    let mut common: Option<BTreeSet<&str>> = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match key {
            // Old Arm kernels write the model's name under a capital P.
            "processor" if value.parse::<u32>().is_ok() => {
                processors = processors.saturating_add(1);
                package = None;
            }
            "physical id" => {
                package = Some(value);
                packages.insert(value);
            }
            "core id" => {
                cores.insert((package, value));
            }
            "flags" | "Features" | "features" | "isa" => {
                names.take(key, value);
                let here: BTreeSet<&str> = if key == "isa" { riscv_extensions(value) } else { value.split_whitespace().collect() };
                // Big and little cores can differ; a step may run on either.
                common = Some(common.map_or_else(|| here.clone(), |all| all.intersection(&here).copied().collect()));
            }
            _ => names.take(key, value),
        }
    }
    let flags = common.unwrap_or_default();
    let isa = INFERENCE_ISA
        .iter()
        .filter(|name| flags.contains(**name) || names.power_has(name))
        .map(|name| (*name).to_string())
        .collect();
    CpuReading {
        cpu: Cpu {
            arch: names.arch(&flags),
            model: names.model(),
            logical: (processors > 0).then_some(processors).or(names.s390_processors).filter(|count| *count > 0),
            physical: u32::try_from(cores.len()).ok().filter(|count| *count > 0),
            isa,
        },
        hypervisor: flags.contains("hypervisor"),
        packages: packages.len(),
    }
}

/// The extensions of `rv64imafdcv_zicsr_zvfh`: letters first, then words.
fn riscv_extensions(isa: &str) -> BTreeSet<&str> {
    let mut parts = isa.split('_');
    let letters = parts.next().and_then(|first| first.get(4..)).unwrap_or_default();
    let letters = letters.char_indices().filter_map(|(at, letter)| letters.get(at..at + letter.len_utf8()));
    letters.chain(parts).collect()
}

/// The lines from which a name and an architecture are made.
#[derive(Debug, Default)]
struct NameParts {
    model: Option<String>,
    hardware: Option<String>,
    power: Option<String>,
    arm_architecture: Option<String>,
    implementer: Option<u32>,
    arm_cores: Vec<(u32, u32)>,
    riscv: Option<String>,
    /// The design of a RISC-V core: `sifive,u74-mc`.
    riscv_design: Option<String>,
    s390: bool,
    /// s390 has one line for all its processors, and one with the machine's type for each.
    s390_processors: Option<u32>,
    s390_type: Option<String>,
}

impl NameParts {
    fn take(&mut self, key: &str, value: &str) {
        let hex = || u32::from_str_radix(value.trim_start_matches("0x"), 16).ok();
        let owned = || (!value.is_empty()).then(|| value.to_string());
        match key {
            "model name" | "Model Name" => self.model = self.model.take().or_else(owned),
            "Hardware" => self.hardware = owned(),
            "cpu" => self.power = self.power.take().or_else(owned),
            "CPU architecture" => self.arm_architecture = owned(),
            "CPU implementer" => self.implementer = hex(),
            "CPU part" => self.arm_cores.extend(self.implementer.zip(hex())),
            "isa" => self.riscv = owned(),
            "uarch" => self.riscv_design = owned(),
            "vendor_id" => self.s390 |= value == "IBM/S390",
            "# processors" => self.s390_processors = value.parse().ok(),
            _ if key.starts_with("processor ") => {
                self.s390_type = value.split(',').find_map(|part| part.trim().strip_prefix("machine = ")).map(str::to_string);
            }
            _ => {}
        }
    }

    fn model(&self) -> Option<String> {
        let arm = || arm_parts::describe(&self.arm_cores);
        let power = || self.power.as_deref().and_then(|text| text.split(',').next()).map(str::to_string);
        // Arm kernels print "ARMv8 Processor rev 1 (v8l)", which names nothing.
        let named = self.model.clone().filter(|name| !name.starts_with("ARMv"));
        let s390 = || self.s390_type.as_ref().filter(|_| self.s390).map(|number| format!("IBM {number}"));
        let others = || self.riscv_design.clone().or_else(s390).or_else(|| self.model.clone());
        named.or_else(|| self.hardware.clone()).or_else(arm).or_else(power).or_else(others)
    }

    fn power_has(&self, extension: &str) -> bool {
        self.power.as_deref().is_some_and(|text| text.contains(&format!("{extension} supported")))
    }

    fn arch(&self, flags: &BTreeSet<&str>) -> Option<String> {
        let arch = match self.arm_architecture.as_deref() {
            Some("8" | "AArch64") => "aarch64",
            Some(version) if version.starts_with('7') => "armv7l",
            Some(_) => "arm",
            None if flags.contains("lm") => "x86_64",
            None if flags.contains("fpu") && flags.contains("tsc") => "i686",
            None if self.riscv.as_deref().is_some_and(|isa| isa.starts_with("rv64")) => "riscv64",
            None if self.riscv.as_deref().is_some_and(|isa| isa.starts_with("rv32")) => "riscv32",
            None if self.s390 => "s390x",
            None if flags.contains("lam") && flags.contains("cpucfg") => "loongarch64",
            None => return None,
        };
        Some(arch.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_threads_and_cores_are_told_apart() {
        let block = |n: u32, package: u32, core: u32| {
            format!(
                "processor\t: {n}\nmodel name\t: Xeon\nphysical id\t: {package}\ncore id\t: {core}\nflags\t: fpu tsc lm avx2 fma hypervisor\n\n"
            )
        };
        let text: String = (0..8).map(|n| block(n, n / 4, n / 2 % 2)).collect();
        let reading = parse(&text);
        assert_eq!((reading.cpu.logical, reading.cpu.physical, reading.packages), (Some(8), Some(4), 2));
        assert_eq!(reading.cpu.isa, ["fma", "avx2"]);
        assert_eq!(reading.cpu.arch.as_deref(), Some("x86_64"));
        assert!(reading.hypervisor);
    }

    #[test]
    fn arm_cores_are_named_by_their_parts_and_share_extensions() {
        let core = |part: &str, features: &str| {
            format!("processor\t: 0\nFeatures\t: fp asimd {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n\n")
        };
        let text = core("0xd46", "asimddp i8mm") + &core("0xd46", "asimddp i8mm") + &core("0xd4d", "asimddp i8mm sve");
        let reading = parse(&text);
        assert_eq!(reading.cpu.model.as_deref(), Some("2 × Cortex-A510 + Cortex-A715"));
        assert_eq!(reading.cpu.isa, ["asimd", "asimddp", "i8mm"], "sve is not on every core");
        assert_eq!(reading.cpu.arch.as_deref(), Some("aarch64"));
    }

    #[test]
    fn a_mainframe_counts_its_processors_in_one_line() {
        let text = "vendor_id       : IBM/S390\n# processors    : 4\nbogomips per cpu: 3241.00\nmax thread id   : 0\n\
                    features\t: esan3 zarch vx vxd vxe gs vxe2 nnpa sie\n\
                    processor 0: version = FF,  identification = 0133E8,  machine = 3931\n\ncpu number      : 0\n";
        let cpu = parse(text).cpu;
        assert_eq!((cpu.logical, cpu.arch.as_deref(), cpu.model.as_deref()), (Some(4), Some("s390x"), Some("IBM 3931")));
        assert_eq!(cpu.isa, ["vxe", "vxe2", "nnpa"]);
    }

    #[test]
    fn a_riscv_core_is_named_by_its_design_and_says_whether_it_has_vectors() {
        let core = |isa: &str| format!("processor\t: 0\nhart\t\t: 1\nisa\t\t: {isa}\nmmu\t\t: sv39\nuarch\t\t: sifive,u74-mc\n");
        let cpu = parse(&core("rv64imafdc_zicntr_zba")).cpu;
        assert_eq!((cpu.model.as_deref(), cpu.arch.as_deref()), (Some("sifive,u74-mc"), Some("riscv64")));
        assert!(cpu.isa.is_empty());
        assert_eq!(parse(&core("rv64imafdcv_zicbom_zvfh")).cpu.isa, ["v", "zvfh"]);
        assert!(parse(&core("rv64imafdc_svinval")).cpu.isa.is_empty(), "a word with a v is no vector");
        let dragon = "processor\t: 0\nModel Name\t: Loongson-3A6000\nfeatures\t: cpucfg lam ual fpu lsx lasx\n";
        let cpu = parse(dragon).cpu;
        assert_eq!((cpu.model.as_deref(), cpu.arch.as_deref()), (Some("Loongson-3A6000"), Some("loongarch64")));
        assert_eq!(cpu.isa, ["lsx", "lasx"]);
    }

    #[test]
    fn power_is_read_too() {
        let reading = parse("processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t: 3450MHz\n");
        assert_eq!(reading.cpu.model.as_deref(), Some("POWER9"));
        assert_eq!(reading.cpu.isa, ["altivec"]);
    }
}
