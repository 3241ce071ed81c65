//! A PostgreSQL server that the user named, and connecting to any with sentences for what goes wrong.

use super::{Error, MAJOR_MIN, error};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::str::FromStr;
use std::time::Duration;

/// A host that swallows our packets would otherwise keep us waiting for minutes.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A server that somebody else runs.
#[derive(Clone, Debug)]
pub struct External {
    options: Box<PgConnectOptions>,
    /// The database that the URL named.
    database: Option<String>,
}

impl External {
    /// The server of a `DATABASE_URL`. The database in it is the one that is connected to for creating ours.
    ///
    /// # Errors
    /// When it is no PostgreSQL URL; the text does not hold the URL, because that holds the password.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        const FORM: &str = "DATABASE_URL must look like postgres://user:password@host:5432/database";
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Error::Setting(FORM.to_owned()));
        }
        let options = PgConnectOptions::from_str(url).map_err(|error| Error::Setting(format!("{FORM}: {error}")))?;
        let database = options.get_database().filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { options: Box::new(options), database })
    }

    /// The server of `DB_HOST`, `DB_PORT`, `DB_USER` and `DB_PASSWORD`. A host that begins with `/` is a socket folder.
    pub fn from_parts(host: &str, port: u16, user: &str, password: Option<&str>) -> Self {
        let options = PgConnectOptions::new().host(host).port(port).username(user);
        let options = match password {
            Some(password) => options.password(password),
            None => options,
        };
        Self { options: Box::new(options), database: None }
    }

    /// How to connect to one of its databases.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        (*self.options).clone().database(database)
    }

    /// What to call it in a sentence.
    pub fn describe(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => format!("PostgreSQL at {}", socket.display()),
            None => format!("PostgreSQL at {}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// Connects once, and looks at the version.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let mut connection = self.maintenance().await?;
        let query = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version')";
        let (major, version): (i32, String) = sqlx::query_as(query)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| Error::query(&self.describe(), &error))?;
        // Nothing more is asked of this connection: an error in parting is of no interest.
        let _ = connection.close().await;
        if u32::try_from(major).is_ok_and(|major| major >= MAJOR_MIN) {
            return Ok(());
        }
        Err(Error::TooOld { server: self.describe(), version })
    }

    /// Connects to the database that the URL named, else to `postgres`, which every server has.
    pub(super) async fn maintenance(&self) -> Result<PgConnection, Error> {
        let server = self.describe();
        if let Some(database) = self.database.as_deref() {
            let options = self.connect_options(database);
            match open(&options).await {
                Ok(connection) => return Ok(connection),
                // It is yet to be created.
                Err(Failure::Sqlx(error)) if error::has_code(&error, &["3D000"]) => {}
                Err(failure) => return Err(failure.explain(&options, &server)),
            }
        }
        connect(&self.connect_options("postgres"), &server).await
    }
}

/// Connects once; `server` is what to call it in the sentence if that fails.
pub(super) async fn connect(options: &PgConnectOptions, server: &str) -> Result<PgConnection, Error> {
    open(options).await.map_err(|failure| failure.explain(options, server))
}

/// Whether a server answers on these options. One that has no connection free does; one that starts up or shuts down
/// does not.
pub(super) async fn answers(options: &PgConnectOptions) -> bool {
    match open(options).await {
        Ok(connection) => {
            let _ = connection.close().await;
            true
        }
        Err(Failure::Sqlx(error)) => error.as_database_error().is_some() && !error::has_code(&error, &["57P03"]),
        Err(Failure::Timeout) => false,
    }
}

enum Failure {
    Sqlx(sqlx::Error),
    Timeout,
}

async fn open(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    match tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(Failure::Sqlx),
        Err(_) => Err(Failure::Timeout),
    }
}

impl Failure {
    fn explain(self, options: &PgConnectOptions, server: &str) -> Error {
        let server = server.to_owned();
        let error = match self {
            Self::Timeout => {
                let reason = format!("no answer within {} s", CONNECT_MAX.as_secs());
                return Error::NoAnswer { server, reason };
            }
            Self::Sqlx(error) => error,
        };
        let reason = error::message(&error);
        let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
        match code.as_str() {
            "28P01" | "28000" => Error::Refused { server, user: options.get_username().to_owned(), reason },
            "53300" => Error::Crowded { server, reason },
            "57P03" | "" => Error::NoAnswer { server, reason },
            _ => Error::Query { server, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;
    use std::net::TcpListener;

    #[test]
    fn a_url_is_taken_apart_and_its_password_never_shown() {
        let external = External::from_url("postgres://shop:s3cret@db.example:6543/orders").expect("a URL");
        assert_eq!(external.describe(), "PostgreSQL at db.example:6543");
        assert_eq!(external.database.as_deref(), Some("orders"));
        for bad in ["mysql://shop:s3cret@db/x", "db.example", "postgres://shop:s3cret@db.example:notaport/x"] {
            let error = External::from_url(bad).expect_err(bad);
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert_eq!(error.code(), Code::Usage);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_a_remedy() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let error = External::from_parts("127.0.0.1", free, "shop", None).check().await.expect_err("nobody listens");
        assert!(error.to_string().contains(&format!("PostgreSQL at 127.0.0.1:{free} does not answer")), "{error}");
        assert_eq!(error.code(), Code::Unavailable);
    }
}
