//! Running steps: RUN in a container, COPY and ADD by handle, metadata.

pub mod copy;
pub mod ignored;
pub mod pattern;
pub mod rooted;
pub mod source;
