//! NATS JetStream as the transport, with real servers: one log whoever writes, nothing lost, nobody believed.
//!
//! Where there is no `nats-server`, the tests say on their output that they are skipped.

mod access;
mod cluster;
mod fanout;
mod fitness;
mod fleet;
mod gateways;
mod kills;
mod log;
mod partition;
mod process;
mod replica;
mod replicas;
mod setup;
