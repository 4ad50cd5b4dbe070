//! config.json: loading, checking, and making one from an image.

pub mod defaults;
pub mod from_image;
mod json_place;
mod load;
pub(crate) mod number_list;
pub mod plan;
mod template;
mod validate;

pub use load::{FILE_NAME, Loaded, load, parse_process, parse_resources};
pub use template::template;
pub use validate::{container, further_process, process, sysctl};
