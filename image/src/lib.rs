//! Hull's image store.
//!
//! What an image is on this machine: names, digests and documents of the OCI image specification, the store that
//! keeps them, and the layers that become a container's root file system. This crate knows no containers: it hands
//! out a mounted snapshot as a descriptor and does not care who runs in it.
//!
//! Everything here may be fed by strangers. Archives and documents are parsed with limits, paths inside a root are
//! resolved beneath a directory descriptor, and nothing is referenced before it is complete and verified.

#![forbid(unsafe_code)]

pub mod archive;
pub mod digest;
pub mod document;
pub mod error;
pub mod layers;
pub mod reference;
pub mod store;
