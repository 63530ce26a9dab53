//! The Security Token Service, as far as tools ask it who they are: GetCallerIdentity, Query in and XML out.

use super::form::escape;
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

/// Carries out the request that a form makes.
pub(super) fn call(form: &[(String, String)], caller: &Principal, request_id: &str) -> Result<String, QueryError> {
    let action = form.iter().find(|(name, _)| name == "Action").map_or("", |(_, action)| action);
    let refuse = |code: &str, message: String| Err(QueryError { status: 400, code: code.into(), message });
    match action {
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

/// An error as EC2 writes it, which is a Query service of its own kind.
pub(super) fn ec2_error(error: &QueryError, request_id: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{request_id}\
         </RequestID></Response>",
        escape(&error.code),
        escape(&error.message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_escaped() {
        let refused = QueryError { status: 400, code: "A".into(), message: "<&>".into() };
        assert!(error(&refused, "id").contains("<Message>&lt;&amp;&gt;</Message>"));
        let ec2 = "<Response><Errors><Error><Code>A</Code><Message>&lt;&amp;&gt;</Message></Error></Errors>\
                   <RequestID>id</RequestID></Response>";
        assert_eq!(ec2_error(&refused, "id"), ec2);
    }
}
