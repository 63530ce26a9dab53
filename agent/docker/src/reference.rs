//! Image references as people write them: `[registry[:port]/]name[:tag][@digest]`.

use longshore_model::ContainerSpec;
use std::fmt;

/// An image reference, split as the engine's pull wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    name: String,
    tag: String,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an image reference: [registry[:port]/]name[:tag][@digest] is expected")]
pub struct ReferenceError(pub String);

impl ImageRef {
    /// Splits `text`; a missing tag is `latest`, since the engine would otherwise pull every tag there is.
    ///
    /// # Errors
    /// When there is no name, an empty tag or digest, or white space. The engine judges the rest.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let fail = || ReferenceError(text.to_owned());
        if text.is_empty() || text.chars().any(char::is_whitespace) {
            return Err(fail());
        }
        let (name, tag) = if let Some((name, digest)) = text.split_once('@') {
            // With a digest a tag says nothing: the digest decides.
            (split_tag(name).0, digest)
        } else {
            let (name, tag) = split_tag(text);
            (name, tag.unwrap_or("latest"))
        };
        if name.is_empty() || tag.is_empty() {
            return Err(fail());
        }
        Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
    }

    /// The name without tag and digest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, or the digest (`sha256:…`) when the reference has one.
    #[must_use]
    pub fn tag_or_digest(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.tag.contains(':') { '@' } else { ':' };
        write!(f, "{}{separator}{}", self.name, self.tag)
    }
}

/// The registry of an image, `host` or `host:port`; `docker.io` when the reference names none. The engine's rule: the
/// first part is a host when it has a full stop or a colon, or is `localhost`.
#[must_use]
pub fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        Some(_) | None => "docker.io",
    }
}

/// What the engine is to be asked for to have the image of a container: as the definition says, or the one of the
/// digest that it is pinned to, in the same repository.
#[must_use]
pub fn wanted_image(container: &ContainerSpec) -> String {
    match &container.image_digest {
        // With a text that is no reference the engine will say so.
        Some(digest) => {
            let name = ImageRef::parse(&container.image).map_or_else(|_| container.image.clone(), |image| image.name);
            format!("{name}@{digest}")
        }
        None => container.image.clone(),
    }
}

/// A colon after the last slash begins the tag; one before it belongs to a registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_split() {
        for (text, name, tag) in [
            ("busybox", "busybox", "latest"),
            ("busybox:1.36", "busybox", "1.36"),
            ("localhost:5000/a/b", "localhost:5000/a/b", "latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b", "v1"),
            ("a/b@sha256:0123", "a/b", "sha256:0123"),
            ("host:5000/a:v1@sha256:0123", "host:5000/a", "sha256:0123"),
        ] {
            let image = ImageRef::parse(text).expect(text);
            assert_eq!((image.name(), image.tag_or_digest()), (name, tag), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "a b", "busybox:", ":tag", "a@", "@sha256:0123"] {
            assert_eq!(ImageRef::parse(text), Err(ReferenceError(text.to_owned())));
        }
    }
}
