//! One harness for the end-to-end suites: a real gateway process, real certificates, signed policy, origins that
//! count every byte, and clients that can send anything.
//!
//! In reading order: [`Lab`] is what a test holds: a [`site`] and everything around it; [`builder`] and [`settings`] say how
//! its gateway is set up; [`gateway`] is its [`process`]; a [`fleet`] has a control plane and several sites; [`pki`],
//! [`keys`], [`manifest`] and [`policy`] are what it is given; [`device`], [`wire`], [`answer`], [`http2`] and [`tunnel`]
//! are the device side; [`origin`] the destination side; [`events`] and [`metrics`] what the gateway says about itself;
//! [`nats`] the servers that a control plane may keep its log on; a [`provider`] signs tokens; [`wait`] the only place that
//! waits, [`dice`] what chance is made of.
//!
//! Everything is on loopback and on ports that the system picks. Nothing here sleeps for luck: every wait is for a
//! state, with a bound. It relies on the gateway only through its sockets, files and signals, never on its code.

pub mod answer;
pub mod builder;
pub mod device;
pub mod dice;
pub mod events;
pub mod fleet;
pub mod gateway;
pub mod hello;
pub mod http2;
pub mod keys;
mod lab;
pub mod manifest;
pub mod metrics;
pub mod nats;
pub mod origin;
pub mod pki;
pub mod policy;
pub mod process;
pub mod provider;
pub mod settings;
pub mod site;
pub mod tunnel;
pub mod wait;
pub mod wire;

pub use answer::Answer;
pub use builder::LabBuilder;
pub use device::Device;
pub use fleet::{Fleet, Role};
pub use http2::Http2;
pub use lab::Lab;
pub use manifest::Draft;
pub use origin::{Behaviour, Capture, DnsOrigin, HttpOrigin, TlsOrigin, Unanswering};
pub use site::Site;
pub use tunnel::{End, Over, Tunnel};
pub use wait::{eventually, promptly, within};
pub use wire::Wire;
