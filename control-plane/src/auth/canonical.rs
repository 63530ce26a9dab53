//! The canonical form of a request: the bytes that both sides hash.
//!
//! Follows the SigV4 specification for services other than S3: the path is normalised and encoded once more than it
//! was sent, the query is sorted by encoded name and value, header values are trimmed and their runs of spaces
//! become one, several values of one header are joined by commas in the order sent.

use super::sha256_hex;
use http::HeaderMap;
use http::request::Parts;

/// The canonical request. `signed_headers` is lower case and sorted.
pub(super) fn request(parts: &Parts, signed_headers: &[String], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(path(parts.uri.path()).as_bytes());
    out.push(b'\n');
    out.extend_from_slice(query(parts.uri.query().unwrap_or_default()).as_bytes());
    out.push(b'\n');
    for name in signed_headers {
        header(&mut out, &parts.headers, name);
    }
    out.push(b'\n');
    out.extend_from_slice(signed_headers.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(sha256_hex(body).as_bytes());
    out
}

fn header(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (i, value) in headers.get_all(name).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut space = false;
        for byte in value.as_bytes().trim_ascii() {
            let now = *byte == b' ';
            if !(space && now) {
                out.push(*byte);
            }
            space = now;
        }
    }
    out.push(b'\n');
}

/// Dot segments and empty segments removed, then each byte that is not unreserved encoded.
fn path(sent: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = String::from("/");
    for (i, segment) in segments.iter().enumerate() {
        if i > 0 {
            out.push('/');
        }
        encode(&mut out, segment.as_bytes());
    }
    if !segments.is_empty() && sent.ends_with('/') {
        out.push('/');
    }
    out
}

fn query(sent: &str) -> String {
    let mut pairs: Vec<(String, String)> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recode(name), recode(value))
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Decodes and encodes again, so that every way to write a character becomes the canonical one.
fn recode(sent: &str) -> String {
    let bytes = sent.as_bytes();
    let mut raw = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let mut decoded = [0u8; 1];
        let hex_digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if hex_digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut decoded).is_ok()) {
            raw.push(decoded[0]);
            at += 3;
        } else {
            raw.push(bytes[at]);
            at += 1;
        }
    }
    let mut out = String::with_capacity(raw.len());
    encode(&mut out, &raw);
    out
}

fn encode(out: &mut String, raw: &[u8]) {
    for byte in raw {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (sent, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/a//b/", "/a/b/"),
            ("/a/../b/./c", "/b/c"),
            ("/../..", "/"),
            ("/ä", "/%C3%A4"),
            ("/a%20b", "/a%2520b"),
        ] {
            assert_eq!(path(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn queries() {
        for (sent, canonical) in [
            ("", ""),
            ("a", "a="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a=%7e%2f&A=x y", "A=x%20y&a=~%2F"),
            ("a=%zz%4", "a=%25zz%254"),
        ] {
            assert_eq!(query(sent), canonical, "{sent}");
        }
    }
}
