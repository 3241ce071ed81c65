//! A Kafka of the test's own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub struct Kafka {
    data: TempDir,
    port: u16,
}

/// `compose/local/kafka`, which tells what it did.
fn kafka(arguments: &[&str], data: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/local/kafka");
    let mut command = Command::new(script);
    command.args(arguments).arg("--data").arg(data).env("KAFKA_HEAP_OPTS", "-Xms128m -Xmx256m");
    command.output().expect("compose/local/kafka runs")
}

impl Kafka {
    /// Nothing where there is none to be had.
    pub fn start() -> Option<Self> {
        testkit::kafka::broker()?;
        let mut said = String::new();
        // A port that is free now may be taken a moment later, and so may the next, for its controller.
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a port").port();
            let this = Self { data: tempfile::tempdir().expect("a folder"), port };
            match this.run() {
                Ok(()) => return Some(this),
                Err(error) => said = error,
            }
        }
        panic!("no Kafka can be started: {said}");
    }

    /// Starts it; again, on what it holds, after [`kill`](Self::kill).
    pub fn run(&self) -> Result<(), String> {
        let output = kafka(&["start", "--port", &self.port.to_string()], self.data.path());
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.data.path().join("pid")).expect("it runs");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
    }

    /// kill -9.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = kafka(&["stop"], self.data.path());
    }
}
