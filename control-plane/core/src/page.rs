//! `nextToken`: where a listing goes on, signed, so that only a token of the same listing is taken.

use crate::seal::SealingKey;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_ecs_api::ApiError;

/// Enough of the signature to make guessing pointless, little enough for short tokens.
const TAG_LEN: usize = 16;

/// The key that signs tokens. Follows from the sealing key, so tokens outlive a restart.
pub(crate) struct PageKey(hmac::Key);

/// What a listing is: another one's tokens are not taken.
pub(crate) struct Listing<'a> {
    pub(crate) key: &'a PageKey,
    /// The operation, region and filters.
    pub(crate) what: String,
    /// How many a page may have.
    pub(crate) size: usize,
    /// The last item of the page before.
    pub(crate) after: Option<String>,
}

impl PageKey {
    pub(crate) fn new(sealing_key: &SealingKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &sealing_key.derive("page tokens")))
    }

    fn tag(&self, what: &str, cursor: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(cursor.as_bytes());
        context.sign()
    }

    fn token(&self, what: &str, cursor: &str) -> String {
        let mut token = self.tag(what, cursor).as_ref()[..TAG_LEN].to_vec();
        token.extend_from_slice(cursor.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    fn cursor(&self, what: &str, token: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tag, cursor) = bytes.split_at_checked(TAG_LEN)?;
        let cursor = std::str::from_utf8(cursor).ok()?;
        let expected = self.tag(what, cursor);
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..TAG_LEN], tag);
        same.ok().map(|()| cursor.to_owned())
    }
}

impl<'a> Listing<'a> {
    /// The page that a request asks for.
    ///
    /// # Errors
    /// `InvalidParameterException` for a page size that is not allowed or a token that is not of this listing.
    pub(crate) fn new(
        key: &'a PageKey,
        what: String,
        (max_results, default, max): (Option<i32>, usize, usize),
        token: Option<&str>,
    ) -> Result<Self, ApiError> {
        let size = match max_results.map(usize::try_from) {
            None => default,
            Some(Ok(size)) if (1..=max).contains(&size) => size,
            Some(_) => return Err(ApiError::invalid(format!("maxResults must be between 1 and {max}."))),
        };
        let after = match token.filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(key.cursor(&what, token).ok_or_else(|| ApiError::invalid("Invalid nextToken."))?),
        };
        Ok(Self { key, what, size, after })
    }

    /// Takes a page from `items`, which begin after [`after`](Self::after), and the token of the next one.
    pub(crate) fn page<T>(
        &self,
        items: impl Iterator<Item = T>,
        cursor: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut items = items.peekable();
        let page: Vec<T> = items.by_ref().take(self.size).collect();
        let more = items.peek().is_some();
        let token = page.last().filter(|_| more).map(|last| self.key.token(&self.what, &cursor(last)));
        (page, token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_they_ended_and_others_tokens_are_refused() {
        let key = PageKey::new(&SealingKey::from_bytes(&[1; 32]));
        let list = |what: &str, token: Option<&str>| {
            let listing = Listing::new(&key, what.to_owned(), (Some(2), 100, 100), token)?;
            let after = listing.after.clone().unwrap_or_default();
            let items = ["a", "b", "c", "d", "e"].into_iter().filter(|item| **item > *after);
            Ok::<_, ApiError>(listing.page(items, |item| (*item).to_owned()))
        };
        let (page, first) = list("x", None).expect("first page");
        assert_eq!(page, ["a", "b"]);
        let (page, token) = list("x", first.as_deref()).expect("second page");
        assert_eq!(page, ["c", "d"]);
        let (page, token) = list("x", token.as_deref()).expect("last page");
        assert_eq!((page, token), (vec!["e"], None));
        for (what, token) in [("y", first.as_deref()), ("x", Some("nonsense")), ("x", Some("AAAA"))] {
            assert!(list(what, token).is_err(), "{what} {token:?}");
        }
        assert!(Listing::new(&key, String::new(), (Some(0), 100, 100), None).is_err());
        assert!(Listing::new(&key, String::new(), (Some(101), 100, 100), None).is_err());
    }
}
