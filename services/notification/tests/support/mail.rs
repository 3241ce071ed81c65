//! A mail server that does as it is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail as the server got it.
#[derive(Debug, Clone)]
pub struct Mail {
    pub recipient: String,
    pub text: String,
}

impl Mail {
    pub fn id(&self) -> String {
        self.text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or_default().to_owned()
    }
}

/// What the server does with a mail instead of taking it.
#[derive(Debug, Clone, Copy)]
pub enum Manner {
    /// It reads it and answers so.
    Refuse(&'static str),
    /// It knows no such mailbox.
    RefuseRecipient,
    /// It keeps it and hangs up.
    DieAfterTaking,
    /// It reads it and says nothing more.
    Hang,
}

/// As much SMTP as a client needs (RFC 5321).
pub struct MailServer {
    address: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// What happens to the next mails, the last first.
    manners: Vec<Manner>,
    refused: Vec<Mail>,
    mails: Vec<Mail>,
    connections: usize,
    recipients: usize,
}

impl MailServer {
    pub async fn start(manners: &[Manner]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let manners = manners.iter().rev().copied().collect();
        let kept = Arc::new(Mutex::new(Kept { manners, ..Kept::default() }));
        let shared = Arc::clone(&kept);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { address, kept }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.kept.lock().unwrap().mails.clone()
    }

    pub fn refused(&self) -> Vec<Mail> {
        self.kept.lock().unwrap().refused.clone()
    }

    pub fn connections(&self) -> usize {
        self.kept.lock().unwrap().connections
    }

    pub fn recipients(&self) -> usize {
        self.kept.lock().unwrap().recipients
    }
}

async fn talk(stream: TcpStream, kept: Arc<Mutex<Kept>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut recipient = String::new();
    writer.write_all(b"220 test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-test\r\n250 8BITMIME".to_owned(),
            "RCPT" => {
                recipient = line.trim_start_matches("RCPT TO:").to_owned();
                let mut kept = kept.lock().unwrap();
                kept.recipients += 1;
                match kept.manners.pop_if(|manner| matches!(manner, Manner::RefuseRecipient)) {
                    Some(_) => format!("550 no such user here: {recipient}"),
                    None => "250 ok".to_owned(),
                }
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text.push_str(&line);
                    text.push('\n');
                }
                match take(&kept, Mail { recipient: recipient.clone(), text }) {
                    Some(answer) => answer.to_owned(),
                    None if matches!(kept.lock().unwrap().manners.last(), Some(Manner::Hang)) => {
                        kept.lock().unwrap().manners.pop();
                        std::future::pending().await
                    }
                    None => return Ok(()),
                }
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if line == "QUIT" {
            return Ok(());
        }
    }
    Ok(())
}

/// The answer to a mail. None: there is none.
fn take(kept: &Mutex<Kept>, mail: Mail) -> Option<&'static str> {
    let mut kept = kept.lock().unwrap();
    match kept.manners.last().copied() {
        Some(Manner::Refuse(answer)) => {
            kept.manners.pop();
            kept.refused.push(mail);
            Some(answer)
        }
        Some(Manner::DieAfterTaking) => {
            kept.manners.pop();
            kept.mails.push(mail);
            None
        }
        // Whoever asks takes it from the list.
        Some(Manner::Hang) => None,
        Some(Manner::RefuseRecipient) | None => {
            kept.mails.push(mail);
            Some("250 taken")
        }
    }
}
