//! Making a database cluster, and keeping its configuration ours.

use super::find::Binaries;
use super::home::Home;
use super::{Error, error, settings};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// The major version of the cluster that is there.
pub(super) fn major_of(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes the cluster. It is made beside its place and renamed: a cluster that is there is complete, whenever we
/// were killed.
pub(super) async fn create(home: &Home, programs: &Binaries) -> Result<(), Error> {
    let began = Instant::now();
    let locales = locales(programs.major);
    let mut failure = None;
    for locale in &locales {
        let fresh = home.fresh("data.new")?;
        let folder = fresh.to_string_lossy();
        let mut arguments = vec!["-D", &folder, "-U", settings::USER, "--encoding=UTF8"];
        arguments.extend(["--auth-local=trust", "--auth-host=reject"]);
        arguments.extend(locale.iter().copied());
        let output = home.account.run(&programs.initdb(), &arguments).await?;
        if output.status.success() {
            home.settle(&fresh, &home.data())?;
            tracing::info!(postgres.version = %programs.version, duration_ms = began.elapsed().as_millis() as u64, "made a database cluster");
            return Ok(());
        }
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let _ = fs::remove_dir_all(&fresh);
        if error::says_disk_full(&said) {
            return Err(Error::DiskFull { path: home.data() });
        }
        let is_locale = said.contains("locale");
        failure = Some(Error::Initdb { path: home.data(), output: error::shortened(&said) });
        if !is_locale {
            break;
        }
    }
    Err(failure.unwrap_or(Error::Setting("no locale to try".to_owned())))
}

/// Locales to try, the first that the machine knows wins: sorted by code point everywhere alike, and letters beyond
/// ASCII known as letters where that can be had.
fn locales(major: u32) -> Vec<Vec<&'static str>> {
    let mut locales = Vec::new();
    if major >= 17 {
        locales.push(vec!["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
    }
    locales.push(vec!["--locale=C", "--lc-ctype=C.UTF-8"]);
    locales.push(vec!["--locale=C"]);
    locales
}

/// Writes our settings; the user's own, below the include in `postgresql.conf`, stay.
pub(super) fn configure(home: &Home, sockets: &Path) -> Result<(), Error> {
    let data = home.data();
    let write = |name: &str, text: &str| -> Result<(), Error> {
        let path = data.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        fs::write(&path, text).map_err(|error| Error::at(&path, &error))?;
        home.account.own(&path)
    };
    write(settings::FILE, &settings::text(sockets))?;
    write("pg_hba.conf", settings::HBA)?;
    let main = data.join("postgresql.conf");
    let present = fs::read_to_string(&main).map_err(|error| Error::at(&main, &error))?;
    if present.lines().any(|line| line.trim() == settings::INCLUDE) {
        return Ok(());
    }
    write("postgresql.conf", &format!("{present}\n{}\n", settings::INCLUDE))
}
