//! Which namespaces to create and which to join.
