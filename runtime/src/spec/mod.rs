//! config.json: loading, checking, and making one from an image.
