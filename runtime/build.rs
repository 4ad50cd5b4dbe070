//! Tells the linker where `roci` begins: see `src/entry/early.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if of_target("ARCH") == "x86_64" && of_target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bin=roci=-Wl,--entry=roci_start");
    }
}
