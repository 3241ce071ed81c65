//! One keep-alive connection of a client that costs next to nothing: it shares the processors with what it measures.
//!
//! Requests are bytes made beforehand; of an answer it reads the status, and as many bytes as there are.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any answer that is measured.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An answer that takes longer will not come.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const HEAD_END: &[u8] = b"\r\n\r\n";
/// `HTTP/1.1 200`
const STATUS_AT: std::ops::Range<usize> = 9..12;

/// A connection, made at the first request and again after whatever broke it.
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What of an answer's head matters.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Head and body.
    bytes: usize,
    /// The server closes after it.
    is_last: bool,
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; ANSWER_BYTES_MAX] }
    }

    /// Sends a request and reads its answer's status.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        let head = match tokio::time::timeout(ANSWER_MAX, exchange(&mut stream, &mut self.buffer, request)).await {
            Ok(head) => head?,
            Err(_) => return Err(ErrorKind::TimedOut.into()),
        };
        if !head.is_last {
            self.stream = Some(stream);
        }
        Ok(head.status)
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(stream: &mut TcpStream, buffer: &mut [u8], request: &[u8]) -> Result<Head> {
    stream.write_all(request).await?;
    let mut filled = 0;
    let mut head = None;
    loop {
        if let Some(Head { bytes, .. }) = head
            && filled >= bytes
        {
            break;
        }
        let room = buffer.get_mut(filled..).filter(|room| !room.is_empty()).ok_or(ErrorKind::FileTooLarge)?;
        match stream.read(room).await? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
        if head.is_none() {
            head = read_head(&buffer[..filled])?;
        }
    }
    head.ok_or_else(|| ErrorKind::InvalidData.into())
}

/// The head, once it is there.
fn read_head(answer: &[u8]) -> Result<Option<Head>> {
    let Some(end) = answer.windows(HEAD_END.len()).position(|window| window == HEAD_END) else { return Ok(None) };
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what);
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| invalid("a head that is not text"))?;
    let status = head.get(STATUS_AT).and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid("no status"))?;
    let (mut length, mut is_last) = (None, false);
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = length.or((status == 204).then_some(0)).ok_or_else(|| invalid("an answer without its length"))?;
    Ok(Some(Head { status, bytes: end + HEAD_END.len() + length, is_last }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn of_a_head_its_status_and_the_answers_size_are_read() {
        let answer = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}";
        let head = read_head(answer.as_bytes()).expect("a head").expect("all of it");
        assert_eq!(head, Head { status: 201, bytes: answer.len(), is_last: true });
        assert_eq!(read_head(&answer.as_bytes()[..20]).expect("no error"), None);
        assert!(read_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(read_head(b"nothing of the kind\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn answers_in_pieces_are_read_and_a_closed_connection_is_made_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut connection = Connection::new(listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = [0; 3];
                for end in ["", "Connection: close\r\n"] {
                    stream.read_exact(&mut request).await.expect("a request");
                    for piece in ["HTTP/1.1 200 OK\r\n", end, "Content-Length: 5\r\n\r\n12", "345"] {
                        stream.write_all(piece.as_bytes()).await.expect("sent");
                        stream.flush().await.expect("sent");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        for _ in 0..4 {
            assert_eq!(connection.exchange(b"GET").await.expect("an answer"), 200);
        }
        server.await.expect("no panic");
        assert!(connection.exchange(b"GET").await.is_err());
    }
}
