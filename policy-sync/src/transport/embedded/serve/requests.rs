//! What a gateway asks for on its connection, and the answers.
//!
//! `POST /v1/follow`, `GET /v1/records?epoch=&after=&most=`, `GET /v1/snapshot`, `GET /v1/chunk/<SHA-256 in hex>`, `POST /v1/lease`.
//! Who asks is known from the connection, never from the request.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use super::Connection;
use crate::log::Record;
use crate::target::from_hex;
use crate::transport::embedded::frame::{self, Inbox, LARGEST_REPORT};
use crate::transport::{Report, Transport as _, TransportFault};

/// The most records in one answer.
const MOST_RECORDS: usize = 1000;
/// The largest request for a part of a budget, in bytes.
const LARGEST_LEASE: usize = 16 << 10;

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(super) async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/v1/follow") => follow(connection, request.into_body()),
        (&Method::GET, "/v1/records") => records(connection, request.uri().query().unwrap_or_default()).await,
        (&Method::GET, "/v1/snapshot") => {
            found(connection.transport.snapshot().await, "there is no snapshot yet")
        }
        (&Method::GET, path) if path.starts_with("/v1/chunk/") => {
            let digest = path.strip_prefix("/v1/chunk/").and_then(from_hex);
            match digest.and_then(|digest| <[u8; 32]>::try_from(digest).ok()) {
                Some(digest) => found(connection.transport.chunk(&digest).await, "there is no such chunk"),
                None => plain(StatusCode::BAD_REQUEST, "the digest is not a SHA-256 in hex"),
            }
        }
        (&Method::POST, "/v1/lease") => lease(connection, request.into_body()).await,
        _ => plain(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

fn follow(connection: &Arc<Connection>, reports: Incoming) -> Answer {
    let Some(frames) = connection.listen() else {
        return plain(StatusCode::TOO_MANY_REQUESTS, "this gateway listens already");
    };
    tokio::spawn(take_reports(connection.clone(), reports));
    Response::new(BodyExt::boxed(frames))
}

/// Takes reports until the request ends, with the connection at the latest. One that is not in order ends the connection.
async fn take_reports(connection: Arc<Connection>, mut body: Incoming) {
    let mut inbox = Inbox::default();
    while let Some(Ok(piece)) = body.frame().await {
        let Some(piece) = piece.data_ref() else { continue };
        inbox.push(piece);
        loop {
            let report = match inbox.item(LARGEST_REPORT) {
                Ok(None) => break,
                Ok(Some(report)) => {
                    serde_json::from_slice::<Report>(&report).map_err(|fault| fault.to_string())
                }
                Err(fault) => Err(fault.to_string()),
            };
            match report {
                Ok(report) => connection.reported(report),
                Err(fault) => {
                    tracing::warn!(gateway = &*connection.gateway, fault, "a report is not in order");
                    connection.transport.metrics.turned_away.with_label_values(&["report"]).inc();
                    return connection.cut.notify_one();
                }
            }
        }
    }
}

async fn records(connection: &Connection, query: &str) -> Answer {
    let (Some(epoch), Some(after), Some(most)) =
        (number(query, "epoch"), number(query, "after"), number(query, "most"))
    else {
        return plain(StatusCode::BAD_REQUEST, "`epoch`, `after` and `most` have to be numbers");
    };
    let most = usize::try_from(most).unwrap_or(MOST_RECORDS).min(MOST_RECORDS);
    match connection.transport.read(after, most).await {
        Ok(mut page) => {
            // Records of another epoch are not behind this position.
            page.retain(|record| Record::read_own(record).is_ok_and(|record| record.position.epoch == epoch));
            data(frame::encode_all(page.iter().map(AsRef::as_ref)))
        }
        Err(fault) => failed(&fault),
    }
}

fn number(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

async fn lease(connection: &Connection, body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, LARGEST_LEASE).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    };
    let request = match serde_json::from_slice(&body.to_bytes()) {
        Ok(request) => request,
        Err(fault) => return plain(StatusCode::BAD_REQUEST, &fault.to_string()),
    };
    match connection.desk.lease(&connection.gateway, request).await {
        Ok(answer) => data(serde_json::to_vec(&answer).unwrap_or_default().into()),
        Err(fault) => failed(&fault),
    }
}

fn found(answer: Result<Option<Bytes>, TransportFault>, otherwise: &str) -> Answer {
    match answer {
        Ok(Some(bytes)) => data(bytes),
        Ok(None) => plain(StatusCode::NOT_FOUND, otherwise),
        Err(fault) => failed(&fault),
    }
}

fn failed(fault: &TransportFault) -> Answer {
    plain(StatusCode::SERVICE_UNAVAILABLE, &fault.to_string())
}

fn data(bytes: Bytes) -> Answer {
    Response::new(BodyExt::boxed(Full::new(bytes)))
}

fn plain(status: StatusCode, text: &str) -> Answer {
    let mut answer = data(Bytes::from(text.to_owned()));
    *answer.status_mut() = status;
    answer
}
