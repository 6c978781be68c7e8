//! Where the machine is touched: one file knows the kernel's paths, and `unsafe` says why it is sound.

use crate::{File, Rust, Tree, Violation};

/// The one file that may name the kernel's folders.
const HOST_ROOT: &str = "agent/src/sensing/host_root.rs";
/// The one file that names them as a container sees them: nothing of this machine.
const INSIDE: &str = "agent/src/oci/inside.rs";
/// The kernel's folders.
const KERNEL_FOLDERS: [&str; 3] = ["/sys", "/proc", "/dev"];
/// How far above an `unsafe` its reason may begin, in lines.
const SAFETY_LINES: usize = 3;

/// Literals that begin with the kernel's folders stand in one file, so that a recorded machine can take their place.
///
/// Test modules are held to it as well; the folders called `tests` are not.
pub fn kernel_paths(tree: &Tree) -> Vec<Violation> {
    let remedy = "ask the sensing module's host root for it, which takes the root as an argument";
    let literals = tree.rust().filter(|(file, _)| ![HOST_ROOT, INSIDE].contains(&file.path.as_str()) && !file.is_in_tests());
    let found = literals.flat_map(|(file, rust)| rust.literals.into_iter().map(move |(line, text)| (file, line, text)));
    let bad = found.filter(|(_, _, text)| names_kernel_folder(text));
    bad.map(|(file, line, text)| Violation::at(&file.path, line, format!("{text:?} is a kernel path"), remedy))
        .collect()
}

fn names_kernel_folder(text: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with('/');
    KERNEL_FOLDERS.iter().any(|folder| text.strip_prefix(folder).is_some_and(ends))
}

/// Every `unsafe` block or implementation has a `SAFETY:` line at most three lines above it.
pub fn safety(tree: &Tree) -> Vec<Violation> {
    tree.rust().flat_map(|(file, rust)| unexplained(file, &rust)).collect()
}

fn unexplained(file: &File, rust: &Rust) -> Vec<Violation> {
    let remedy = "say above it, after `// SAFETY:`, why nothing can go wrong";
    // The type of a foreign function, `unsafe extern "C" fn`, does nothing that needs a reason.
    let opens = |rest: &str| {
        let after = rest["unsafe".len()..].trim_start();
        let pointer = after.starts_with("extern") && after.contains("fn(");
        !pointer && ["{", "impl", "extern"].iter().any(|next| after.starts_with(next))
    };
    let explained = |line: usize| {
        // A longer reason counts as well, as long as its comment reaches down to the block.
        let touching = rust.comments[..line - 1].iter().rev().take_while(|c| !c.is_empty()).count();
        let from = (line - 1).saturating_sub(SAFETY_LINES.max(touching));
        rust.comments[from..line].iter().any(|comment| comment.contains("SAFETY:"))
    };
    let blocks = rust.words("unsafe").filter(|(line, rest)| opens(rest) && !explained(*line));
    blocks.map(|(line, _)| Violation::at(&file.path, line, "`unsafe` without its reason", remedy)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::assert_catches;

    #[test]
    fn kernel_paths_outside_their_file_are_caught() {
        let clean = [
            (HOST_ROOT, "const A: &str = \"/sys/class\";"),
            ("agent/src/a.rs", "// \"/proc\"\nlet a = \"/device\"; let b = \"sys/class\";"),
            ("tests/src/a.rs", "let a = \"/dev/loop0\";"),
        ];
        let planted = [("agent/src/a.rs", "let a = 1;\n#[cfg(test)] mod tests { fn f() { open(\"/proc/stat\"); g(br\"/dev\") } }")];
        assert_catches(kernel_paths, &clean, &planted, &["agent/src/a.rs:2", "agent/src/a.rs:2"]);
    }

    #[test]
    fn unsafe_without_a_reason_is_caught() {
        let clean = [(
            "a.rs",
            "// SAFETY: one\n// two\n// three\n// four\nlet a = unsafe { f() };\n// SAFETY: here\nunsafe impl Send for A {}\n\
             #[unsafe(no_mangle)]\nfn b() {}\nlet c = \"unsafe {\"; // unsafe {",
        )];
        let planted = [(
            "a.rs",
            "// SAFETY: too far\nlet a = 1;\nlet b = 2;\nlet c = 3;\nlet d = unsafe { f() };\nunsafe impl Send for A {}",
        )];
        assert_catches(safety, &clean, &planted, &["a.rs:5", "a.rs:6"]);
    }
}
