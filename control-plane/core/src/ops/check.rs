//! Checks that several operations share.

use crate::records::Tags;
use longshore_ecs_api::ApiError;
use longshore_ecs_api::types::Tag;

/// ECS's limits for tags.
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Tags of a request.
///
/// # Errors
/// `InvalidParameterException` that names the tag.
pub(crate) fn tags(tags: Option<Vec<Tag>>) -> Result<Tags, ApiError> {
    let list = tags.unwrap_or_default();
    if list.len() > MAX_TAGS {
        return Err(ApiError::invalid(format!("tags: a resource can have {MAX_TAGS} tags.")));
    }
    let mut tags = Tags::new();
    for Tag { key, value } in list {
        let key = key.unwrap_or_default();
        let value = value.unwrap_or_default();
        let length = key.chars().count();
        if !(1..=MAX_KEY).contains(&length) {
            return Err(ApiError::invalid(format!("tags: the key of a tag must have 1 to {MAX_KEY} characters.")));
        }
        if is_reserved(&key) {
            return Err(ApiError::invalid(format!("tags: the key `{key}` begins with `aws:`, which is reserved.")));
        }
        if value.chars().count() > MAX_VALUE {
            let text = format!("tags: the value of `{key}` must have at most {MAX_VALUE} characters.");
            return Err(ApiError::invalid(text));
        }
        if tags.insert(key.clone(), value).is_some() {
            return Err(ApiError::invalid(format!("tags: the key `{key}` stands twice.")));
        }
    }
    Ok(tags)
}

/// Whether only the control plane may set that tag.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// A list that must have 1 to `max` items.
///
/// # Errors
/// `InvalidParameterException`: `empty` when there are none.
pub(crate) fn some<T>(list: Option<Vec<T>>, field: &str, empty: &str, max: usize) -> Result<Vec<T>, ApiError> {
    let list = list.unwrap_or_default();
    if list.is_empty() {
        return Err(ApiError::invalid(empty));
    }
    if list.len() > max {
        return Err(ApiError::invalid(format!("{field} can have at most {max} items.")));
    }
    Ok(list)
}
