//! proxy

pub mod budget;
pub mod screen;
pub mod request;
pub mod inspect;
pub mod forward;
