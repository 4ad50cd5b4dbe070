//! `roci`: an OCI runtime.

fn main() {}
