//! The codec against known packets, captured packets, illegal packets and arbitrary bytes.

mod captures;
mod corpus;
mod golden;
mod law;
mod legality;
mod properties;
