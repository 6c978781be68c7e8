//! Names of Arm cores: Arm's cpuinfo gives numbers only (`CPU implementer`, `CPU part`).
//!
//! Source: the Main ID registers in Arm's technical reference manuals, as listed in util-linux `lscpu-arm.c`.

/// Implementer, part, name.
const PARTS: &[(u32, u32, &str)] = &[
    (0x41, 0xc07, "Cortex-A7"),
    (0x41, 0xc0f, "Cortex-A15"),
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd0e, "Cortex-A76AE"),
    (0x41, 0xd0d, "Cortex-A77"),
    (0x41, 0xd40, "Neoverse-V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd44, "Cortex-X1"),
    (0x41, 0xd46, "Cortex-A510"),
    (0x41, 0xd47, "Cortex-A710"),
    (0x41, 0xd48, "Cortex-X2"),
    (0x41, 0xd49, "Neoverse-N2"),
    (0x41, 0xd4b, "Cortex-A78C"),
    (0x41, 0xd4d, "Cortex-A715"),
    (0x41, 0xd4e, "Cortex-X3"),
    (0x41, 0xd4a, "Neoverse-E1"),
    (0x41, 0xd4c, "Cortex-X1C"),
    (0x41, 0xd4f, "Neoverse-V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x41, 0xd81, "Cortex-A720"),
    (0x41, 0xd82, "Cortex-X4"),
    (0x41, 0xd84, "Neoverse-V3"),
    (0x41, 0xd85, "Cortex-X925"),
    (0x41, 0xd87, "Cortex-A725"),
    (0x41, 0xd8e, "Neoverse-N3"),
    (0x42, 0x516, "ThunderX2"),
    (0x43, 0x0af, "ThunderX2"),
    (0x46, 0x001, "A64FX"),
    (0x48, 0xd01, "TaiShan-v110"),
    (0x48, 0xd02, "TaiShan-v120"),
    (0x4e, 0x003, "Denver 2"),
    (0x4e, 0x004, "Carmel"),
    (0x51, 0x800, "Kryo-Gold-V2"),
    (0x51, 0x801, "Kryo-Silver-V2"),
    (0x51, 0x802, "Kryo-3xx-Gold"),
    (0x51, 0x803, "Kryo-3xx-Silver"),
    (0x51, 0x804, "Kryo-4xx-Gold"),
    (0x51, 0x805, "Kryo-4xx-Silver"),
    (0x51, 0x001, "Oryon"),
    (0x61, 0x022, "Apple Icestorm"),
    (0x61, 0x023, "Apple Firestorm"),
    (0x61, 0x024, "Apple Icestorm"),
    (0x61, 0x025, "Apple Firestorm"),
    (0x61, 0x028, "Apple Icestorm"),
    (0x61, 0x029, "Apple Firestorm"),
    (0x61, 0x032, "Apple Blizzard"),
    (0x61, 0x033, "Apple Avalanche"),
    (0x61, 0x034, "Apple Blizzard"),
    (0x61, 0x035, "Apple Avalanche"),
    (0x61, 0x038, "Apple Blizzard"),
    (0x61, 0x039, "Apple Avalanche"),
    (0xc0, 0xac3, "Ampere-1"),
    (0xc0, 0xac4, "Ampere-1a"),
];

/// `4 × Cortex-A55 + 4 × Cortex-A76`, in order of appearance; `None` if no core is known.
pub(super) fn describe(cores: &[(u32, u32)]) -> Option<String> {
    let mut counts: Vec<(&str, u32)> = Vec::new();
    for (implementer, part) in cores {
        let (_, _, name) = PARTS.iter().find(|(i, p, _)| i == implementer && p == part)?;
        match counts.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let words = counts.iter().map(|(name, count)| if *count == 1 { (*name).to_string() } else { format!("{count} × {name}") });
    let text = words.collect::<Vec<_>>().join(" + ");
    (!text.is_empty()).then_some(text)
}
