//! Rows of the table: what was compared, how it came out, and whether the target was met.

use std::fmt;
use std::time::Duration;

/// Something measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// How long it took.
    Time(Duration),
    /// How many bytes it occupies.
    Memory(u64),
    /// How many.
    Count(u64),
}

impl Amount {
    /// A share of it.
    fn per(self, other: Amount) -> f64 {
        self.magnitude() / other.magnitude()
    }

    fn magnitude(self) -> f64 {
        match self {
            Amount::Time(time) => time.as_secs_f64(),
            // Exact up to 2^53 bytes.
            Amount::Memory(bytes) => bytes as f64,
            Amount::Count(count) => count as f64,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Time(time) => write!(formatter, "{:.1} ms", time.as_secs_f64() * 1000.0),
            // A KB of 1024 bytes, as in /proc.
            Amount::Memory(bytes) => write!(formatter, "{} KB", bytes.div_ceil(1024)),
            Amount::Count(count) => write!(formatter, "{count}"),
        }
    }
}

/// What ours should reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// At most this share of the peer's.
    Ratio(f64),
    /// At most this, whatever the peer takes.
    AtMost(Amount),
    /// At least this, whatever the peer reaches.
    AtLeast(Amount),
    /// Nothing: a part of another row, shown to explain it.
    PartOfAbove,
}

/// One comparison.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Under which circumstances.
    pub how: String,
    /// Our amount.
    pub ours: Amount,
    /// The peer and its amount; none where the peer is missing and the target does not depend on it.
    pub peer: Option<(String, Amount)>,
    /// The target.
    pub target: Target,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, amount)| self.ours.per(*amount))
    }

    fn met(&self) -> &'static str {
        let met = match self.target {
            Target::PartOfAbove => None,
            Target::Ratio(most) => self.ratio().map(|ratio| ratio <= most),
            Target::AtMost(most) => Some(self.ours.magnitude() <= most.magnitude()),
            Target::AtLeast(least) => Some(self.ours.magnitude() >= least.magnitude()),
        };
        match met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_ref().map(|(name, amount)| format!("{name} {amount}")).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        let target = match self.target {
            Target::Ratio(most) => most.to_string(),
            Target::AtMost(most) => most.to_string(),
            Target::AtLeast(least) => format!("at least {least}"),
            Target::PartOfAbove => String::new(),
        };
        let (what, how, ours, met) = (&self.what, &self.how, self.ours, self.met());
        write!(formatter, "| {what} | {how} | {ours} | {peer} | {ratio} | {target} | {met} |")
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    println!("| what | how | ours | peer | ratio | target | met |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        println!("{row}");
    }
}
