//! One request and its response over one upstream stream: the story of the forward path.
//!
//! The `hyper` connection, the upload and the download are polled by one future on one task. Whoever drops
//! it (a revocation, an expired session) stops all three between two polls. An upstream stream is given back
//! only when it is certain that nothing of this exchange is left in it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::answer::{self, Answer};
use super::body::{self, Upload};
use super::fault::Fault;
use super::intake::Intake;
use super::outbound::Outbound;

/// The largest response head, in bytes.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;
/// What is buffered of an upstream stream at most, in bytes.
const MAX_BUFFER: usize = 128 * 1024;
/// How long an upstream stream may take to come to rest after its response. It is dropped otherwise.
const REST_WITHIN: Duration = Duration::from_millis(50);
/// Interim responses that wait to be passed on; more at once are dropped.
const INTERIM_RESPONSES: usize = 4;

/// How an exchange ended that did not break.
#[derive(Debug)]
pub enum Exchanged<U> {
    /// The response has been passed on whole.
    Completed {
        /// The upstream stream, when another request can follow on it.
        upstream: Option<U>,
        /// The request body was taken whole. If not, the rest of it still stands in the downstream, and has
        /// to be drained or the connection closed.
        uploaded: bool,
    },
    /// The upstream switched to WebSocket, and the downstream was told. From here on it is a tunnel.
    Switched {
        /// The upstream stream.
        upstream: U,
        /// What the upstream sent behind its 101.
        early: Bytes,
    },
}

/// Sends a request, its body as it comes, and passes the response on.
///
/// # Errors
/// [`Fault`] names the side. The upstream stream is gone then; whether an answer can still be given is
/// [`Answer::begun`].
pub async fn exchange<U, I, A>(
    upstream: U,
    request: &Outbound,
    intake: &mut I,
    answer: &mut A,
) -> Result<Exchanged<U>, Fault>
where
    U: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    I: Intake,
    A: Answer,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .max_header_size(MAX_RESPONSE_HEAD)
        .handshake(TokioIo::new(upstream))
        .await
        .map_err(Fault::Upstream)?;
    let mut connection = Driven { connection, ended: None };
    let (feed, upload) = body::pair(request.framing());
    let outcome = {
        let upload_done = feed.bring(intake);
        let answered = converse(&mut sender, request, upload, answer);
        connection.alongside(both(upload_done, answered)).await
    };
    match outcome {
        Err(fault) => Err(connection.blame(fault)),
        Ok((Answered::Whole, uploaded)) => {
            let upstream = if uploaded { connection.into_rest(sender).await } else { None };
            Ok(Exchanged::Completed { upstream, uploaded })
        }
        Ok((Answered::Switched, _)) => {
            let (upstream, early) = connection.into_switched(sender).await?;
            Ok(Exchanged::Switched { upstream, early })
        }
    }
}

enum Answered {
    Whole,
    Switched,
}

/// Waits for the response; the upload goes on beside it. A broken upload ends both.
async fn both<B, F>(
    upload: impl Future<Output = Result<bool, B>>,
    answered: impl Future<Output = Result<Answered, F>>,
) -> Result<(Answered, bool), F>
where
    F: From<B>,
{
    let (mut upload, mut answered) = (pin!(upload), pin!(answered));
    let mut uploaded = None;
    loop {
        tokio::select! {
            biased;
            done = &mut upload, if uploaded.is_none() => uploaded = Some(done?),
            done = &mut answered => return Ok((done?, uploaded == Some(true))),
        }
    }
}

async fn converse<A: Answer>(
    sender: &mut SendRequest<Upload>,
    request: &Outbound,
    upload: Upload,
    answer: &mut A,
) -> Result<Answered, Fault> {
    let (interims, mut waiting) = mpsc::channel(INTERIM_RESPONSES);
    let mut message = request.message(upload);
    hyper::ext::on_informational(&mut message, move |interim| {
        // A flood of interim responses is the origin's doing: what does not fit is not missed.
        let _full = interims.try_send((interim.status(), interim.headers().clone()));
    });
    let mut response = pin!(sender.send_request(message));
    let response = loop {
        tokio::select! {
            biased;
            Some((status, headers)) = waiting.recv() => pass_interim(status, &headers, request, answer).await?,
            response = &mut response => break response.map_err(Fault::Upstream)?,
        }
    };
    while let Ok((status, headers)) = waiting.try_recv() {
        pass_interim(status, &headers, request, answer).await?;
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(&response, request, answer).await;
    }
    pass(response, request, answer).await
}

async fn pass_interim<A: Answer>(
    status: StatusCode,
    headers: &HeaderMap,
    request: &Outbound,
    answer: &mut A,
) -> Result<(), Fault> {
    let headers = answer::fields(headers, request.via());
    answer.interim(status, &headers).await.map_err(Fault::Downstream)
}

async fn pass<A: Answer>(
    response: Response<Incoming>,
    request: &Outbound,
    answer: &mut A,
) -> Result<Answered, Fault> {
    let (parts, mut body) = response.into_parts();
    let head = answer::head(&parts, request)?;
    answer.begin(head).await.map_err(Fault::Downstream)?;
    while let Some(frame) = next_frame(&mut body, answer).await? {
        // Trailers are dropped in both directions.
        if let Ok(data) = frame.into_data() {
            answer.data(data).await.map_err(Fault::Downstream)?;
        }
    }
    answer.end().await.map_err(Fault::Downstream)?;
    Ok(Answered::Whole)
}

/// The next frame of a response. What has been passed on so far waits for it only if it is there already, so that a short
/// response leaves in one write and a slow one is not held up.
async fn next_frame<A: Answer>(body: &mut Incoming, answer: &mut A) -> Result<Option<Frame<Bytes>>, Fault> {
    let mut asked = false;
    let at_once = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            // The connection, polled before this future, reads a body only once it has been asked for.
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    let frame = match at_once.await {
        Some(frame @ (None | Some(Ok(_)))) => frame,
        late_or_broken => {
            answer.flush().await.map_err(Fault::Downstream)?;
            match late_or_broken {
                Some(broken) => broken,
                None => body.frame().await,
            }
        }
    };
    frame.transpose().map_err(Fault::Upstream)
}

/// Only what was asked for, and only after the upstream has agreed to exactly that.
async fn switch<A: Answer>(
    response: &Response<Incoming>,
    request: &Outbound,
    answer: &mut A,
) -> Result<Answered, Fault> {
    let mut protocols = response.headers().get_all(header::UPGRADE).iter();
    let agreed = matches!(
        (protocols.next(), protocols.next()),
        (Some(protocol), None) if protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
    );
    if !agreed || !request.asks_websocket() {
        return Err(Fault::Response("it switches to a protocol that was not asked for"));
    }
    let headers = answer::fields(response.headers(), request.via());
    answer.switch(&headers).await.map_err(Fault::Downstream)?;
    Ok(Answered::Switched)
}

/// A `hyper` connection that is polled beside whatever uses it.
struct Driven<U: AsyncRead + AsyncWrite + Unpin> {
    connection: http1::Connection<TokioIo<U>, Upload>,
    ended: Option<Result<(), hyper::Error>>,
}

impl<U: AsyncRead + AsyncWrite + Unpin> Driven<U> {
    async fn alongside<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.poll(cx);
            future.as_mut().poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) {
        if self.ended.is_none()
            && let std::task::Poll::Ready(ended) = self.connection.poll_without_shutdown(cx)
        {
            self.ended = Some(ended);
        }
    }

    async fn finish(&mut self) {
        poll_fn(|cx| {
            self.poll(cx);
            if self.ended.is_some() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// The connection knows best why it ended; what its users hear is only that it did.
    fn blame(self, fault: Fault) -> Fault {
        match (fault, self.ended) {
            (Fault::Upstream(_), Some(Err(error))) => Fault::Upstream(error),
            (fault, _) => fault,
        }
    }

    /// The stream, if the connection is at rest between two messages with nothing left over.
    async fn into_rest(mut self, mut sender: SendRequest<Upload>) -> Option<U> {
        let at_rest = async {
            self.alongside(sender.ready()).await.ok()?;
            drop(sender);
            self.finish().await;
            Some(())
        };
        tokio::time::timeout(REST_WITHIN, at_rest).await.ok()??;
        if !matches!(self.ended, Some(Ok(()))) {
            return None;
        }
        let parts = self.connection.into_parts();
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }

    /// The stream behind a 101, and what was read of it too far.
    async fn into_switched(mut self, sender: SendRequest<Upload>) -> Result<(U, Bytes), Fault> {
        drop(sender);
        self.finish().await;
        if let Some(Err(error)) = self.ended {
            return Err(Fault::Upstream(error));
        }
        let parts = self.connection.into_parts();
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}
