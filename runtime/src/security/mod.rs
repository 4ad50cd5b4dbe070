//! What confines a container: capabilities, seccomp, rlimits, and the protection of our own executable.

pub mod own_executable;
