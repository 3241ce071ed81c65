//! The binary: parse, run, say how it ended.

use sagashop::{config, exit, run};
use std::process::ExitCode;

/// Under load a quarter of the processor time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let loaded = match config::load(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    // Both our own HTTP client and PostgreSQL's download want TLS, and its provider is chosen once a process.
    // An error means that somebody chose before us, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run::run(loaded)));
    exit::report(ended)
}
