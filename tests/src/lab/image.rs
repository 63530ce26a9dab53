//! The images of the lab, built from scratch, since there is no registry.
//!
//! `busybox` is Debian's static busybox with all its names; `probe` is our own static program, see `tests/probe`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::engine::Engine;

/// Loads both images into `engine`; `scratch` is a directory for the root file systems while they are packed.
///
/// # Errors
/// When busybox is not installed or the Engine refuses an image.
pub fn load(engine: &Engine, scratch: &Path) -> Result<()> {
    engine.import("busybox", &busybox(&scratch.join("busybox"))?, &["CMD [\"/bin/sh\"]"])?;
    engine.import("probe", &probe(&scratch.join("probe"))?, &["ENTRYPOINT [\"/probe\"]"])
}

/// Loads busybox alone, under the name `name`.
///
/// # Errors
/// As [`load`].
pub fn load_busybox(engine: &Engine, scratch: &Path, name: &str) -> Result<()> {
    engine.import(name, &busybox(&scratch.join("busybox"))?, &["CMD [\"/bin/sh\"]"])
}

/// The root file system of the image `busybox` as a tar archive; `root` is a scratch directory.
///
/// # Errors
/// When busybox is not installed.
pub fn busybox(root: &Path) -> Result<Vec<u8>> {
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("no /bin/busybox; install Debian's busybox-static")?;
    let list = Command::new("/bin/busybox").arg("--list").output().context("could not run busybox")?;
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|n| *n != "busybox") {
        let link = root.join("bin").join(name);
        if !link.exists() {
            symlink("/bin/busybox", link)?;
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    pack(root)
}

/// Busybox with a file of so many MiB beside it.
///
/// # Errors
/// As [`busybox`].
pub fn filler(root: &Path, mib: usize) -> Result<Vec<u8>> {
    busybox(root)?;
    fs::write(root.join("filler"), vec![7; mib << 20])?;
    pack(root)
}

fn probe(root: &Path) -> Result<Vec<u8>> {
    fs::create_dir_all(root)?;
    fs::copy(env!("LONGSHORE_PROBE"), root.join("probe")).context("the probe was not built")?;
    pack(root)
}

fn pack(root: &Path) -> Result<Vec<u8>> {
    let output = Command::new("tar").arg("-C").arg(root).args(["-c", "."]).output().context("could not run tar")?;
    ensure!(output.status.success(), "tar failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
