//! The master key of a data folder: made at the first start, where the configuration gives none.

use super::secret_file;
use crate::args::{GlobalArgs, Mode, SecretArgs};
use anyhow::Context;
use std::path::{Path, PathBuf};
use user_service::MasterKey;

/// The file that it is kept in, readable by its owner alone.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key")
}

/// The key that the configuration gives, else that of the data folder; there it is made, if there is none.
///
/// # Errors
/// The key is none, or production has none, or the file cannot be read or written.
pub fn ensure(global: &GlobalArgs, secrets: &SecretArgs) -> anyhow::Result<MasterKey> {
    if let Some(key) = known(global, secrets)? {
        return Ok(key);
    }
    anyhow::ensure!(
        global.mode == Mode::Development,
        "MASTER_KEY is missing: `openssl rand -base64 32` makes one; without it nobody's data can be read again"
    );
    let key = MasterKey::random()?;
    std::fs::create_dir_all(&global.data_dir)
        .with_context(|| format!("{} cannot be made", global.data_dir.display()))?;
    secret_file::write(&path(&global.data_dir), key.expose().as_bytes())?;
    Ok(key)
}

/// As [`ensure`], where no key is made.
///
/// # Errors
/// The key is none, or the file cannot be read.
pub fn known(global: &GlobalArgs, secrets: &SecretArgs) -> anyhow::Result<Option<MasterKey>> {
    if let Some(given) = secrets.master_key.as_deref().filter(|text| !text.is_empty()) {
        return given.parse().map(Some);
    }
    let path = path(&global.data_dir);
    let Some(content) = secret_file::read(&path)? else { return Ok(None) };
    let text = String::from_utf8(content).with_context(|| format!("{} is damaged", path.display()))?;
    let key = text.parse().with_context(|| format!("{} is damaged: restore it", path.display()))?;
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("shop");
        let mut global = Args::parse_from(["sagashop", "saga", "graph"]).global;
        global.data_dir.clone_from(&data_dir);
        let none = SecretArgs::default();
        assert!(known(&global, &none).unwrap().is_none());
        let made = ensure(&global, &none).unwrap().expose();
        assert_eq!(ensure(&global, &none).unwrap().expose(), made);
        assert_eq!(std::fs::metadata(path(&data_dir)).unwrap().permissions().mode() & 0o777, 0o600);

        let given = MasterKey::random().unwrap().expose();
        let secrets = SecretArgs { master_key: Some(given.clone()), ..SecretArgs::default() };
        assert_eq!(ensure(&global, &secrets).unwrap().expose(), given);
        let wrong = SecretArgs { master_key: Some("secret".to_owned()), ..SecretArgs::default() };
        assert!(ensure(&global, &wrong).is_err());

        let mut production = global;
        production.mode = Mode::Production;
        production.data_dir = folder.path().join("another");
        assert!(ensure(&production, &none).unwrap_err().to_string().contains("MASTER_KEY"));
    }
}
