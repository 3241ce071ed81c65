//! The flags of what runs for long: the whole shop, or one part of it.

use super::{AccountArgs, DatabaseArgs, EdgeArgs, EvidenceArgs, PaymentArgs, PeerArgs, SecretArgs, ServerArgs, values};
use crate::ports::Part;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// `sagashop up`.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// Leave out the small catalogue that the first start seeds.
    #[arg(long)]
    pub empty: bool,
    /// Added to every port (8000, 8080 to 8085, 50051 to 50053), so that several shops fit on one machine.
    #[arg(long, value_name = "N", env = "PORT_OFFSET", default_value_t = 0)]
    pub port_offset: u16,
    /// The address to listen on; 0.0.0.0 lets other machines in.
    #[arg(long, value_name = "ADDRESS", env = "LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The simulated provider.
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// How long logins last, and how often one may fail.
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// What must be kept from others.
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// What proves that nothing was changed.
    #[command(flatten)]
    pub evidence: EvidenceArgs,
    /// The servers' limits and manners.
    #[command(flatten)]
    pub edge: EdgeArgs,
}

/// `sagashop serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Which part of the shop to run.
    #[arg(value_enum)]
    pub part: Part,
    /// Its HTTP port; each part has its own by default (gateway 8000, roles 8080 to 8085).
    #[arg(long, value_name = "PORT", env = "HTTP_PORT")]
    pub http_port: Option<u16>,
    /// Its gRPC port (order 50051, product 50052, user 50053).
    #[arg(long, value_name = "PORT", env = "GRPC_PORT")]
    pub grpc_port: Option<u16>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", env = "LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// Answer metrics, health and the log's level at this port too (roles), at --admin-listen.
    #[arg(long, value_name = "PORT", env = "ADMIN_PORT")]
    pub admin_port: Option<u16>,
    /// The address of the admin port; that of --listen by default.
    #[arg(long, value_name = "ADDRESS", env = "ADMIN_LISTEN", requires = "admin_port")]
    pub admin_listen: Option<IpAddr>,
    /// Listen on the roles' own ports too (8080 to 8085), and pass everything there on to that role as it is (gateway): so
    /// many instances of a role share its port.
    #[arg(long, env = "ROLE_PORTS")]
    pub role_ports: bool,
    /// The role's database, created if it is missing; each role has its own by default (userdb, productdb, …).
    #[arg(long, value_name = "NAME", env = "DB_NAME")]
    pub db_name: Option<String>,
    /// The first administrator's address (user service), made if the address has no account; the password stands in
    /// ADMIN_PASSWORD.
    #[arg(long, value_name = "ADDRESS", env = "ADMIN_EMAIL")]
    pub admin_email: Option<String>,
    /// Fill an empty catalogue (product service).
    #[arg(long, env = "SEED_CATALOGUE")]
    pub seed: bool,
    /// How long the partitions of an instance that died wait for another.
    #[arg(long, value_name = "TIME", env = "LEASE", default_value = "10s", value_parser = values::duration)]
    pub lease: Duration,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The other services.
    #[command(flatten)]
    pub peers: PeerArgs,
    /// The simulated provider.
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// How long logins last, and how often one may fail.
    #[command(flatten)]
    pub accounts: AccountArgs,
    /// What must be kept from others.
    #[command(flatten)]
    pub secrets: SecretArgs,
    /// What proves that nothing was changed.
    #[command(flatten)]
    pub evidence: EvidenceArgs,
    /// The servers' limits and manners.
    #[command(flatten)]
    pub edge: EdgeArgs,
}
