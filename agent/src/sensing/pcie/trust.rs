//! How far to believe what an endpoint says of its own link.
//!
//! * Functions inside a processor or chipset describe an internal bus ("16.0 GT/s x16" of a security processor).
//! * Intel Arc cards always say 2.5 GT/s x1, AMD cards since Vega and Navi 16 or 32 GT/s x16: the link between the chip and
//!   a switch on the card. The card's link to the machine is the switch's upstream port, two levels up.
//! * Thunderbolt and USB4 carry PCIe in a tunnel whose ports all say 2.5 GT/s x4, whatever the cable carries.
//! * In a virtual machine the link files are missing or invented by the hypervisor.

use super::Function;
use super::link::NoLink;
use ouro_common::device::LinkTrust;

/// AMD, the processors and chipsets.
pub(crate) const AMD: u32 = 0x1022;
/// AMD, formerly ATI: the GPUs.
pub(crate) const AMD_GPU: u32 = 0x1002;
/// Intel.
pub(crate) const INTEL: u32 = 0x8086;
/// ASMedia, whose chips are in enclosures.
const ASMEDIA: u32 = 0x1b21;
/// NVIDIA.
pub(crate) const NVIDIA: u32 = 0x10de;
/// QEMU's emulated devices (Red Hat).
pub(crate) const QEMU: u32 = 0x1b36;

/// GPUs of AMD's processors, which share its package; for recordings that lack the functions beside them.
fn is_amd_integrated_gpu(device: u32) -> bool {
    matches!(
        device,
        0x1304..=0x131d | 0x9640..=0x964f | 0x9802..=0x980a | 0x9830..=0x9877 | 0x98e4 | 0x9900..=0x99a4 // Llano to Stoney
            | 0x15d8 | 0x15dd | 0x15e7 | 0x1636 | 0x1638 | 0x163f | 0x164c..=0x164e | 0x1681 // Raven to Rembrandt
            | 0x1114 | 0x13c0 | 0x1435 | 0x1506 | 0x150e | 0x1586 | 0x15bf | 0x15c8 | 0x1900..=0x1902 // Mendocino to Strix Halo
    )
}

/// Whether the ports above a function without figures say what its link is.
pub(crate) fn has_honest_ports(f: &Function, around: Around<'_>) -> bool {
    !around.virtual_machine && f.link.no_link.is_none()
}

/// Ports of Thunderbolt and USB4 controllers, for kernels and recordings that do not say `removable`.
fn is_tunnel_port(f: &Function) -> bool {
    let Some(device) = f.device else { return false };
    match f.vendor {
        // Light Ridge to Falcon Ridge, Alpine Ridge, Titan Ridge, Goshen Ridge, Maple Ridge, Barlow Ridge.
        Some(INTEL) => matches!(
            device,
            0x1513
                | 0x151a
                | 0x1547
                | 0x1549
                | 0x156b
                | 0x156d
                | 0x1576
                | 0x1578
                | 0x15c0
                | 0x15d3
                | 0x15da
                | 0x15e7
                | 0x15ea
                | 0x15ef
                | 0x0b26
                | 0x1136
                | 0x5780
                | 0x5786
        ),
        Some(ASMEDIA) => matches!(device, 0x2421..=0x2428 | 0x2461..=0x2463),
        _ => false,
    }
}

/// Whether the way to the machine leads through a Thunderbolt or USB4 cable.
pub(crate) fn is_tunnelled(f: &Function, upstream: &[&Function]) -> bool {
    f.is_removable || upstream.iter().any(|hop| hop.is_removable || is_tunnel_port(hop))
}

/// What a function's surroundings say of it.
#[derive(Clone, Copy)]
pub(crate) struct Around<'f> {
    /// The GPU of the same slot: the function itself, or the one whose sound or USB it is.
    pub(crate) gpu: Option<&'f Function>,
    /// Whether its bus holds functions of AMD's processors.
    pub(crate) on_processor_bus: bool,
    /// Whether a hypervisor runs the machine.
    pub(crate) virtual_machine: bool,
}

/// The trust, and the reason in a sentence.
pub(crate) fn judge(function: &Function, upstream: &[&Function], around: Around<'_>) -> (LinkTrust, String) {
    let (trust, why) = judge_plainly(function, upstream, around);
    (trust, why.to_string())
}

fn judge_plainly(f: &Function, upstream: &[&Function], around: Around<'_>) -> (LinkTrust, &'static str) {
    use LinkTrust::{Integrated, Measured, Unknown, Unreliable};
    if around.virtual_machine {
        return (Unknown, "a virtual machine: link files are missing or invented by the hypervisor");
    }
    match f.link.no_link {
        Some(NoLink::Internal) => return (Integrated, "link width 0: part of the processor, no PCIe link"),
        Some(NoLink::Down) => return (Unknown, "link width 0: the link is down, the device asleep or not there"),
        Some(NoLink::Gone) => return (Unknown, "the link files hold all-ones: the device is gone or asleep"),
        None => {}
    }
    if f.vendor == Some(AMD) {
        return (Integrated, "part of an AMD processor or chipset: the link is an internal bus");
    }
    let gpu = around.gpu.unwrap_or(f);
    if f.vendor == Some(AMD_GPU) && (around.on_processor_bus || gpu.device.is_some_and(is_amd_integrated_gpu)) {
        return (Integrated, "part of an AMD processor: the link is an internal bus");
    }
    if f.on_root_bus && !f.link.has_figures() && matches!(f.vendor, Some(INTEL)) {
        return (Integrated, "on the root bus without link files: part of the processor or chipset");
    }
    if is_tunnelled(f, upstream) {
        return (Unreliable, "behind Thunderbolt or USB4: the ports of the tunnel say 2.5 GT/s x4, whatever the cable carries");
    }
    if is_arc(f) && (f.kind() == "gpu" || is_on_arc_card(upstream)) {
        return (Unreliable, "Intel Arc always reports 2.5 GT/s x1; its link is at the upstream port of the card's switch");
    }
    // Its sound function repeats what the GPU says.
    if let Some(gpu) = around.gpu.filter(|gpu| gpu.vendor == Some(AMD_GPU))
        && is_behind_own_switch(gpu, upstream)
    {
        return (
            Unreliable,
            "the figures are of the bus inside the card; its link is at the upstream port of the card's switch",
        );
    }
    match (f.link.current().is_some(), f.link.max().is_some()) {
        (false, false) => (Unknown, "no link files with figures"),
        (true, true) if upstream.iter().any(|hop| hop.link.capability().is_none()) => {
            (Measured, "read from the device; not every hop has figures")
        }
        (true, true) => (Measured, "read from the device and every hop seen above it"),
        (true, false) => (Measured, "only the present link is known; an idle device may run slower than it can"),
        (false, true) => (Measured, "only maxima are known"),
    }
}

/// Sound of an Arc card has a port of its own in the card's switch. A network card at Gen1 x1 sits in a slot, with one hop above.
fn is_on_arc_card(upstream: &[&Function]) -> bool {
    matches!(upstream, [down, up, ..] if is_arc(down) && down.is_bridge() && up.vendor == Some(INTEL) && up.is_bridge())
}

/// Discrete Intel GPUs report Gen1 x1 for now and for ever; no real GPU has that as its maximum.
fn is_arc(f: &Function) -> bool {
    let says_gen1_x1 = |gt: Option<f64>, lanes: Option<u32>| gt == Some(2.5) && lanes == Some(1);
    f.vendor == Some(INTEL)
        && (says_gen1_x1(f.link.max_gt_per_s, f.link.max_lanes)
            || (f.link.max().is_none() && says_gen1_x1(f.link.current_gt_per_s, f.link.current_lanes)))
}

/// Bridges of AMD's that sit on cards: all with the GPUs' vendor, and those of Vega 10 and MI200. The bridges of its chipsets
/// have the same vendor as the latter, so the device must tell.
fn is_on_card(bridge: &Function) -> bool {
    bridge.vendor == Some(AMD_GPU) || (bridge.vendor == Some(AMD) && matches!(bridge.device, Some(0x1470 | 0x1471 | 0x14c7)))
}

/// Without the tree above, the GPU's device id must tell: Vega 10 and everything from Navi 10 on has the switch, save the
/// data-centre cards among them, which are no VGA controllers.
fn is_behind_own_switch(f: &Function, upstream: &[&Function]) -> bool {
    match upstream.first() {
        Some(nearest) => is_on_card(nearest),
        None => {
            f.class.is_none_or(|class| class >> 8 == 0x0300) && f.device.is_some_and(|id| matches!(id, 0x6860..=0x687f | 0x7310..=0x75ff))
        }
    }
}

/// The hops above an unreliable endpoint whose figures can be believed.
pub(crate) fn hops_above_card<'a, 'u>(f: &Function, upstream: &'u [&'a Function]) -> impl Iterator<Item = &'a Function> + use<'a, 'u> {
    let skip = match upstream.first() {
        // Arc's downstream port repeats the same Gen1 x1.
        _ if f.vendor == Some(INTEL) => upstream.iter().take_while(|hop| is_arc(hop)).count(),
        // The downstream port of the switch on an AMD card is the other end of the lie.
        Some(nearest) if nearest.vendor == Some(AMD_GPU) => 1,
        _ => 0,
    };
    upstream.iter().skip(skip).copied()
}

#[cfg(test)]
mod tests {
    use super::super::link::HopLink;
    use super::*;

    fn function(class: u32, vendor: u32, gt: f64, lanes: u32) -> Function {
        let link = HopLink {
            current_gt_per_s: Some(gt),
            current_lanes: Some(lanes),
            max_gt_per_s: Some(gt),
            max_lanes: Some(lanes),
            no_link: None,
        };
        Function { class: Some(class), vendor: Some(vendor), link, ..Function::default() }
    }

    const ALONE: Around<'_> = Around { gpu: None, on_processor_bus: false, virtual_machine: false };

    fn trust_of(f: &Function, upstream: &[&Function]) -> LinkTrust {
        judge(f, upstream, Around { gpu: (f.kind() == "gpu").then_some(f), ..ALONE }).0
    }

    #[test]
    fn cards_with_a_switch_of_their_own_are_unreliable() {
        let root_port = function(0x060400, AMD, 16.0, 8);
        let up = function(0x060400, AMD_GPU, 16.0, 8);
        let down = function(0x060400, AMD_GPU, 16.0, 16);
        let gpu = function(0x030000, AMD_GPU, 16.0, 16);
        assert_eq!(trust_of(&gpu, &[&down, &up, &root_port]), LinkTrust::Unreliable);
        assert_eq!(trust_of(&gpu, &[&root_port]), LinkTrust::Measured, "an older card sits directly in the slot");
        assert_eq!(trust_of(&gpu, &[&root_port, &root_port]), LinkTrust::Measured, "or behind the chipset");
        assert_eq!(trust_of(&Function { device: Some(0x744c), ..gpu.clone() }, &[]), LinkTrust::Unreliable);
        assert_eq!(trust_of(&Function { device: Some(0x67df), ..gpu }, &[]), LinkTrust::Measured, "Polaris has no switch");
        assert_eq!(trust_of(&function(0x030000, INTEL, 2.5, 1), &[]), LinkTrust::Unreliable);
        assert_eq!(
            trust_of(&function(0x020000, INTEL, 2.5, 1), &[]),
            LinkTrust::Measured,
            "a network card at Gen1 x1 is possible"
        );
    }

    #[test]
    fn an_arc_card_is_budgeted_from_its_upstream_port() {
        let root_port = function(0x060400, INTEL, 32.0, 8);
        let up = function(0x060400, INTEL, 16.0, 8);
        let down = function(0x060400, INTEL, 2.5, 1);
        let gpu = function(0x030000, INTEL, 2.5, 1);
        let lanes: Vec<u32> = hops_above_card(&gpu, &[&down, &up, &root_port]).filter_map(|f| f.link.max_lanes).collect();
        assert_eq!(lanes, [8, 8]);
    }

    #[test]
    fn sound_of_a_card_is_believed_no_more_than_its_gpu() {
        let root_port = function(0x060400, AMD, 16.0, 8);
        let up = function(0x060400, AMD_GPU, 16.0, 8);
        let down = function(0x060400, AMD_GPU, 16.0, 16);
        let gpu = function(0x030000, AMD_GPU, 16.0, 16);
        let sound = function(0x040300, AMD_GPU, 16.0, 16);
        let beside = Around { gpu: Some(&gpu), ..ALONE };
        assert_eq!(judge(&sound, &[&down, &up, &root_port], beside).0, LinkTrust::Unreliable);
        assert_eq!(judge(&sound, &[&root_port], beside).0, LinkTrust::Measured);
        let (up, down) = (function(0x060400, INTEL, 16.0, 8), function(0x060400, INTEL, 2.5, 1));
        assert_eq!(trust_of(&function(0x040300, INTEL, 2.5, 1), &[&down, &up, &root_port]), LinkTrust::Unreliable);
    }

    #[test]
    fn what_hangs_on_a_cable_is_not_budgeted_from_its_tunnel() {
        let port = Function { device: Some(0x15ea), ..function(0x060400, INTEL, 2.5, 4) };
        let gpu = function(0x030000, NVIDIA, 8.0, 4);
        assert_eq!(trust_of(&gpu, &[&port, &port]), LinkTrust::Unreliable);
        let told = Function { is_removable: true, ..gpu.clone() };
        assert!(trust_of(&told, &[]) == LinkTrust::Unreliable && is_tunnelled(&told, &[]));
        let plain = function(0x060400, INTEL, 2.5, 4);
        assert_eq!(trust_of(&gpu, &[&plain]), LinkTrust::Measured, "an old slot is as slow as it says");
    }

    #[test]
    fn functions_of_the_processor_are_integrated() {
        assert_eq!(trust_of(&function(0x108000, AMD, 16.0, 16), &[]), LinkTrust::Integrated);
        let on_bus = Around { on_processor_bus: true, ..ALONE };
        assert_eq!(judge(&function(0x030000, AMD_GPU, 16.0, 16), &[], on_bus).0, LinkTrust::Integrated);
        let virtual_machine = Around { virtual_machine: true, ..ALONE };
        assert_eq!(judge(&function(0x030000, NVIDIA, 16.0, 16), &[], virtual_machine).0, LinkTrust::Unknown);
    }
}
