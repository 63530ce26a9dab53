//! Limits of tasks' interfaces: two tags of a task definition, since ECS has no field for them. Pure.

use crate::records::Tags;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::enums::NetworkMode;
use longshore_model::Bandwidth;

/// Into the task, and out of it.
const TAGS: (&str, &str) = ("longshore:bandwidth-in", "longshore:bandwidth-out");
/// The longest first, so that `kbit` is not read as `bit`.
const UNITS: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];
/// Less than the first is no use to anybody, more than the second is no limit.
const RANGE: std::ops::RangeInclusive<u64> = 8_000..=1_000_000_000_000;

/// The limits that a definition's tags ask for.
///
/// # Errors
/// `ClientException` that names the tag.
pub(crate) fn of_tags(tags: &Tags, mode: Option<&NetworkMode>) -> Result<Bandwidth, ApiError> {
    let limit = |key: &str| {
        let Some(value) = tags.get(key) else { return Ok(None) };
        if mode != Some(&NetworkMode::Awsvpc) {
            return Err(ApiError::client(format!(
                "The tag {key} is only for task definitions with networkMode=awsvpc."
            )));
        }
        read(value).map(Some).ok_or_else(|| {
            ApiError::client(format!(
                "The tag {key} is `{value}`, and must be a whole number of bit, kbit, mbit or gbit a second from 8kbit \
                 to 1000gbit, such as 100mbit."
            ))
        })
    };
    Ok(Bandwidth { ingress_bps: limit(TAGS.0)?, egress_bps: limit(TAGS.1)? })
}

fn read(value: &str) -> Option<u64> {
    let (digits, factor) = UNITS.iter().find_map(|(unit, factor)| Some((value.strip_suffix(unit)?, factor)))?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*factor).filter(|bps| RANGE.contains(bps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, bps) in [
            ("100mbit", Some(100_000_000)),
            ("1gbit", Some(1_000_000_000)),
            ("8000bit", Some(8_000)),
            ("8kbit", Some(8_000)),
            ("1000gbit", Some(1_000_000_000_000)),
            ("1001gbit", None),
            ("7999bit", None),
            ("0mbit", None),
            ("mbit", None),
            ("", None),
            ("100", None),
            ("100 mbit", None),
            ("+1gbit", None),
            ("1.5gbit", None),
            ("100Mbit", None),
            ("99999999999999999999gbit", None),
        ] {
            assert_eq!(read(text), bps, "{text}");
        }
    }
}
