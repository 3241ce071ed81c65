//! The flags of what operators run beside a shop.

use super::{DatabaseArgs, PeerArgs, ServerArgs};
use crate::ports::Role;
use std::net::{IpAddr, Ipv4Addr};

/// `sagashop doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct DoctorArgs {
    /// Whose databases and services; all when none is named. Where each role has a server of its own, name one at a time.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Added to the ports of services whose URL is not given.
    #[arg(long, value_name = "N", env = "PORT_OFFSET", default_value_t = 0)]
    pub port_offset: u16,
    /// The address of services whose URL is not given.
    #[arg(long, value_name = "ADDRESS", env = "LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The services.
    #[command(flatten)]
    pub peers: PeerArgs,
}

/// `sagashop restore-check`.
#[derive(Clone, Debug, clap::Args)]
pub struct RestoreCheckArgs {
    /// Whose databases; all when none is named. Where each role has a server of its own, name one at a time.
    #[arg(value_enum)]
    pub roles: Vec<Role>,
    /// Mend what was found. Without it nothing is changed.
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Only show what would be mended, as without --yes.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The other servers.
    #[command(flatten)]
    pub servers: ServerArgs,
}

impl DoctorArgs {
    /// Where a role's HTTP is.
    pub(crate) fn url(&self, role: Role) -> String {
        let given = match role {
            Role::User => &self.peers.user_service_url,
            Role::Product => &self.peers.product_service_url,
            Role::Order => &self.peers.order_service_url,
            Role::Payment => &self.peers.payment_service_url,
            Role::Notification => &self.peers.notification_service_url,
            Role::Orchestrator => &self.peers.orchestrator_url,
        };
        // The default of all of them is this machine.
        if *given != format!("http://localhost:{}", role.http_port()) {
            return given.trim_end_matches('/').to_owned();
        }
        let address = if self.listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { self.listen };
        let port = role.http_port().saturating_add(self.port_offset);
        format!("http://{}", std::net::SocketAddr::new(address, port))
    }
}

/// The roles that were named, else all.
pub(crate) fn roles_of(named: &[Role]) -> Vec<Role> {
    if named.is_empty() { Role::ALL.to_vec() } else { named.to_vec() }
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use crate::ports::Role;
    use clap::Parser;

    #[test]
    fn services_are_on_this_machine_unless_said_otherwise() {
        let line = ["sagashop", "doctor", "--port-offset", "10", "--order-service-url", "http://order:8082/"];
        let Command::Doctor(doctor) = Args::parse_from(line).command else { panic!("doctor") };
        assert_eq!(doctor.url(Role::User), "http://127.0.0.1:8090");
        assert_eq!(doctor.url(Role::Order), "http://order:8082");
    }
}
