//! What goes wrong around the gateway, and what must go on all the same.

mod audit;
mod crash;
mod descriptors;
mod drain;
mod reload;
mod slow;
mod sources;
