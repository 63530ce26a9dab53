//! The `Authorization` header, taken apart.

use super::AuthError;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const TERMINATOR: &str = "aws4_request";

/// Longer parts are refused: nothing real comes near, and they end up in keys, logs and errors.
const MAX_PART: usize = 128;
const MAX_SIGNED_HEADERS: usize = 64;

/// What the header claims. Nothing of it is proven.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) access_key_id: String,
    /// `YYYYMMDD`
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    /// Lower case, sorted, each once.
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
}

impl Authorization {
    /// Parses `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
    pub(super) fn parse(header: &str) -> Result<Self, AuthError> {
        let malformed = |why| Err(AuthError::Malformed(why));
        let Some((algorithm, parameters)) = header.trim().split_once(' ') else {
            return malformed("it must look like `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`");
        };
        if algorithm != ALGORITHM {
            return malformed("only the algorithm AWS4-HMAC-SHA256 is known");
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let Some((name, value)) = parameter.trim().split_once('=') else {
                return malformed("its parameters must look like name=value");
            };
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return malformed("it has a parameter besides Credential, SignedHeaders and Signature"),
            };
            if slot.replace(value).is_some() {
                return malformed("one of its parameters is there twice");
            }
        }
        let Some(credential) = credential else {
            return malformed("it requires the 'Credential' parameter");
        };
        let Some(signed_headers) = signed_headers else {
            return malformed("it requires the 'SignedHeaders' parameter");
        };
        let Some(signature) = signature else {
            return malformed("it requires the 'Signature' parameter");
        };

        let parts: Vec<&str> = credential.split('/').collect();
        let &[access_key_id, date, region, service, terminator] = parts.as_slice() else {
            return malformed("'Credential' must have five parts separated by slashes");
        };
        let sound = |part: &str| {
            (1..=MAX_PART).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if ![access_key_id, region, service].into_iter().all(sound) {
            return malformed(
                "a part of 'Credential' is empty, too long, or has other characters than letters, digits, '-', '_', \
                 '.'",
            );
        }
        if terminator != TERMINATOR {
            return malformed("'Credential' must end in 'aws4_request'");
        }
        if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
            return malformed("the date in 'Credential' must look like 20060102");
        }

        let names: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        let name_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
        if names.len() > MAX_SIGNED_HEADERS || names.iter().any(|n| n.is_empty() || !n.bytes().all(name_byte)) {
            return malformed("'SignedHeaders' must be header names in lower case separated by ';'");
        }
        if !names.windows(2).all(|pair| pair[0] < pair[1]) {
            return malformed("'SignedHeaders' must be sorted, each name once");
        }

        let mut bytes = [0; 32];
        if signature.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(signature, &mut bytes).is_err() {
            return malformed("'Signature' must be 64 hexadecimal digits in lower case");
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: names,
            signature: bytes,
        })
    }

    /// `DATE/REGION/SERVICE/aws4_request`
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}
