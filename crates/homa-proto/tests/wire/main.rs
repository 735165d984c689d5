//! The codec against known packets, captured packets, illegal packets and arbitrary bytes.

#[path = "../captured/mod.rs"]
mod captured;
mod captures;
mod corpus;
mod golden;
mod law;
mod legality;
mod properties;
