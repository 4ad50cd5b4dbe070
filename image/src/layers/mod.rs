//! Layers: a tar becomes a folder, a folder becomes a tar, folders become a mounted snapshot.
