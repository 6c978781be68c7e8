//! What the memory modules could carry at most, from the firmware's table (SMBIOS 3.7, structure type 17).
//!
//! Modules of one channel share it, so channels are counted, not modules. Which channel a module sits in stands only in the
//! words that the board's maker chose ("P0 CHANNEL A", "DIMM_B1"); where those say nothing the figure is unknown.

use crate::sensing::scan::Scan;
use ouro_common::device::TheoreticalBandwidth;
use std::collections::BTreeMap;

/// The structure type of a memory device.
const MEMORY_DEVICE: u8 = 17;
/// The structure that ends the table.
const END_OF_TABLE: u8 = 127;

/// A module that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Width of its data path in bits.
    pub(crate) width_bits: u32,
    /// Transfers in a second, millions; the configured speed, or else the highest.
    pub(crate) mega_transfers_per_s: u32,
    /// The maker's words for its bank and its slot.
    pub(crate) locator: (String, String),
}

/// Reads and concludes.
pub(crate) fn read(scan: &Scan<'_>, virtual_machine: bool) -> TheoreticalBandwidth {
    let unknown = |why: &str| TheoreticalBandwidth { bytes_per_s: None, why: why.to_string() };
    let place = scan.sys("firmware/dmi/tables/DMI");
    if virtual_machine {
        return unknown("a virtual machine does not see the modules");
    }
    match scan.bytes(&place) {
        Some(table) => conclude(&parse(&table)),
        None if scan.exists(&place) => unknown("only root may read the firmware's table"),
        None => unknown("there is no firmware's table of the modules"),
    }
}

/// The sum of the channels.
pub(crate) fn conclude(modules: &[Module]) -> TheoreticalBandwidth {
    let unknown = |why: String| TheoreticalBandwidth { bytes_per_s: None, why };
    if modules.is_empty() {
        return unknown("the firmware's table lists no module".to_string());
    }
    if modules.iter().any(|m| m.width_bits == 0 || m.mega_transfers_per_s == 0) {
        return unknown("the firmware's table does not give width and speed of every module".to_string());
    }
    let mut channels: BTreeMap<String, f64> = BTreeMap::new();
    for module in modules {
        let channel = match (channel(&module.locator), modules.len()) {
            (Some(channel), _) => channel,
            // One module fills one channel, whatever it is called.
            (None, 1) => String::new(),
            (None, _) => {
                let (bank, slot) = &module.locator;
                return unknown(format!("the firmware's words {bank:?} and {slot:?} do not say in which channel a module sits"));
            }
        };
        let rate = f64::from(module.width_bits) / 8.0 * f64::from(module.mega_transfers_per_s) * 1e6;
        let slowest = channels.entry(channel).or_insert(rate);
        *slowest = slowest.min(rate);
    }
    let speeds: Vec<u32> = modules.iter().map(|m| m.mega_transfers_per_s).collect();
    let (low, high) = (speeds.iter().min().copied().unwrap_or(0), speeds.iter().max().copied().unwrap_or(0));
    let speed = if low == high { format!("{low}") } else { format!("{low} to {high}") };
    let (channels_text, modules_text) = (counted(channels.len(), "channel"), counted(modules.len(), "module"));
    TheoreticalBandwidth {
        bytes_per_s: Some(channels.values().sum()),
        why: format!("{channels_text}, {modules_text} at {speed} MT/s"),
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The words up to the channel's name: `P0 CHANNEL A` of `P0 CHANNEL A DIMM 1`; the letter of `DIMM_A2`.
fn channel((bank, slot): &(String, String)) -> Option<String> {
    [bank, slot]
        .into_iter()
        .find_map(|text| named_channel(text))
        .or_else(|| lettered_slot(slot))
        .or_else(|| lettered_slot(bank))
}

fn named_channel(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let after = upper.find("CHANNEL")? + "CHANNEL".len();
    let rest = &upper[after..];
    let name = rest.trim_start_matches([' ', '_', '-', ':']);
    let skipped = rest.len() - name.len();
    let length = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    // "CHANNELA" and "CHANNEL 0" name one; "CHANNEL" alone, or a whole word, does not.
    (1..=2).contains(&length).then(|| upper[..after + skipped + length].to_string())
}

fn lettered_slot(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let at = upper.rfind("DIMM")? + "DIMM".len();
    let name = upper[at..].trim_start_matches([' ', '_', '-']);
    let letter = name.chars().next().filter(char::is_ascii_uppercase)?;
    let number = &name[1..];
    let is_slot = number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit());
    is_slot.then(|| format!("{}{letter}", &upper[..at]))
}

/// The modules of a table of SMBIOS structures; what is cut off or does not fit is left out.
pub(crate) fn parse(table: &[u8]) -> Vec<Module> {
    let mut modules = Vec::new();
    for structure in structures(table).filter(|s| s.kind == MEMORY_DEVICE) {
        let size = structure.word(0x0c).unwrap_or(0);
        if size == 0 {
            continue;
        }
        let width_bits = structure.word(0x0a).filter(|bits| (1..=1024).contains(bits)).unwrap_or(0);
        let speed = |word: usize, extended: usize| match structure.word(word) {
            Some(0xffff) => structure.double_word(extended).filter(|speed| *speed < 1_000_000),
            speed => speed.map(u32::from),
        };
        let speed = speed(0x20, 0x58).filter(|speed| *speed > 0).or_else(|| speed(0x15, 0x54)).unwrap_or(0);
        modules.push(Module {
            width_bits: u32::from(width_bits),
            mega_transfers_per_s: speed,
            locator: (structure.string(0x11), structure.string(0x10)),
        });
    }
    modules
}

/// The table with nothing in it but what [`parse`] reads: it also holds serial numbers and the machine's UUID.
pub(crate) fn without_secrets(table: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for structure in structures(table).filter(|s| s.kind == MEMORY_DEVICE) {
        let mut fixed = structure.fixed.to_vec();
        // Manufacturer, serial number, asset tag, part number: no string. The two that stay are renumbered.
        for at in [0x17, 0x18, 0x19, 0x1a] {
            if let Some(byte) = fixed.get_mut(at) {
                *byte = 0;
            }
        }
        let mut strings = Vec::new();
        for at in [0x10, 0x11] {
            let text = structure.string(at);
            let Some(byte) = fixed.get_mut(at) else { continue };
            *byte = 0;
            if !text.is_empty() {
                strings.push(text);
                *byte = u8::try_from(strings.len()).unwrap_or(0);
            }
        }
        kept.extend_from_slice(&fixed);
        for text in &strings {
            kept.extend_from_slice(text.as_bytes());
            kept.push(0);
        }
        kept.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
    }
    kept.extend_from_slice(&[END_OF_TABLE, 4, 0xff, 0xff, 0, 0]);
    kept
}

/// One structure: its fixed part and the strings behind it.
struct Structure<'t> {
    kind: u8,
    fixed: &'t [u8],
    strings: &'t [u8],
}

impl Structure<'_> {
    fn word(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.fixed.get(at..at + 2)?.try_into().ok()?))
    }

    fn double_word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.fixed.get(at..at + 4)?.try_into().ok()?))
    }

    /// The string whose number stands at `at`; empty if there is none.
    fn string(&self, at: usize) -> String {
        let number = usize::from(self.fixed.get(at).copied().unwrap_or(0));
        let text = number.checked_sub(1).and_then(|index| self.strings.split(|byte| *byte == 0).nth(index)).unwrap_or_default();
        let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        text.trim().to_string()
    }
}

fn structures(mut table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    std::iter::from_fn(move || {
        let (kind, length) = (*table.first()?, usize::from(*table.get(1)?));
        if kind == END_OF_TABLE || length < 4 || length > table.len() {
            return None;
        }
        let (fixed, rest) = table.split_at(length);
        // Strings end with two zeros, also where there are none.
        let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap_or(rest.len());
        let strings = &rest[..end];
        table = rest.get(end + 2..).unwrap_or_default();
        Some(Structure { kind, fixed, strings })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(size: u16, width: u16, speed: u16, bank: &str, slot: &str) -> Vec<u8> {
        let mut fixed = vec![0u8; 0x22];
        (fixed[0], fixed[1]) = (MEMORY_DEVICE, 0x22);
        fixed[0x0a..0x0c].copy_from_slice(&width.to_le_bytes());
        fixed[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        (fixed[0x10], fixed[0x11], fixed[0x18]) = (1, 2, 3);
        fixed[0x20..0x22].copy_from_slice(&speed.to_le_bytes());
        fixed.extend_from_slice(format!("{slot}\0{bank}\0SN-4711\0\0").as_bytes());
        fixed
    }

    fn figure(table: &[u8]) -> Option<f64> {
        conclude(&parse(table)).bytes_per_s
    }

    #[test]
    fn channels_are_counted_and_empty_slots_are_not() {
        let two_channels = [
            structure(0x2000, 64, 3200, "P0 CHANNEL A", "DIMM 0"),
            structure(0x2000, 64, 3200, "P0 CHANNEL A", "DIMM 1"),
            structure(0x2000, 64, 3200, "P0 CHANNEL B", "DIMM 0"),
            structure(0, 64, 3200, "P0 CHANNEL B", "DIMM 1"),
        ];
        assert_eq!(figure(&two_channels.concat()), Some(2.0 * 25.6e9));
        let by_slot = [structure(0x2000, 64, 5600, "BANK 0", "DIMM_A2"), structure(0x2000, 64, 5600, "BANK 2", "DIMM_B2")];
        assert_eq!(figure(&by_slot.concat()), Some(2.0 * 44.8e9));
        let soldered: Vec<u8> = (0..8)
            .flat_map(|n| structure(0x1000, 16, 6400, "BANK 0", &format!("Controller{}-Channel{}", n / 4, n % 4)))
            .collect();
        assert_eq!(figure(&soldered), Some(8.0 * 12.8e9));
        assert_eq!(figure(&structure(0x2000, 64, 3200, "", "DIMM 0")), Some(25.6e9), "one module is one channel");
    }

    #[test]
    fn what_the_words_do_not_say_is_unknown() {
        let nameless = [structure(0x2000, 64, 3200, "BANK 0", "DIMM 0"), structure(0x2000, 64, 3200, "BANK 1", "DIMM 1")];
        let unknown = conclude(&parse(&nameless.concat()));
        assert!(unknown.bytes_per_s.is_none() && unknown.why.contains("DIMM 0"), "{}", unknown.why);
        assert_eq!(figure(&structure(0x2000, 64, 0, "", "DIMM 0")), None, "no speed");
        assert_eq!(figure(&[]), None);
    }

    #[test]
    fn a_snapshot_keeps_the_figure_and_no_serial_number() {
        let mut table = vec![1, 4, 0, 0];
        table.extend_from_slice(b"machine serial\0\0");
        table.extend(structure(0x2000, 64, 3200, "P0 CHANNEL A", "DIMM 0"));
        table.extend(structure(0x2000, 64, 3200, "P0 CHANNEL B", "DIMM 0"));
        let kept = without_secrets(&table);
        assert_eq!(parse(&kept), parse(&table));
        let text = String::from_utf8_lossy(&kept);
        assert!(text.contains("CHANNEL B") && !text.contains("4711") && !text.contains("serial"), "{text}");
    }
}
