//! Lets the test binary's own `getrandom` stand before the C library's, also for who looks it up by name.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol=getrandom");
}
