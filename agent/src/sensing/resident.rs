//! The memory of a process, from proc(5): `status`, the line `VmRSS`.

use super::host_root::HostRoot;

/// Resident memory of a process in bytes, mapped files included; `process` is its number or `self`.
pub fn resident_bytes(host: &HostRoot, process: &str) -> Option<u64> {
    let status = host.read_bytes(&host.proc(&format!("{process}/status")), 1 << 16).ok()?;
    let status = String::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_one_that_is_not_there_has_none() {
        let host = HostRoot::live();
        assert!(resident_bytes(&host, "self").unwrap() > 100_000);
        assert_eq!(resident_bytes(&host, "4294967295"), None);
    }
}
