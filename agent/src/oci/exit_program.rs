//! The smallest program there is: it ends with success. A runtime that can run it can run containers on this machine.
//!
//! A static ELF executable of one segment, written out here, since a node need not have any program that would do.

/// The program for the processor this agent was built for; `None` where its instructions are not known here.
pub(super) fn exit_program() -> Option<Vec<u8>> {
    let (machine, code): (u16, &[u8]) = match std::env::consts::ARCH {
        // xor edi, edi; mov eax, 231 (exit_group); syscall
        "x86_64" => (62, &[0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]),
        // mov x0, 0; mov x8, 94 (exit_group); svc 0
        "aarch64" => (183, &[0x00, 0x00, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]),
        _ => return None,
    };
    Some(elf(machine, code))
}

/// ELF-64, little endian (System V ABI, chapter 4): header, one program header, and the code right behind them.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    for half in [2, machine] {
        program.extend(half.to_le_bytes());
    }
    program.extend(1_u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    // A loadable segment, readable and executable, over the whole file.
    for word in [1_u32, 5] {
        program.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(code);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_runs_here_and_ends_with_success() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit");
        std::fs::write(&path, exit_program().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's fork may hold the file open for writing for a moment.
        let status = (0..50).find_map(|_| {
            let status = std::process::Command::new(&path).status();
            if status.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            status.ok()
        });
        assert!(status.unwrap().success());
    }
}
