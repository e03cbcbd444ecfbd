//! proxy

pub mod screen;
pub mod request;
pub mod inspect;
