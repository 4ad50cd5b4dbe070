//! Lists of processors and memory nodes, as `0-3,5` (cpuset(7), "List format").

/// More than any machine that the kernel supports has.
const LARGEST: u32 = 8191;

/// The numbers of a list, in its order; `None` if it is none. The empty list is a list.
pub(crate) fn parse(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in list.trim().split(',').filter(|_| !list.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| digits && *number <= LARGEST)
        };
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        if first > last {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ranges_are_spelt_out() {
        assert_eq!(parse("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse(" 3 "), Some(vec![3]));
        assert_eq!(parse(""), Some(vec![]));
        for bad in ["a", "1-", "-1", "2-1", "1,,2", "9999", "+1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
