//! Images as files: docker-archive, oci-archive, OCI folder, and a plain root file system to import.
//!
//! What comes in is a stranger's: documents are bounded, every byte is compared with the digest that leads to it, and
//! nothing of a failed load stays. A name inside an archive is only ever looked up among the archive's members or
//! beneath its folder; it never becomes a path of ours. What goes out is a function of the images alone.

mod change;
mod docker;
mod error;
mod import;
mod load;
mod members;
mod oci;
mod save;
mod sink;

pub use change::ChangeError;
pub use error::ArchiveError;
pub use import::{ImportOptions, import};
pub use load::{Loaded, load, load_path};
pub use save::{Format, Saved, save, save_folder};

#[cfg(test)]
mod tests;
