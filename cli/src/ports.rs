//! The ports of the shop, and what to say when one of them is taken.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// A port that is taken is asked for so often before it is given up.
const TRIES_MAX: u32 = 5;
const TRY_EVERY: Duration = Duration::from_millis(200);
/// Connections that wait to be taken; the system may allow fewer.
const BACKLOG: u32 = 4_096;

/// A part of the shop that can run as its own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Registration, login, profiles.
    User,
    /// Catalogue and stock.
    Product,
    /// Orders.
    Order,
    /// Charges and refunds.
    Payment,
    /// E-mails.
    Notification,
    /// The saga that takes an order through the others.
    Orchestrator,
}

impl Role {
    /// Every role, in the order of their ports.
    pub const ALL: [Self; 6] =
        [Self::User, Self::Product, Self::Order, Self::Payment, Self::Notification, Self::Orchestrator];

    /// The name, as in `sagashop serve <name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Product => "product",
            Self::Order => "order",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Orchestrator => "orchestrator",
        }
    }

    /// What a person calls it: `order service`, `orchestrator`.
    pub fn title(self) -> String {
        match self {
            Self::Orchestrator => self.name().to_owned(),
            service => format!("{} service", service.name()),
        }
    }

    /// The HTTP port of the original shop.
    pub fn http_port(self) -> u16 {
        match self {
            Self::User => 8080,
            Self::Product => 8081,
            Self::Order => 8082,
            Self::Payment => 8083,
            Self::Notification => 8084,
            Self::Orchestrator => 8085,
        }
    }

    /// The gRPC port of the original shop, for the roles that have one.
    pub fn grpc_port(self) -> Option<u16> {
        match self {
            Self::Order => Some(50051),
            Self::Product => Some(50052),
            Self::User => Some(50053),
            _ => None,
        }
    }
}

/// What `sagashop serve` can run: a role, or a part without a database of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A role of the shop.
    Role(Role),
    /// One origin for all services.
    Gateway,
    /// A payment provider for trying; no part of the shop.
    Psp,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 8] = [
        Self::Role(Role::User),
        Self::Role(Role::Product),
        Self::Role(Role::Order),
        Self::Role(Role::Payment),
        Self::Role(Role::Notification),
        Self::Role(Role::Orchestrator),
        Self::Gateway,
        Self::Psp,
    ];

    /// The name, as in `sagashop serve <name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Role(role) => role.name(),
            Self::Gateway => "gateway",
            Self::Psp => "psp",
        }
    }

    /// The usual port of its HTTP.
    pub fn http_port(self) -> u16 {
        match self {
            Self::Role(role) => role.http_port(),
            Self::Gateway => GATEWAY_PORT,
            Self::Psp => PSP_PORT,
        }
    }
}

impl clap::ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::Role(role) => role.to_possible_value(),
            Self::Gateway => Some(clap::builder::PossibleValue::new(self.name()).help("One origin for all services")),
            Self::Psp => Some(clap::builder::PossibleValue::new(self.name()).help("A payment provider for trying")),
        }
    }
}

/// The port of the gateway.
pub const GATEWAY_PORT: u16 = 8000;
/// The port of the payment provider.
pub const PSP_PORT: u16 = 8086;

/// Where the shop listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The address of every listener.
    pub address: IpAddr,
    /// Added to every port, so that two shops fit on one machine.
    pub offset: u16,
}

impl Ports {
    /// The listener for a role's HTTP.
    ///
    /// # Errors
    /// The sentence for people when the port cannot be had.
    pub async fn bind_http(self, role: Role) -> Result<TcpListener, Error> {
        self.bind(role.http_port(), &role.title()).await
    }

    /// The listener for a role's gRPC, if it has any.
    ///
    /// # Errors
    /// The sentence for people when the port cannot be had.
    pub async fn bind_grpc(self, role: Role) -> Result<Option<TcpListener>, Error> {
        match role.grpc_port() {
            Some(port) => self.bind(port, &format!("{} gRPC", role.title())).await.map(Some),
            None => Ok(None),
        }
    }

    /// The gateway's listener.
    ///
    /// # Errors
    /// The sentence for people when the port cannot be had.
    pub async fn bind_gateway(self) -> Result<TcpListener, Error> {
        self.bind(GATEWAY_PORT, "gateway").await
    }

    async fn bind(self, port: u16, title: &str) -> Result<TcpListener, Error> {
        let Some(port) = port.checked_add(self.offset) else {
            return Err(Error::OffsetTooLarge { offset: self.offset, title: title.to_owned() });
        };
        let remedy = "move every port with --port-offset (or PORT_OFFSET), for example --port-offset 100";
        bind(SocketAddr::new(self.address, port), title, remedy).await
    }
}

/// Binds a listener; `title` and `remedy` complete the sentence if the port is taken. Port 0 takes any free one.
///
/// # Errors
/// The sentence for people when the port cannot be had.
pub async fn bind(address: SocketAddr, title: &str, remedy: &str) -> Result<TcpListener, Error> {
    let mut tries = 1;
    let bound = loop {
        match listen(address) {
            // Our gRPC ports are among those that the system gives to outgoing connections: one of
            // these may be gone in a moment.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES_MAX => {
                tries += 1;
                tokio::time::sleep(TRY_EVERY).await;
            }
            bound => break bound,
        }
    };
    bound.map_err(|error| {
        let (port, title, remedy) = (address.port(), title.to_owned(), remedy.to_owned());
        match error.kind() {
            io::ErrorKind::AddrInUse => Error::InUse { port, title, remedy },
            io::ErrorKind::PermissionDenied => Error::Privileged { port, title, remedy },
            io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress { address: address.ip(), title },
            _ => Error::Other { address, title, reason: error.to_string() },
        }
    })
}

/// As [`TcpListener::bind`], with a longer line of those who are not let in yet: beyond it, a client that comes with
/// thousands of others waits a second for its next try.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A port that cannot be had. The text is a whole sentence with its remedy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum Error {
    #[error("port {port} ({title}) is in use by another program: stop that program, or {remedy}")]
    InUse { port: u16, title: String, remedy: String },
    #[error("port {port} ({title}) may not be opened by this user: {remedy}")]
    Privileged { port: u16, title: String, remedy: String },
    #[error(
        "the {title} cannot listen on {address}, which is no address of this machine: choose another with --listen"
    )]
    NoSuchAddress { address: IpAddr, title: String },
    #[error("--port-offset {offset} puts the {title} beyond port 65535: choose a smaller one")]
    OffsetTooLarge { offset: u16, title: String },
    #[error("the {title} cannot listen on {address}: {reason}")]
    Other { address: SocketAddr, title: String, reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_service_and_a_remedy() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let remedy = "set HTTP_PORT";
        let error = bind((Ipv4Addr::LOCALHOST, port).into(), "order service", remedy).await.expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!("port {port} (order service) is in use by another program: stop that program, or set HTTP_PORT")
        );
    }

    #[tokio::test]
    async fn an_offset_beyond_the_last_port_is_refused() {
        let ports = Ports { address: Ipv4Addr::LOCALHOST.into(), offset: 60_000 };
        let error = ports.bind_http(Role::Order).await.expect_err("out of range");
        assert!(matches!(error, Error::OffsetTooLarge { .. }), "{error}");
    }

    #[test]
    fn no_two_listeners_share_a_port() {
        let mut ports: Vec<u16> =
            Role::ALL.iter().flat_map(|role| [Some(role.http_port()), role.grpc_port()]).flatten().collect();
        let all = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), all);
    }
}
