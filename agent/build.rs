//! Compiles the first process of task sandboxes, which the agent carries with it (`pause/pause.rs` says what it is).

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=pause/pause.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let out = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["pause/pause.rs", "--crate-name=pause", "--crate-type=bin", "--edition=2024"]);
    rustc.args(["--target", &variable("TARGET"), "-o"]).arg(&out);
    // As small as it goes, and the same bytes from the same source: the image is named by their hash.
    rustc.args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Cdebuginfo=0", "-Crelocation-model=static"]);
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,noexecstack"] {
        rustc.arg(format!("-Clink-arg={argument}"));
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("could not run {rustc:?}: {error}"));
    assert!(status.success(), "{rustc:?} failed: {status}");
}
