//! Where `ouro-server` and `ouro-agent` are: beside this program, else where PATH says.

use ouro_common::error::{Fault, FaultCode};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Finds a program.
///
/// # Errors
/// `PART_MISSING` when it is neither beside `own` nor on `path`.
pub(super) fn find(name: &str, own: Option<&Path>, path: Option<&str>) -> Result<PathBuf, Fault> {
    let beside = own.and_then(Path::parent).map(Path::to_path_buf);
    let on_path = path.map(std::env::split_paths).into_iter().flatten();
    let mut candidates = beside.into_iter().chain(on_path).map(|folder| folder.join(name));
    candidates.find(|c| is_program(c)).ok_or_else(|| {
        Fault::new(FaultCode::PartMissing, format!("{name} is neither beside ouroctl nor on PATH"))
            .at(name)
            .remedy(format!("install {name}, or build it: `cargo build --bins`"))
    })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_comes_before_path_and_only_programs_count() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = here.path().join("ouroctl");
        let path = there.path().to_str().unwrap();
        let missing = find("ouro-x", Some(&own), Some(path)).unwrap_err();
        assert_eq!(missing.code, FaultCode::PartMissing);
        let program = |folder: &Path, mode| {
            let file = folder.join("ouro-x");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        program(here.path(), 0o644);
        let on_path = program(there.path(), 0o755);
        assert_eq!(find("ouro-x", Some(&own), Some(path)).unwrap(), on_path);
        let beside = program(here.path(), 0o755);
        assert_eq!(find("ouro-x", Some(&own), Some(path)).unwrap(), beside);
    }
}
