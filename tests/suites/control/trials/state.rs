//! What a session can be doing when its revocation comes, and what must become of it.

use std::sync::Arc;
use std::time::Duration;

use lab::device::connect_head;
use lab::dice::Dice;
use lab::hello::client_hello;
use lab::{Device, End, Over, Tunnel, Wire};
use tokio::sync::watch;

use super::places::{AFTER, Places};

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum State {
    Idle,
    /// Its device has finished writing.
    FinishedByDevice,
    /// Its origin has finished writing.
    FinishedByOrigin,
    /// Writing a little now and then.
    Trickling,
    /// Writing as fast as it can.
    Pouring,
    /// Writing to somebody who does not read.
    Blocked,
    /// Waiting for its destination to accept.
    Dialling,
    /// In the middle of the TLS handshake with the gateway.
    Handshaking,
    /// Asked for at about the moment of the revocation.
    Opening,
    /// Its first flight is not yet whole.
    Inspected,
    /// Several streams of one HTTP/2 connection.
    Streams,
    /// In the middle of the body of a plain request.
    PlainUpload,
    WebSocket,
}

impl State {
    /// How often each comes among a hundred sessions.
    pub(crate) const SHARES: [(Self, u64); 13] = [
        (Self::Idle, 14),
        (Self::FinishedByDevice, 8),
        (Self::FinishedByOrigin, 8),
        (Self::Trickling, 18),
        (Self::Pouring, 1),
        (Self::Blocked, 1),
        (Self::Dialling, 7),
        (Self::Handshaking, 7),
        (Self::Opening, 8),
        (Self::Inspected, 8),
        (Self::Streams, 6),
        (Self::PlainUpload, 8),
        (Self::WebSocket, 6),
    ];

    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        let mut left = dice.below(Self::SHARES.iter().map(|(_, share)| share).sum());
        for (state, share) in Self::SHARES {
            if left < share {
                return state;
            }
            left -= share;
        }
        unreachable!("the throw is below the sum of the shares")
    }

    /// How many sessions it counts for.
    pub(crate) fn sessions(self) -> usize {
        if self == Self::Streams { STREAMS } else { 1 }
    }
}

const STREAMS: usize = 5;

/// Where the round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Sessions get into their states.
    Before,
    /// The revocation is being ordered.
    During,
    /// It was answered.
    Behind,
}

/// One session of a round.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) state: State,
    pub(crate) over: Over,
    pub(crate) device: Device,
    pub(crate) places: Arc<Places>,
    pub(crate) moment: watch::Receiver<Moment>,
    /// Dropped by every trial once it is in its state.
    pub(crate) ready: tokio::sync::mpsc::Sender<()>,
    pub(crate) dice: Dice,
}

impl Trial {
    /// Gets into the state, waits for the answer to the revocation, tries to go on, and must not succeed.
    pub(crate) async fn run(self) {
        match self.state {
            State::Idle => self.idle().await,
            State::FinishedByDevice => self.finished_by_device().await,
            State::FinishedByOrigin => self.finished_by_origin().await,
            State::Trickling => self.trickling().await,
            State::Pouring => self.pouring().await,
            State::Blocked => self.blocked().await,
            State::Dialling => self.dialling().await,
            State::Handshaking => self.handshaking().await,
            State::Opening => self.opening().await,
            State::Inspected => self.inspected().await,
            State::Streams => self.streams().await,
            State::PlainUpload => self.plain_upload().await,
            State::WebSocket => self.websocket().await,
        }
    }

    async fn tunnel(&self, destination: &str) -> Tunnel {
        self.device.tunnel_over(self.over, destination).await
    }

    /// Says that the session is in its state, and waits for the answer.
    async fn wait(moment: &mut watch::Receiver<Moment>, ready: tokio::sync::mpsc::Sender<()>) {
        drop(ready);
        reaches(moment, Moment::Behind).await;
    }

    async fn idle(mut self) {
        let mut tunnel = self.tunnel(&self.places.echo.destination()).await;
        tunnel.echoes(b"idle from now on").await;
        Self::wait(&mut self.moment, self.ready).await;
        dead(tunnel).await;
    }

    async fn finished_by_device(mut self) {
        let mut tunnel = self.tunnel(&self.places.hold.destination()).await;
        tunnel.send(b"that was all").await.expect("sent");
        tunnel.finish().await.expect("finished");
        Self::wait(&mut self.moment, self.ready).await;
        assert_eq!(tunnel.rest().await.1, End::Broken);
    }

    async fn finished_by_origin(mut self) {
        let mut tunnel = self.tunnel(&self.places.finished.destination()).await;
        assert_eq!(tunnel.rest().await, (b"bye".to_vec(), End::Finished));
        Self::wait(&mut self.moment, self.ready).await;
        let _ = tunnel.send(AFTER).await;
    }

    async fn trickling(mut self) {
        let mut tunnel = self.tunnel(&self.places.sink.destination()).await;
        tunnel.send(b"first").await.expect("sent");
        drop(self.ready);
        let pause = Duration::from_micros(500 + self.dice.below(20_000));
        while *self.moment.borrow() < Moment::Behind && tunnel.send(b"drop after drop").await.is_ok() {
            let _ = tokio::time::timeout(pause, reaches(&mut self.moment, Moment::Behind)).await;
        }
        reaches(&mut self.moment, Moment::Behind).await;
        dead(tunnel).await;
    }

    async fn pouring(mut self) {
        let mut tunnel = self.tunnel(&self.places.sink.destination()).await;
        let block = vec![b'u'; 16 * 1024];
        tunnel.send(&block).await.expect("sent");
        drop(self.ready);
        while *self.moment.borrow() < Moment::Behind && tunnel.send(&block).await.is_ok() {}
        reaches(&mut self.moment, Moment::Behind).await;
        dead(tunnel).await;
    }

    async fn blocked(mut self) {
        let mut tunnel = self.tunnel(&self.places.deaf.destination()).await;
        let block = vec![b'u'; 64 * 1024];
        let full = Duration::from_millis(100);
        while let Ok(sent) = tokio::time::timeout(full, tunnel.send(&block)).await {
            sent.expect("nobody has cut it yet");
        }
        Self::wait(&mut self.moment, self.ready).await;
        dead(tunnel).await;
    }

    async fn dialling(mut self) {
        let (device, over, destination) = (self.device.clone(), self.over, self.places.nowhere());
        let asking =
            tokio::spawn(async move { device.connect_over(over, &destination).await.map(|o| o.map(drop)) });
        self.places.expect_dial();
        Self::wait(&mut self.moment, self.ready).await;
        let outcome = asking.await.expect("no panic");
        assert!(!matches!(outcome, Ok(Ok(()))), "nobody could have answered");
    }

    async fn handshaking(self) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let tcp = lab::device::dial(self.device.gateway).await.expect("a connection");
        let (mut from_gateway, mut to_gateway) = tcp.into_split();
        let (mut from_device, mut to_device) = tokio::io::split(theirs);
        let mut moment = self.moment.clone();
        let ready = self.ready;
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut from_gateway, &mut to_device).await;
            let _ = to_device.shutdown().await;
        });
        tokio::spawn(async move {
            let mut hello = vec![0; 4096];
            let count = from_device.read(&mut hello).await.expect("a hello");
            to_gateway.write_all(&hello[..count]).await.expect("sent");
            Self::wait(&mut moment, ready).await;
            let _ = tokio::io::copy(&mut from_device, &mut to_gateway).await;
        });
        let destination = self.places.echo.destination();
        let shaking = async {
            let mut wire = Wire::new(self.device.handshake_over(ours, &["http/1.1"]).await?);
            let answer = wire.ask(connect_head(&destination, "")).await?;
            let _ = wire.send(AFTER).await;
            std::io::Result::Ok(answer.status)
        };
        let outcome = shaking.await;
        assert_eq!(*self.moment.borrow(), Moment::Behind);
        assert!(!matches!(outcome, Ok(200)), "a handshake became a session behind the answer");
    }

    async fn opening(mut self) {
        let destination = self.places.echo.destination();
        drop(self.ready);
        reaches(&mut self.moment, Moment::During).await;
        tokio::time::sleep(Duration::from_micros(self.dice.below(12_000))).await;
        let asked_behind = *self.moment.borrow() == Moment::Behind;
        let outcome = self.device.connect_over(self.over, &destination).await;
        reaches(&mut self.moment, Moment::Behind).await;
        if let Ok(Ok(tunnel)) = outcome {
            assert!(!asked_behind, "a session opened behind the answer");
            dead(tunnel).await;
        }
    }

    async fn inspected(mut self) {
        let mut tunnel = self.tunnel(&self.places.tls.destination()).await;
        let hello = client_hello("origin.test");
        let cut = 1 + self.dice.index(hello.len() - 1);
        tunnel.send(&hello[..cut]).await.expect("sent");
        Self::wait(&mut self.moment, self.ready).await;
        let _ = tunnel.send(&hello[cut..]).await;
        dead(tunnel).await;
    }

    async fn streams(mut self) {
        let mut connection = self.device.http2().await;
        let mut tunnels = Vec::new();
        for _ in 0..STREAMS {
            let asked = connection.connect(&self.places.echo.destination()).await;
            let mut tunnel = asked.expect("an answer").expect("allowed");
            tunnel.echoes(b"one of many").await;
            tunnels.push(tunnel);
        }
        Self::wait(&mut self.moment, self.ready).await;
        for tunnel in tunnels {
            dead(tunnel).await;
        }
        let outcome = connection.connect(&self.places.echo.destination()).await;
        assert!(!matches!(outcome, Ok(Ok(_))), "another stream opened behind the answer");
    }

    async fn plain_upload(mut self) {
        let destination = self.places.silent_http.destination();
        let mut wire = self.device.wire().await;
        let head = format!(
            "POST http://{destination}/ HTTP/1.1\r\nHost: {destination}\r\nContent-Length: 1000000\r\n\r\n"
        );
        wire.send(head).await.expect("sent");
        drop(self.ready);
        while *self.moment.borrow() < Moment::Behind && wire.send(b"a part of a body").await.is_ok() {
            let pause = Duration::from_millis(1 + self.dice.below(20));
            let _ = tokio::time::timeout(pause, reaches(&mut self.moment, Moment::Behind)).await;
        }
        reaches(&mut self.moment, Moment::Behind).await;
        let _ = wire.send(AFTER).await;
        let _ = wire.rest().await;
    }

    async fn websocket(mut self) {
        let place = &self.places.websocket;
        let mut wire = self.device.wire().await;
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            place.url("/"),
            place.destination()
        );
        assert_eq!(wire.ask(head).await.expect("an answer").status, 101);
        wire.send("frame").await.expect("sent");
        assert_eq!(wire.exactly(5).await.expect("the echo"), b"frame");
        Self::wait(&mut self.moment, self.ready).await;
        let _ = wire.send(AFTER).await;
        let (rest, end) = wire.rest().await;
        assert_eq!((rest.as_slice(), end), (&b""[..], End::Broken), "nobody echoes behind the answer");
    }
}

async fn reaches(moment: &mut watch::Receiver<Moment>, at_least: Moment) {
    moment.wait_for(|now| *now >= at_least).await.expect("the round goes on");
}

/// Nothing goes through the tunnel any more, in either direction, and its end is no ordinary one.
async fn dead(mut tunnel: Tunnel) {
    let _ = tunnel.send(AFTER).await;
    let (rest, end) = tunnel.rest().await;
    assert!(!rest.windows(AFTER.len()).any(|window| window == AFTER), "an echo from behind the answer");
    assert_eq!(end, End::Broken);
}
