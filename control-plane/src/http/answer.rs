//! One request to one answer: verify, route, carry out, write, log.

use super::route::{Target, Wire};
use super::sts::QueryError;
use super::{Backend, Limits, body, exec, form, rest, route, sts};
use crate::auth::{self, AuthError, Verified};
use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use longshore_core::{Caller, Ec2Error, Ec2Operation};
use longshore_ecs_api::logs::LogsOperation;
use longshore_ecs_api::{ApiError, ErrorCode};
use longshore_model::Region;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) struct Front<B> {
    pub(super) backend: B,
    pub(super) limits: Limits,
    /// Where streams of commands go on when their requests are answered.
    pub(super) tasks: TaskTracker,
    /// Ends those streams.
    pub(super) stop: CancellationToken,
}

/// Why a request was refused, before it takes its service's form.
enum Refusal {
    Auth(AuthError),
    Api(ApiError),
    Query(QueryError),
    Ec2(Ec2Error),
}

/// What the log may say about a request. Bodies, headers and signatures are not among it.
#[derive(Default)]
struct Notes {
    target: Option<Target>,
    verified: Option<Verified>,
}

impl<B: Backend> Front<B> {
    /// Always an answer: what goes wrong is an answer too.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        if request.uri().path().starts_with(exec::PATH) {
            return exec::answer(self, request, peer).await;
        }
        let started = Instant::now();
        let request_id = uuid::Uuid::new_v4().to_string();
        let (parts, body) = request.into_parts();
        let wire = route::wire(&parts);
        let mut notes = Notes::default();
        let outcome = self.process(&parts, body, wire, &request_id, &mut notes).await;
        log(&notes, &outcome, peer, &request_id, started);
        match outcome {
            Ok(content) => respond(StatusCode::OK, wire, content, &request_id),
            Err(refusal) => refuse(refusal, wire, &request_id),
        }
    }

    async fn process(
        &self,
        parts: &Parts,
        body: Incoming,
        wire: Wire,
        request_id: &str,
        notes: &mut Notes,
    ) -> Result<Bytes, Refusal> {
        // The head first: nobody unknown, late or lost makes this process hold a body.
        let (target, pending) = match self.admit(parts, wire) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                body::discard(body).await;
                return Err(refusal);
            }
        };
        notes.target = Some(target);
        let limit = match target {
            Target::Logs(LogsOperation::PutLogEvents) => self.limits.log_body_bytes,
            Target::Ecs(_)
            | Target::Ssm(_)
            | Target::Logs(_)
            | Target::Secrets(_)
            | Target::Scheduler(_)
            | Target::Events(_)
            | Target::Scaling(_)
            | Target::Ec2(_)
            | Target::Sts => self.limits.body_bytes,
        };
        let body = body::read(body, limit, self.limits.body_timeout).await.map_err(Refusal::Api)?;
        let verified = pending.finish(parts, &body).map_err(Refusal::Auth)?;
        let region = Region::new(&verified.region).map_err(|_| Refusal::Auth(AuthError::Region))?;
        let verified = notes.verified.insert(verified);
        let caller = Caller {
            region,
            account: verified.principal.account.clone(),
            principal_arn: verified.principal.arn.clone(),
            access_key_id: verified.access_key_id.clone(),
            endpoint: parts.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned(),
        };
        let target = match target {
            Target::Ec2(_) => {
                let named = Ec2Operation::of(&form::parse(&body)).map_err(Refusal::Ec2)?;
                *notes.target.insert(Target::Ec2(Some(named)))
            }
            Target::Ecs(_)
            | Target::Ssm(_)
            | Target::Logs(_)
            | Target::Secrets(_)
            | Target::Scheduler(_)
            | Target::Events(_)
            | Target::Scaling(_)
            | Target::Sts => target,
        };
        let carried_out = async {
            match target {
                Target::Ecs(operation) => self.backend.ecs(&caller, operation, body).await.map_err(Refusal::Api),
                Target::Ssm(operation) => self.backend.ssm(&caller, operation, body).await.map_err(Refusal::Api),
                Target::Logs(operation) => self.backend.logs(&caller, operation, body).await.map_err(Refusal::Api),
                Target::Secrets(operation) => {
                    self.backend.secrets(&caller, operation, body).await.map_err(Refusal::Api)
                }
                Target::Scheduler(operation) => {
                    let members = rest::members(operation, parts, &body).map_err(Refusal::Api)?;
                    self.backend.scheduler(&caller, operation, members.into()).await.map_err(Refusal::Api)
                }
                Target::Events(operation) => self.backend.events(&caller, operation, body).await.map_err(Refusal::Api),
                Target::Scaling(operation) => {
                    self.backend.scaling(&caller, operation, body).await.map_err(Refusal::Api)
                }
                Target::Sts => {
                    let form = form::parse(&body);
                    sts::call(&form, &verified.principal, request_id).map(Bytes::from).map_err(Refusal::Query)
                }
                Target::Ec2(operation) => {
                    let form = form::parse(&body);
                    let operation = operation.map_or_else(|| Ec2Operation::of(&form), Ok).map_err(Refusal::Ec2)?;
                    let answer = self.backend.ec2(&caller, operation, form, request_id).await;
                    answer.map(Bytes::from).map_err(Refusal::Ec2)
                }
            }
        };
        // A bug in one operation costs its caller an answer, and nobody else a connection.
        AssertUnwindSafe(carried_out).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(request_id, operation = target.operation(), "an operation panicked");
            Err(Refusal::Api(ApiError::server("The control plane failed while carrying out this request.")))
        })
    }

    /// Everything that the head of a request can show: a service and an operation that exist, a known key, a date
    /// that is near, and a signature made for that service.
    fn admit(&self, parts: &Parts, wire: Wire) -> Result<(Target, auth::Pending), Refusal> {
        let pending = auth::begin(parts, jiff::Timestamp::now(), &self.backend).map_err(Refusal::Auth)?;
        let target = route::target(parts, wire).map_err(Refusal::Api)?;
        if !route::exists(pending.service()) {
            return Err(Refusal::Api(ApiError::new(
                ErrorCode::UnknownOperation,
                format!("The service '{}' does not exist here.", pending.service()),
            )));
        }
        if pending.service() != target.service() {
            return Err(Refusal::Auth(AuthError::Service(target.service())));
        }
        Ok((target, pending))
    }
}

impl Refusal {
    fn json(&self) -> ApiError {
        match self {
            Self::Auth(error) => error.json(),
            Self::Api(error) => error.clone(),
            Self::Query(error) => ApiError::new(ErrorCode::UnknownOperation, error.message.clone()),
            Self::Ec2(error) if error.status() >= 500 => ApiError::server(error.message.clone()),
            Self::Ec2(error) => ApiError::client(error.to_string()),
        }
    }

    fn query(&self) -> QueryError {
        match self {
            Self::Auth(error) => {
                let (status, code) = error.query();
                QueryError { status, code: code.into(), message: error.to_string() }
            }
            Self::Api(error) => {
                let code = error.code.as_str();
                let code = code.strip_suffix("Exception").unwrap_or(code);
                QueryError { status: error.status(), code: code.into(), message: error.message.clone() }
            }
            Self::Query(error) => error.clone(),
            Self::Ec2(error) => {
                QueryError { status: error.status(), code: error.code.into(), message: error.message.clone() }
            }
        }
    }
}

fn refuse(refusal: Refusal, wire: Wire, request_id: &str) -> Response<Full<Bytes>> {
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // What is left of an oversized or stalled body must not be taken for the next request.
    let broken = matches!(
        &refusal,
        Refusal::Api(ApiError { code: ErrorCode::RequestEntityTooLarge | ErrorCode::RequestTimeout, .. })
    );
    let mut response = match wire {
        Wire::Json => {
            let error = refusal.json();
            let mut response = respond(status(error.status()), wire, error.to_json().into(), request_id);
            response
                .headers_mut()
                .insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(error.code.as_str()));
            response
        }
        Wire::Rest => {
            let error = refusal.json();
            let (code, name) = rest::error(&error);
            let mut response = respond(status(code), wire, rest::error_body(&error, name).into(), request_id);
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(name));
            response
        }
        Wire::Query => {
            let error = refusal.query();
            respond(status(error.status), wire, sts::error(&error, request_id).into(), request_id)
        }
        Wire::Ec2 => {
            let error = match refusal {
                Refusal::Auth(AuthError::UnknownKey) => QueryError {
                    status: 401,
                    code: "AuthFailure".into(),
                    message: "AWS was not able to validate the provided access credentials".into(),
                },
                Refusal::Auth(_) | Refusal::Api(_) | Refusal::Query(_) | Refusal::Ec2(_) => refusal.query(),
            };
            respond(status(error.status), wire, sts::ec2_error(&error, request_id).into(), request_id)
        }
    };
    if broken {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn respond(status: StatusCode, wire: Wire, content: Bytes, request_id: &str) -> Response<Full<Bytes>> {
    let content_type = match wire {
        Wire::Json => "application/x-amz-json-1.1",
        Wire::Rest => "application/json",
        Wire::Query | Wire::Ec2 => "text/xml",
    };
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}

fn log(notes: &Notes, outcome: &Result<Bytes, Refusal>, peer: SocketAddr, request_id: &str, started: Instant) {
    let operation = notes.target.map_or("-", Target::operation);
    let region = notes.verified.as_ref().map_or("-", |v| v.region.as_str());
    let principal = notes.verified.as_ref().map_or("-", |v| v.principal.arn.as_str());
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(_) if notes.target.is_some_and(Target::reads) => {
            tracing::debug!(%peer, request_id, operation, region, principal, micros, "answered");
        }
        Ok(_) => tracing::info!(%peer, request_id, operation, region, principal, micros, "answered"),
        Err(refusal) => {
            let ApiError { code, message, .. } = refusal.json();
            let code = code.as_str();
            tracing::info!(%peer, request_id, operation, region, principal, micros, code, why = message, "refused");
        }
    }
}
