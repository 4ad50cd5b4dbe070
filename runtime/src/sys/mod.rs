//! The only unsafe code of this crate: system calls that rustix and nix lack.

pub mod executable;
