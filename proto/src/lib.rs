//! The gRPC contracts, generated from the `.proto` files beside this crate's manifest.
#![allow(missing_docs, clippy::all)]

/// The catalogue.
pub mod product {
    tonic::include_proto!("product");
}

/// Orders.
pub mod order {
    tonic::include_proto!("order");
}

/// Users.
pub mod user {
    tonic::include_proto!("user");
}

/// All files' descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
