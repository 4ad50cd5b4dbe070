//! What confines a container: capabilities, seccomp, rlimits, and the protection of our own executable.
