//! Layers: a tar becomes a folder, a folder becomes a tar, folders become a mounted snapshot.

mod attributes;
mod error;
mod snapshot;

pub use attributes::Attributes;
pub use error::{Error, Name, Result};
pub use snapshot::{MAXIMUM_LAYERS, Overlay, Upper};
