//! Inputs from seeds: small random changes, several at once, with the target's own words.

/// Bytes at which parsers decide.
const EDGES: &[u8] =
    &[0, 1, 0x7f, 0x80, 0xff, b' ', b'\n', b'\r', b'\\', b'"', b'$', b'/', b'.', b'0', b'9', b'{', b'-'];
/// Inputs do not grow beyond this.
const MAX_LENGTH: usize = 256 * 1024;

/// A source of inputs, the same for the same seed.
#[derive(Debug)]
pub struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a str],
    input: Vec<u8>,
}

impl<'a> Mutator<'a> {
    /// Mutates `seeds`, of which there is at least one.
    pub fn new(seed: u64, seeds: &'a [Vec<u8>], words: &'a [&'a str]) -> Mutator<'a> {
        assert!(!seeds.is_empty(), "a target needs a seed");
        // Never zero, from which this generator does not get away.
        Mutator { random: Random(seed | 1 << 63), seeds, words, input: Vec::new() }
    }

    /// Another input.
    pub fn next(&mut self) -> &[u8] {
        // Most start from a seed; some go on from the last input, which reaches further.
        if self.random.below(4) != 0 {
            let index = self.random.below(self.seeds.len());
            self.input.clear();
            self.input.extend_from_slice(&self.seeds[index]);
        }
        for _ in 0..=self.random.below(6) {
            self.change();
        }
        self.input.truncate(MAX_LENGTH);
        &self.input
    }

    fn change(&mut self) {
        let length = self.input.len();
        let at = self.random.below(length + 1);
        let longest = 1 << self.random.below(12);
        let span = (self.random.below(longest) + 1).min(length - at);
        match self.random.below(9) {
            0 if at < length => self.input[at] ^= 1 << self.random.below(8),
            1 if at < length => self.input[at] = EDGES[self.random.below(EDGES.len())],
            2 => self.input.truncate(at),
            3 => drop(self.input.drain(at..at + span)),
            4 => self.input.insert(at, EDGES[self.random.below(EDGES.len())]),
            5 => {
                let copy = self.input[at..at + span].repeat(1 << self.random.below(6));
                let to = self.random.below(length + 1);
                self.input.splice(to..to, copy);
            }
            6 => {
                let other = &self.seeds[self.random.below(self.seeds.len())];
                let from = self.random.below(other.len() + 1);
                let until = from + self.random.below(other.len() - from + 1);
                self.input.splice(at..at, other[from..until].iter().copied());
            }
            7 if !self.words.is_empty() => {
                let word = self.words[self.random.below(self.words.len())];
                self.input.splice(at..at, word.bytes());
            }
            _ => self.change_number(at),
        }
    }

    /// Makes the digits at or after `at` another number: lengths and counts are where parsers trust.
    fn change_number(&mut self, at: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = self.input[at..].iter().position(is_digit).map(|offset| at + offset) else {
            return;
        };
        let end = self.input[start..]
            .iter()
            .position(|byte| !is_digit(byte))
            .map_or(self.input.len(), |n| start + n);
        let numbers =
            ["0", "1", "77777777777", "4294967296", "9223372036854775808", "18446744073709551616", "-1"];
        let number = numbers[self.random.below(numbers.len())];
        self.input.splice(start..end, number.bytes());
    }
}

/// Xorshift: quick and repeatable is all it has to be.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).map_or(0, |number| number % bound.max(1))
    }
}
