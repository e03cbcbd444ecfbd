//! Where the sessions of a round lead, and what arrived there.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, HttpOrigin, Unanswering};
use serde_json::json;

/// What every session writes once it knows that the revocation was answered. No origin may ever see it.
pub(crate) const AFTER: &[u8] = b"@@BEHIND-THE-ANSWER@@";

/// The destinations of a round, one for each thing a session can be doing.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) echo: Capture,
    pub(crate) sink: Capture,
    pub(crate) hold: Capture,
    pub(crate) finished: Capture,
    pub(crate) deaf: Capture,
    pub(crate) tls: Capture,
    pub(crate) silent_http: Capture,
    pub(crate) websocket: HttpOrigin,
    /// Neither accepts nor refuses.
    nowhere: Unanswering,
    /// How many dials to nowhere were asked for.
    dials: AtomicUsize,
}

impl Places {
    pub(crate) async fn open() -> Self {
        Self {
            echo: Capture::start(Behaviour::Echo).await,
            sink: Capture::start(Behaviour::Sink).await,
            hold: Capture::start(Behaviour::Hold).await,
            finished: Capture::start(Behaviour::GreetAndFinish(b"bye".to_vec())).await,
            deaf: Capture::start(Behaviour::Deaf).await,
            tls: Capture::start(Behaviour::Sink).await,
            silent_http: Capture::start(Behaviour::Sink).await,
            websocket: HttpOrigin::start().await,
            nowhere: Unanswering::start(),
            dials: AtomicUsize::default(),
        }
    }

    fn captures(&self) -> [&Capture; 7] {
        [&self.echo, &self.sink, &self.hold, &self.finished, &self.deaf, &self.tls, &self.silent_http]
    }

    /// The port of nowhere.
    pub(crate) fn nowhere(&self) -> String {
        self.nowhere.destination()
    }

    /// One more dial to nowhere is asked for.
    pub(crate) fn expect_dial(&self) {
        self.dials.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until every dial to nowhere that was asked for has begun.
    pub(crate) async fn dialled(&self) {
        let (expected, mut begun) = (self.dials.load(Ordering::SeqCst), HashSet::new());
        eventually(PATIENCE, "every dial to nowhere begins", async || {
            // One that gives up meanwhile has begun all the same.
            begun.extend(self.nowhere.dials());
            (begun.len() >= expected).then_some(())
        })
        .await;
    }

    /// Adds all of them to a manifest.
    pub(crate) fn allowed_by(&self, draft: Draft) -> Draft {
        let draft = self.captures().into_iter().fold(draft, |draft, place| {
            let tls = if std::ptr::eq(place, &raw const self.tls) { "sni" } else { "none" };
            draft.allow(json!({"host": place.destination(), "tls": tls}))
        });
        draft.raw(&self.websocket.destination()).raw(&self.nowhere())
    }

    /// Waits until no connection is open any more; then what arrived is final.
    ///
    /// # Errors
    /// When something arrived that was sent behind the answer.
    pub(crate) async fn close(&self) -> Result<(), String> {
        self.deaf.listen();
        for place in self.captures() {
            for incoming in place.connections() {
                incoming.ended().await;
                let bytes = incoming.bytes();
                if bytes.windows(AFTER.len()).any(|window| window == AFTER) {
                    return Err(format!("{} bytes, and one sent behind the answer", incoming.count()));
                }
            }
        }
        self.websocket.quiet(0).await;
        match self.finished.total() + self.tls.total() {
            0 => Ok(()),
            count => Err(format!("{count} bytes where nobody wrote in good time")),
        }
    }

    /// How many bytes arrived in tunnels, with the port where they did.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let tunnels = [&self.echo, &self.sink, &self.hold, &self.finished, &self.deaf, &self.tls];
        tunnels.into_iter().map(|place| (place.address().port(), place.total()))
    }
}
