//! Exports the symbols of test programs, so that the simulation's `getrandom` is found by those who look it up by name.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-tests=-rdynamic");
    }
}
