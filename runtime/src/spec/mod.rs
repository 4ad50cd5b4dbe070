//! config.json: loading, checking, and making one from an image.

pub mod defaults;
pub mod from_image;
