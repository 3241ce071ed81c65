//! The development accounts of `up`: made once, with random passwords, kept beside the cluster.

use anyhow::Context;
use domain::user::Role;
use rand::TryRng;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use user_service::Bootstrap;

use super::secret_file;

/// Who can log in to a shop that `up` started, and the secret that its services share.
#[derive(Clone, Serialize, Deserialize)]
pub struct Accounts {
    /// Runs the shop.
    pub admin_email: String,
    /// Their password.
    pub admin_password: String,
    /// Buys.
    pub customer_email: String,
    /// Their password.
    pub customer_password: String,
    /// What services show each other to learn a user's address.
    pub internal_token: String,
}

impl Accounts {
    /// The file that they are kept in, readable by its owner alone.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("development-accounts.json")
    }

    /// The accounts of this data folder, if a shop was ever started on it.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = Self::path(data_dir);
        let Some(text) = secret_file::read(&path)? else { return Ok(None) };
        serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged: restore it, or delete it for new accounts", path.display()))
    }

    /// The accounts of this data folder; new ones, if there are none. Whether they are new is told.
    ///
    /// # Errors
    /// When they cannot be read or kept.
    pub fn ensure(data_dir: &Path) -> anyhow::Result<(Self, bool)> {
        if let Some(accounts) = Self::read(data_dir)? {
            return Ok((accounts, false));
        }
        let accounts = Self {
            admin_email: "admin@sagashop.example".to_owned(),
            admin_password: random_text()?,
            customer_email: "customer@sagashop.example".to_owned(),
            customer_password: random_text()?,
            internal_token: random_text()? + &random_text()?,
        };
        secret_file::write(&Self::path(data_dir), &serde_json::to_vec_pretty(&accounts)?)?;
        Ok((accounts, true))
    }

    /// As the user service takes them.
    pub fn bootstrap(&self) -> Vec<Bootstrap> {
        vec![
            Bootstrap {
                name: "Development administrator".to_owned(),
                email: self.admin_email.clone(),
                password: self.admin_password.clone(),
                role: Role::Admin,
            },
            Bootstrap {
                name: "Development customer".to_owned(),
                email: self.customer_email.clone(),
                password: self.customer_password.clone(),
                role: Role::Customer,
            },
        ]
    }
}

/// 128 random bits, in hexadecimal.
fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).context("the system has no randomness")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn accounts_are_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let (first, new) = Accounts::ensure(folder.path()).unwrap();
        assert!(new);
        let (again, new) = Accounts::ensure(folder.path()).unwrap();
        assert!(!new);
        assert_eq!(first.admin_password, again.admin_password);
        assert_ne!(first.admin_password, first.customer_password);
        let mode = std::fs::metadata(Accounts::path(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
