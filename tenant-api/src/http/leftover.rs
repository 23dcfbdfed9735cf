//! What is left of a body that nobody read to its end, because the request was refused before.
//!
//! The server closes a connection with an unread body, without a word: clients that keep connections would send their next
//! request into it and find it lost. So a small rest is read away, and of a large one the client is told.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Most bytes that are read away.
const MOST: usize = 256 << 10;

/// Longest wait for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the request: keeps its connection usable, or says that it is not.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // To read on would invite the client to send what it holds back.
    let held_back = request.headers().contains_key(header::EXPECT);
    let (back, mut unread) = oneshot::channel();
    let lent = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    let mut response = next.run(lent).await;
    if let Ok(body) = unread.try_recv()
        && (held_back || !read_away(body).await)
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads a body to its end, if that is near.
async fn read_away(mut body: Body) -> bool {
    if body.size_hint().lower() > MOST as u64 {
        return false;
    }
    let to_the_end = async {
        let mut read = 0;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            read += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            if frame.is_err() || read > MOST {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, to_the_end).await.unwrap_or(false)
}

/// A body that comes back when it is dropped before its end.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            // Nobody waits for it when the request itself was given up.
            drop(back.send(std::mem::take(&mut self.body)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_small_rest_is_read_away() {
        assert!(read_away(Body::from(vec![0; MOST])).await);
        assert!(!read_away(Body::from(vec![0; MOST + 1])).await);
    }
}
