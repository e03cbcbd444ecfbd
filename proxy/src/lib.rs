//! proxy

pub mod screen;
