//! Ports as EXPOSE writes them: `PORT[-PORT][/PROTO]`, an address or host port before them dropped.

/// A range of ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port, at least `first`.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The protocol was not written in lower case.
    pub protocol_casing: bool,
    /// An address or host port stood before the port; it has no effect.
    pub prefix: bool,
}

impl Ports {
    /// The keys of the config's `ExposedPorts`: `port/protocol`.
    pub fn keys(&self) -> impl Iterator<Item = String> + '_ {
        (self.first..=self.last).map(|port| format!("{port}/{}", self.protocol))
    }
}

/// Reads one item of EXPOSE after expansion. The error is a sentence that names the value.
pub fn parse(text: &str) -> Result<Ports, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = ["tcp", "udp", "sctp"].into_iter().find(|known| known.eq_ignore_ascii_case(protocol));
    let Some(known) = known else {
        return Err(format!("unknown protocol {protocol} of port {text}: use tcp, udp or sctp"));
    };
    // [ADDRESS:][HOSTPORT:]PORT: only the part behind the last colon counts.
    let (prefix, ports) = match ports.rsplit_once(':') {
        Some((_, ports)) => (true, ports),
        None => (false, ports),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first = number(first, text)?;
    let last = number(last, text)?;
    if last < first {
        return Err(format!("port range {text} ends before it starts"));
    }
    Ok(Ports { first, last, protocol: known, protocol_casing: known != protocol, prefix })
}

fn number(digits: &str, whole: &str) -> Result<u16, String> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().ok_or_else(|| {
        format!("invalid port {whole}: write PORT[-PORT][/tcp|udp|sctp] with numbers from 0 to 65535")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (text, keys) in [
            ("80", "80/tcp"),
            ("0", "0/tcp"),
            ("65535/udp", "65535/udp"),
            ("53/UDP", "53/udp"),
            ("8000-8002", "8000/tcp 8001/tcp 8002/tcp"),
            ("7-7/sctp", "7/sctp"),
            ("127.0.0.1:80:8080", "8080/tcp"),
            ("80:8080/udp", "8080/udp"),
            ("[::1]:80:8080", "8080/tcp"),
        ] {
            let ports = parse(text).unwrap();
            assert_eq!(ports.keys().collect::<Vec<_>>().join(" "), keys, "{text}");
        }
        assert!(parse("53/UDP").unwrap().protocol_casing);
        assert!(parse("80:90").unwrap().prefix);
        for text in [
            "",
            "/tcp",
            "x",
            "80/",
            "80/http",
            "65536",
            "-1",
            "9-8",
            "80-",
            "1-2-3",
            "80/tcp/udp",
            "+80",
            "8 0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
