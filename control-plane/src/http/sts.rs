//! The Security Token Service, as far as tools ask it who they are: GetCallerIdentity, Query in and XML out.

use longshore_core::Principal;

/// The service's name in a credential scope.
pub(super) const SIGNING_NAME: &str = "sts";

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What a Query service answers when it refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryError {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

/// Carries out the request in `body`, a form.
pub(super) fn call(body: &[u8], caller: &Principal, request_id: &str) -> Result<String, QueryError> {
    let action = parameter(body, "Action").unwrap_or_default();
    let refuse = |code: &str, message: String| Err(QueryError { status: 400, code: code.into(), message });
    match action.as_str() {
        "GetCallerIdentity" => Ok(format!(
            "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult><Arn>{}</Arn><UserId>{}</UserId>\
             <Account>{}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{request_id}</RequestId>\
             </ResponseMetadata></GetCallerIdentityResponse>",
            escape(&caller.arn),
            escape(&caller.user_id),
            caller.account
        )),
        "" => refuse("MissingAction", "The request must contain the parameter Action.".into()),
        other => {
            let shown: String = other.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
            refuse("InvalidAction", format!("Could not find operation {shown} for this service."))
        }
    }
}

/// An error as XML.
pub(super) fn error(error: &QueryError, request_id: &str) -> String {
    let fault = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message)
    )
}

/// The first parameter of that name in a form.
fn parameter(form: &[u8], name: &str) -> Option<String> {
    form.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        (decode(&pair[..at]) == name).then(|| decode(&pair[at + 1..]))
    })
}

fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let mut byte = [0u8; 1];
        let digits = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        if digits.is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok()) {
            out.push(byte[0]);
            at += 3;
        } else {
            out.push(if text[at] == b'+' { b' ' } else { text[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        for (form, value) in [
            ("Action=GetCallerIdentity&Version=2011-06-15", Some("GetCallerIdentity")),
            ("Version=1&Ac%74ion=a+b%2Fc%zz", Some("a b/c%zz")),
            ("Action", None),
            ("", None),
        ] {
            assert_eq!(parameter(form.as_bytes(), "Action").as_deref(), value, "{form}");
        }
    }

    #[test]
    fn errors_are_escaped() {
        let refused = QueryError { status: 400, code: "A".into(), message: "<&>".into() };
        assert!(error(&refused, "id").contains("<Message>&lt;&amp;&gt;</Message>"));
    }
}
