//! Networks of containers. So far: the loopback device of a new network namespace.

mod loopback;

pub use loopback::bring_up_loopback;
