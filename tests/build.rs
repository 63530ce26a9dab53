//! Builds the probe: a static program for containers of the lab, which have no libc. It is one file without
//! dependencies, so the compiler is called directly, and the workspace's own profile stays as it is.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=probe/probe.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe");
    let rustc = std::env::var_os("RUSTC").expect("cargo sets RUSTC");
    let status = Command::new(rustc)
        .args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-Cstrip=symbols", "-o"])
        .arg(&out)
        .arg("probe/probe.rs")
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "could not build the probe; is the C compiler with its static library installed?");
    println!("cargo::rustc-env=LONGSHORE_PROBE={}", out.display());
}
