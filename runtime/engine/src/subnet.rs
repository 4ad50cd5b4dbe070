//! Ranges of addresses as `10.0.0.0/16`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: the first one and the number of bits that all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

impl Subnet {
    /// Is it one of IPv6?
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Do both have an address in common?
    pub fn overlaps(&self, other: &Subnet) -> bool {
        if self.is_ipv6() != other.is_ipv6() {
            return false;
        }
        let shift = self.width() - u32::from(self.bits.min(other.bits));
        let prefix = |address| number(address).checked_shr(shift).unwrap_or(0);
        prefix(self.address) == prefix(other.address)
    }

    /// A subnet with `bits` in common with `address`, whose other bits do not count.
    pub(crate) fn around(address: IpAddr, bits: u8) -> Subnet {
        Subnet { address, bits }
    }

    fn width(&self) -> u32 {
        if self.is_ipv6() { 128 } else { 32 }
    }
}

impl FromStr for Subnet {
    type Err = String;

    /// A subnet must have room for the bridge and a container, and no bits that say nothing.
    fn from_str(text: &str) -> Result<Subnet, String> {
        let refuse = |reason: &str| format!("{text:?} is no subnet: {reason}");
        let (address, bits) = text.split_once('/').ok_or_else(|| refuse("it has no /, as 10.0.0.0/16"))?;
        let address: IpAddr = address.parse().map_err(|_| refuse("it does not begin with an address"))?;
        let bits: u8 = bits.parse().map_err(|_| refuse("it does not end with a number of bits"))?;
        let subnet = Subnet { address, bits };
        if !(8..=subnet.width() - 2).contains(&u32::from(bits)) {
            return Err(refuse("it must have room for at least two containers, and not be half the world"));
        }
        let rest = number(address) & ((1 << (subnet.width() - u32::from(bits))) - 1);
        if rest != 0 { Err(refuse("its address has bits beyond its length")) } else { Ok(subnet) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_have_room_and_no_bits_too_many() {
        for good in ["10.212.0.0/16", "192.168.1.4/30", "fd00:1::/64", "10.0.0.0/8"] {
            assert_eq!(good.parse::<Subnet>().unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/31", "0.0.0.0/0", "10.0.0.0/33", "x/8", "fd00::1/64"]
        {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn subnets_overlap_where_one_contains_the_other() {
        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("fd00::/64", "fd00::/64", true),
            ("10.0.0.0/8", "fd00::/64", false),
        ] {
            assert_eq!(subnet(one).overlaps(&subnet(other)), expected, "{one} {other}");
        }
    }
}
