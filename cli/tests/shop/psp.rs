//! A payment provider of its own process beside a shop.

use std::net::TcpListener;

use crate::folder::Folder;
use crate::process::Process;

const SECRET: &str = "psp_secret_0123456789abcdef01234567";

pub struct Psp {
    port: u16,
    url: String,
    _process: Process,
}

impl Psp {
    /// With its book in the shop's cluster; it tells nobody of what it books.
    pub fn beside(folder: &Folder, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let environment =
            [&[("PSP_SECRET", SECRET), ("RUST_LOG", "warn"), ("PSP_WEBHOOK_URL", "")], environment].concat();
        let data = folder.data().to_string_lossy().into_owned();
        let arguments =
            ["serve", "psp", "--data-dir", &data, "--listen", "127.0.0.1", "--http-port", &port.to_string()];
        let process = Process::start(folder.path(), "psp", arguments, &environment);
        Self { port, url: format!("http://127.0.0.1:{port}"), _process: process }
    }

    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What the payment service and the audit are told of it.
    pub fn settings(&self) -> [(&str, &str); 3] {
        [("PAYMENT_PROVIDER", "http"), ("PSP_URL", &self.url), ("PSP_SECRET", SECRET)]
    }
}

/// Free a moment ago: nobody but tests takes ports so high.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
