//! The container's root file system: mounts, devices, masks and the pivot.

pub mod options;
