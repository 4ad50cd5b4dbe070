//! Time as the runtime writes it, in its JSON documents and in logs: RFC 3339, UTC, nanoseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a [`stamp`].
pub(crate) const STAMP: usize = 30;

/// Now.
pub fn now() -> String {
    String::from_utf8_lossy(&stamp(since_epoch())).into_owned()
}

/// Now, since 1970.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The text of a time, always as long as `1970-01-01T00:00:00.000000000Z`. Does not allocate.
pub(crate) fn stamp(since_epoch: Duration) -> [u8; STAMP] {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86400);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    for (start, end, value) in [
        (0, 4, year),
        (5, 7, month),
        (8, 10, day),
        (11, 13, seconds / 3600 % 24),
        (14, 16, seconds / 60 % 60),
        (17, 19, seconds % 60),
        (20, 29, u64::from(since_epoch.subsec_nanos())),
    ] {
        write_digits(&mut text[start..end], value);
    }
    text
}

/// Writes a number with leading zeros.
fn write_digits(text: &mut [u8], mut value: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of a number of days since 1970, by counting eras of 400 years that start in March, so that
/// the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(stamp(Duration::from_secs(seconds)), expected.as_bytes());
        }
        assert_eq!(&stamp(Duration::from_nanos(1_000_000_007)), b"1970-01-01T00:00:01.000000007Z");
    }
}
