//! Ids of containers and pods: 64 hexadecimal digits, of which people see twelve.

use crate::error::{Error, Result};

/// A new id, never used before.
pub fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::Random(errno.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first twelve digits, by which people call a container.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
