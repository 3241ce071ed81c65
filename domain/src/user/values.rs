//! What a user is made of.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::text::line;

line!(
    /// A person's name: 1 to 100 characters.
    PersonName,
    100
);

/// An e-mail address in lower case, so that one mailbox is one user. ASCII, with a host of at least two labels.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// Not an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an e-mail address such as john@example.com")]
pub struct EmailError;

impl EmailAddress {
    /// The longest address that can be mailed to (RFC 5321, erratum 1690), in bytes.
    pub const BYTES_MAX: usize = 254;

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.trim().to_ascii_lowercase();
        let (mailbox, host) = address.rsplit_once('@').ok_or(EmailError)?;
        // The characters of an `atom` (RFC 5322, 3.2.3), without capitals.
        let in_atom = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        let atom = |part: &str| !part.is_empty() && part.bytes().all(in_atom);
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let valid = address.len() <= Self::BYTES_MAX
            && mailbox.len() <= 64
            && mailbox.split('.').all(atom)
            && host.contains('.')
            && host.split('.').all(label);
        if valid { Ok(Self(address)) } else { Err(EmailError) }
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

/// A password's hash in PHC format. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a hash that was made elsewhere.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The hash, to verify a password against.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Personal data as it is stored: encrypted under its person's key, unreadable once that key is gone.
///
/// It is read from any text, but one that has not the form of a ciphertext is not kept: an event that was written
/// otherwise folds as if its key were gone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Sealed(String);

impl Sealed {
    /// What every ciphertext begins with: the version of its form.
    pub const PREFIX: &'static str = "s1.";
    /// The shortest ciphertext: a nonce of 24 bytes and a tag of 16, in base64url.
    const CHARS_MIN: usize = 54;

    /// The ciphertext with its prefix; empty where there is nothing to open.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text has the form of a ciphertext.
    pub fn is_ciphertext(text: &str) -> bool {
        let in_base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        text.strip_prefix(Self::PREFIX)
            .is_some_and(|sealed| sealed.len() >= Self::CHARS_MIN && sealed.bytes().all(in_base64url))
    }
}

impl From<String> for Sealed {
    fn from(text: String) -> Self {
        if Self::is_ciphertext(&text) { Self(text) } else { Self(String::new()) }
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        sealed.0
    }
}

impl JsonSchema for Sealed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Sealed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// A language, with a region where it matters: `en`, `de-AT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Locale(String);

/// Not a locale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a language such as en or de-AT")]
pub struct LocaleError;

impl Locale {
    /// The language tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Locale {
    type Err = LocaleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (language, region) =
            text.split_once('-').map_or((text, None), |(language, region)| (language, Some(region)));
        let is_language = (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase());
        let is_region = region.is_none_or(|region| region.len() == 2 && region.bytes().all(|b| b.is_ascii_uppercase()));
        if is_language && is_region { Ok(Self(text.to_owned())) } else { Err(LocaleError) }
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Admin,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Customer, Self::Admin].into_iter().find(|role| role.as_str() == name).ok_or(Error::UnknownRole)
    }
}
