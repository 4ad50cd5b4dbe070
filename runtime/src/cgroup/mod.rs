//! Cgroups: hierarchies found once, create, join, limit, kill and remove, for v1, hybrid and v2.
