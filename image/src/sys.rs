//! The only module of this crate with unsafe code: system calls that rustix lacks.
