//! The gRPC services: each call is checked, converted and delegated in a file of its own, and answered from memory
//! where the kubelet asks often. `status` is the one place where errors become codes.

mod convert;
mod filter;
pub mod image;
pub mod runtime;
mod status;

pub use image::Images;
pub use runtime::Runtime;
