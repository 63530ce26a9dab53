//! What a request's path asks for. Pure.

/// What of a container or task is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The container itself.
    Container,
    /// Its task.
    Task {
        /// Whether with its tags.
        tags: bool,
    },
    /// The container's figures.
    Stats,
    /// Those of every container of its task.
    TaskStats,
    /// Devices and the like that it was given; there are none.
    Associations,
}

/// Which form an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// By address alone.
    V2,
    /// By id.
    V3,
    /// By id, with more.
    V4,
}

/// A path that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Versions 3 and 4: whoever has the id.
    ById { version: Version, id: &'a str, what: What },
    /// Version 2: whoever has the address; of a container of the task when one is named by the engine's id.
    ByAddress { what: What, container: Option<&'a str> },
    /// The keys of a task's role.
    Credentials { version: u8, id: Option<&'a str> },
    /// Whether a task is to be spared when its service shrinks.
    Protection { id: &'a str },
}

/// Finds out what is asked for.
pub(super) fn route<'a>(path: &'a str, query: Option<&'a str>) -> Option<Route<'a>> {
    let path = path.strip_prefix('/')?;
    // ECS's own handlers take a slash at the end.
    let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    Some(match parts.as_slice() {
        ["v4", id, rest @ ..] => by_id(Version::V4, id, rest)?,
        ["v3", id, rest @ ..] => by_id(Version::V3, id, rest)?,
        ["v2", "metadata"] => Route::ByAddress { what: What::Task { tags: false }, container: None },
        ["v2", "metadataWithTags"] => Route::ByAddress { what: What::Task { tags: true }, container: None },
        ["v2", "metadata", id] => Route::ByAddress { what: What::Container, container: Some(id) },
        ["v2", "stats"] => Route::ByAddress { what: What::TaskStats, container: None },
        ["v2", "stats", id] => Route::ByAddress { what: What::Stats, container: Some(id) },
        ["v2", "credentials"] => Route::Credentials { version: 2, id: None },
        ["v2", "credentials", id] => Route::Credentials { version: 2, id: Some(id) },
        ["v1", "credentials"] => Route::Credentials { version: 1, id: query.and_then(id_in) },
        ["api", id, "task-protection", "v1", "state"] => Route::Protection { id },
        _ => return None,
    })
}

fn by_id<'a>(version: Version, id: &'a str, rest: &[&str]) -> Option<Route<'a>> {
    let what = match rest {
        [] => What::Container,
        ["task"] => What::Task { tags: false },
        ["taskWithTags"] => What::Task { tags: true },
        ["stats"] => What::Stats,
        ["task", "stats"] => What::TaskStats,
        ["associations", _] | ["associations", _, _] => What::Associations,
        _ => return None,
    };
    Some(Route::ById { version, id, what })
}

fn id_in(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("id=")).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_ecs() {
        let by_id = |version, what| Some(Route::ById { version, id: "x-1", what });
        let check = |path: &str, expected: Option<Route<'_>>| {
            let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            assert_eq!(route(path, query), expected, "{path}");
        };
        for (name, version) in [("v3", Version::V3), ("v4", Version::V4)] {
            check(&format!("/{name}/x-1"), by_id(version, What::Container));
            check(&format!("/{name}/x-1/"), by_id(version, What::Container));
            check(&format!("/{name}/x-1/task"), by_id(version, What::Task { tags: false }));
            check(&format!("/{name}/x-1/taskWithTags"), by_id(version, What::Task { tags: true }));
            check(&format!("/{name}/x-1/stats"), by_id(version, What::Stats));
            check(&format!("/{name}/x-1/task/stats"), by_id(version, What::TaskStats));
            check(&format!("/{name}/x-1/associations/gpu"), by_id(version, What::Associations));
            check(&format!("/{name}/x-1/tasks"), None);
        }
        let by_address = |what, container| Some(Route::ByAddress { what, container });
        check("/v2/metadata", by_address(What::Task { tags: false }, None));
        check("/v2/metadata/", by_address(What::Task { tags: false }, None));
        check("/v2/metadata/abc", by_address(What::Container, Some("abc")));
        check("/v2/stats/abc", by_address(What::Stats, Some("abc")));
        check("/v2/credentials/abc", Some(Route::Credentials { version: 2, id: Some("abc") }));
        check("/v1/credentials?a=b&id=abc", Some(Route::Credentials { version: 1, id: Some("abc") }));
        check("/v1/credentials?id=", Some(Route::Credentials { version: 1, id: None }));
        check("/api/x-1/task-protection/v1/state", Some(Route::Protection { id: "x-1" }));
        for path in ["", "/", "/v4", "/v5/x-1", "/latest/meta-data", "v4/x-1", "/v4/x-1/task/stats/more"] {
            check(path, None);
        }
    }
}
