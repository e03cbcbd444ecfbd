//! The embedded transport over real sockets.
