//! What the notification service is told.

use std::path::PathBuf;

use crate::worker::Retry;

/// The notification service's configuration.
#[derive(Clone)]
pub struct Config {
    /// The mail server, `smtp://user:password@host:port`; `smtps://…` for TLS from the first byte, `?tls=required` for
    /// STARTTLS, `?tls=opportunistic` for STARTTLS where the server offers it. None: no e-mail is sent.
    pub smtp: Option<String>,
    /// A PEM file with the certificates that the mail server's is also checked against, beside the system's.
    pub smtp_ca: Option<PathBuf>,
    /// Whom e-mails come from: `Sagashop <shop@example.org>`.
    pub from: String,
    /// The user service's gRPC address, `host:port`.
    pub user_grpc: String,
    /// The secret that the shop's services share, to ask the user service for an address. E-mail needs it.
    pub internal_token: Option<String>,
    /// News for other systems. None: there are no webhooks.
    pub webhooks: Option<Webhooks>,
    /// When a failed e-mail is tried again.
    pub retry: Retry,
    /// The limits and manners of its servers.
    pub edge: web::EdgeOptions,
}

/// How webhooks are called.
#[derive(Clone)]
pub struct Webhooks {
    /// What the secrets that calls are signed with are derived from, at least 32 characters. Another one makes all of
    /// them others.
    pub key: String,
    /// Whether addresses of this machine and of private networks may be called.
    pub allow_private: bool,
    /// When a failed call is tried again.
    pub retry: Retry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            smtp: None,
            smtp_ca: None,
            from: "Sagashop <shop@sagashop.example>".to_owned(),
            user_grpc: "localhost:50053".to_owned(),
            internal_token: None,
            webhooks: None,
            retry: Retry::of_mail(),
            edge: web::EdgeOptions::default(),
        }
    }
}
