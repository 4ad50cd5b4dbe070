//! Layers: a tar becomes a folder, a folder becomes a tar, folders become a mounted snapshot.
//!
//! ```text
//! blob -> decompress -> tar::Reader -> unpack -> layers/<diffid>/root -> Overlay (a detached mount)
//!                                  \-> extract (ADD)     ^      \-> capture -> tar of a built layer
//!                                          upper/ -> commit_upper
//! ```
//! What always holds: entries are placed beneath a directory's handle and never through a link; attributes are set on
//! handles; only we make overlayfs's marks; a folder gets its name in the store after its tar was verified.

mod ahead;
mod attributes;
mod capture;
mod compress;
mod error;
mod extract;
mod fixup;
#[doc(hidden)]
pub mod fuzz;
mod install;
mod limits;
mod parents;
mod place;
mod snapshot;
pub(crate) mod tar;
#[cfg(test)]
mod tests;
mod unpack;
mod view;

pub use attributes::Attributes;
pub use capture::capture;
pub use compress::{Decompressed, decompress, is_compressed, media_type_of};
pub use error::{Error, Name, Result};
pub use extract::{ExtractOptions, extract_archive};
pub(crate) use install::UNPACKED_SIZE;
pub use install::{commit_upper, commit_upper_until, unpack_image};
pub use limits::Limits;
pub use snapshot::{MAXIMUM_LAYERS, Overlay, Upper, root_attributes};
pub use unpack::{Unpacked, unpack, unpack_root};
