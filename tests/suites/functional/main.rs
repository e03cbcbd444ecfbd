//! What the gateway is for, end to end: tunnels, plain HTTP, limits, answers, events, commands.

mod agents;
mod answers;
mod commands;
mod decisions;
mod limits;
mod limits_plain;
mod observe;
mod pac;
mod plain;
mod settings;
mod tunnels;
mod websocket;
