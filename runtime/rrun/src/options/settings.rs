//! Values of options that end up in a container's record: labels, logs, hosts, signals, times.

use std::net::IpAddr;
use std::time::Duration;

use engine::LogSettings;
use runtime::process::Signal;

/// `--label KEY[=VALUE]`.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        Err("the key is empty".to_owned())
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

/// `--log-opt`, each over what was before.
pub fn log_settings(options: &[String]) -> Result<LogSettings, String> {
    let mut settings = LogSettings::default();
    for option in options {
        let (key, value) =
            option.split_once('=').ok_or_else(|| format!("--log-opt {option}: expected KEY=VALUE"))?;
        match key {
            "max-size" => {
                settings.max_size = size(value).map_err(|reason| format!("--log-opt {option}: {reason}"))?
            }
            "max-file" => {
                let files =
                    value.parse().ok().filter(|files| (1..=runtime::monitor::log::MAX_FILES).contains(files));
                settings.max_files = files.ok_or_else(|| {
                    format!(
                        "--log-opt {option}: expected a number from 1 to {}",
                        runtime::monitor::log::MAX_FILES
                    )
                })?;
            }
            _ => {
                return Err(format!(
                    "--log-opt {key} is not known or not available (there are max-size and max-file)"
                ));
            }
        }
    }
    Ok(settings)
}

/// A length like `10m`; `-1` is none.
fn size(text: &str) -> Result<Option<u64>, String> {
    if text == "-1" {
        return Ok(None);
    }
    let bytes = super::bytes(text)?;
    if bytes == 0 { Err("a log needs at least one byte".to_owned()) } else { Ok(Some(bytes)) }
}

/// `--add-host NAME:ADDRESS` or `NAME=ADDRESS`.
pub fn host(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| "expected NAME:ADDRESS".to_owned())?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("{address:?} is no IP address"))?;
    Ok((super::hostname(name)?, address))
}

/// A signal by name or number, but not 0, which is none.
pub fn signal(text: &str) -> Result<Signal, String> {
    match text.parse::<Signal>() {
        Ok(signal) if signal.0 > 0 => Ok(signal),
        _ => Err(format!("{text:?} is no signal")),
    }
}

/// Seconds to wait; anything negative is for ever.
pub fn patience(text: &str) -> Result<Option<Duration>, String> {
    let seconds: i64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Ok(u64::try_from(seconds).ok().map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_a_length_and_a_number() {
        let of =
            |options: &[&str]| log_settings(&options.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), LogSettings::default());
        let set = of(&["max-size=10k", "max-file=5"]).unwrap();
        assert_eq!((set.max_size, set.max_files), (Some(10 << 10), 5));
        assert_eq!(of(&["max-size=-1"]).unwrap().max_size, None);
        for bad in ["max-size", "max-size=0", "max-size=x", "max-file=0", "max-file=101", "compress=true"] {
            assert!(of(&[bad]).unwrap_err().contains(bad.split('=').next().unwrap()), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_with_addresses() {
        for text in ["db:10.0.0.1", "db=10.0.0.1", "db:::1", "db:[::1]"] {
            assert_eq!(host(text).unwrap().0, "db", "{text}");
        }
        for bad in ["db", "db:", ":10.0.0.1", "d b:10.0.0.1", "db:host-gateway", "a\nb:10.0.0.1"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn signals_and_times_are_checked() {
        assert_eq!(signal("SIGTERM").unwrap(), Signal(15));
        assert!(signal("0").is_err() && signal("NOPE").is_err());
        assert_eq!(patience("10").unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(patience("-1").unwrap(), None);
        assert!(patience("soon").is_err());
        assert_eq!(label("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(label("=x").is_err());
    }
}
