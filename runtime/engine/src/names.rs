//! Names for containers to which nobody gave one: a word that praises, and somebody who deserves it.

use crate::error::{Error, Result};

const PRAISE: &[&str] = &[
    "able", "agile", "amber", "ample", "apt", "awake", "bold", "brave", "breezy", "bright", "brisk", "calm",
    "candid", "careful", "cheery", "civil", "clear", "clever", "cosmic", "crisp", "curious", "daring",
    "deft", "eager", "early", "earnest", "easy", "fair", "fancy", "fearless", "fine", "fluent", "fond",
    "frank", "fresh", "gentle", "gifted", "glad", "golden", "grand", "happy", "hardy", "honest", "humble",
    "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest",
    "neat", "nimble", "noble", "patient", "plucky", "polite", "prompt", "proud", "quick", "quiet", "rapid",
    "ready", "robust", "serene", "sharp", "silent", "sincere", "smart", "snappy", "solid", "spry", "steady",
    "sturdy", "subtle", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid", "warm", "wise", "witty",
    "worthy", "zesty",
];

const PEOPLE: &[&str] = &[
    "archimedes",
    "avicenna",
    "babbage",
    "bernoulli",
    "bohr",
    "boole",
    "brahe",
    "cantor",
    "carson",
    "cauchy",
    "chandrasekhar",
    "church",
    "curie",
    "darwin",
    "dijkstra",
    "dirac",
    "einstein",
    "eratosthenes",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "haber",
    "halley",
    "hamilton",
    "heisenberg",
    "herschel",
    "hertz",
    "hilbert",
    "hopper",
    "hubble",
    "huygens",
    "hypatia",
    "johnson",
    "kepler",
    "khwarizmi",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "lavoisier",
    "leavitt",
    "leibniz",
    "linnaeus",
    "lovelace",
    "maxwell",
    "mccarthy",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "morse",
    "napier",
    "nash",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "pauling",
    "payne",
    "planck",
    "poincare",
    "ptolemy",
    "pythagoras",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "rutherford",
    "sagan",
    "shannon",
    "somerville",
    "tesla",
    "thales",
    "turing",
    "volta",
    "wegener",
    "wiles",
    "wright",
    "yalow",
];

/// A name, perhaps one that is taken; after some attempts with a number, so that there is always another.
pub fn generate(attempt: u32) -> Result<String> {
    let mut bytes = [0; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::Random(errno.into()))?;
    let [a, b, c, d, e, f] = bytes.map(usize::from);
    let (praise, person) = (PRAISE[(a << 8 | b) % PRAISE.len()], PEOPLE[(c << 8 | d) % PEOPLE.len()]);
    Ok(match attempt {
        0..5 => format!("{praise}_{person}"),
        _ => format!("{praise}_{person}{}", e << 8 | f),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_is_one_that_users_could_have_given() {
        for attempt in [0, 9] {
            let name = generate(attempt).unwrap();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.contains('_') && name.bytes().all(plain), "{name}");
        }
        for words in [PRAISE, PEOPLE] {
            assert!(words.is_sorted() && words.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
