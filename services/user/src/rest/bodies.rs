//! What crosses the API.

use domain::user::address::{self, AddressLine, PostalCode};
use domain::user::{EmailAddress, Locale, PersonName, Role};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use uuid::Uuid;
use web::{Line, Problem, Text, Timestamp};

use crate::commands::{Entry, Person, Registration};
use crate::queries::{self, Row};

use super::email::Email;
use super::new_password;

type Name = Line<{ PersonName::CHARS_MAX }>;
type AddressText = Line<{ AddressLine::CHARS_MAX }>;

/// A new account. The original shop calls the name `name` or `username`.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct Register {
    /// What the user is called; this or `username` is needed.
    name: Option<Name>,
    /// The same, under its other name.
    username: Option<Name>,
    /// Where the user can be reached; one account an address, whatever its capitals.
    email: Email,
    /// None of those that everybody uses.
    #[oai(validator(min_length = 8, max_length = 256))]
    password: Text,
}

/// What opens an account.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct Login {
    /// The account's address.
    pub(super) email: Text,
    /// Its password.
    pub(super) password: Text,
}

/// A refresh token.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct Refresh {
    /// The last one of the session; it is good once.
    pub(super) refresh_token: Text,
}

/// What can be changed of a profile; what is left out stays.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct Update {
    /// What to be called.
    pub(super) name: Option<Name>,
    /// The language to be spoken to in: `en`, `de-AT`.
    #[oai(validator(pattern = "^[a-z]{2,3}(-[A-Z]{2})?$"))]
    pub(super) locale: Option<Text>,
}

/// A change of password.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct ChangePassword {
    /// The password until now.
    pub(super) current_password: Text,
    /// The password from now on: none of those that everybody uses.
    #[oai(validator(min_length = 8, max_length = 256))]
    pub(super) new_password: Text,
}

/// The confirmation that an account is to be deleted.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct Deletion {
    /// The account's password.
    pub(super) password: Text,
}

/// A user.
#[derive(Object)]
pub(super) struct User {
    /// Their id.
    id: Uuid,
    /// Their name.
    name: String,
    /// Their address.
    email: String,
    /// `customer` or `admin`.
    role: String,
    /// When they registered.
    created_at: Timestamp,
}

/// A user, as they see themselves.
#[derive(Object)]
pub(super) struct Profile {
    /// Their id.
    id: Uuid,
    /// The same, as the original shop calls it here.
    user_id: Uuid,
    /// Their name.
    name: String,
    /// Their address.
    email: String,
    /// `customer` or `admin`.
    role: String,
    /// The language that they chose, if any.
    #[oai(skip_serializing_if_is_none)]
    locale: Option<String>,
    /// When they registered.
    created_at: Timestamp,
}

/// Tokens and whose they are.
#[derive(Object)]
pub(super) struct Session {
    /// The access token, to be sent as `Authorization: Bearer …`.
    pub(super) token: String,
    /// Always `Bearer`.
    pub(super) token_type: String,
    /// Seconds that the access token is good for.
    pub(super) expires_in: u64,
    /// To be exchanged for new tokens at `/refresh`, once.
    pub(super) refresh_token: String,
    /// Whose they are.
    #[oai(skip_serializing_if_is_none)]
    pub(super) user: Option<User>,
}

/// What a user may do.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "lowercase", rename = "Role")]
pub(super) enum RoleName {
    /// Buys.
    Customer,
    /// Runs the shop.
    Admin,
}

/// How an account stands.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "lowercase", rename = "AccountStatus")]
pub(super) enum Status {
    /// Its user is let in.
    Active,
    /// Its user is not let in, until further notice.
    Locked,
    /// Its user is forgotten.
    Deleted,
}

/// A change of role.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct ChangeRole {
    /// The new role.
    pub(super) role: RoleName,
}

/// A user, as administrators see them. Of a deleted one there is a tombstone.
#[derive(Object)]
pub(super) struct Managed {
    /// Their id.
    id: Uuid,
    /// Their name; `deleted user` once they are forgotten.
    name: String,
    /// Their address.
    #[oai(skip_serializing_if_is_none)]
    email: Option<String>,
    /// What they may do.
    #[oai(skip_serializing_if_is_none)]
    role: Option<String>,
    /// `active`, `locked` or `deleted`.
    status: String,
    /// When they registered.
    created_at: Timestamp,
}

/// A page of users.
#[derive(Object)]
pub(super) struct UserPage {
    /// The youngest accounts first.
    pub(super) users: Vec<Managed>,
    /// The cursor of the next page; none behind the last.
    #[oai(skip_serializing_if_is_none)]
    pub(super) next: Option<Uuid>,
}

/// Where a parcel goes.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct WriteAddress {
    /// Who receives it.
    recipient: AddressText,
    /// Street and number.
    line1: AddressText,
    /// What else the carrier needs; spaces are nothing.
    #[oai(validator(max_length = 100, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    line2: Option<Text>,
    /// As the country writes it.
    postal_code: Line<{ PostalCode::CHARS_MAX }>,
    /// The town.
    city: AddressText,
    /// The state or province; spaces are nothing.
    #[oai(validator(max_length = 100, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    region: Option<Text>,
    /// ISO 3166-1 alpha-2.
    #[oai(validator(pattern = "^[A-Za-z]{2}$"))]
    country: Text,
}

/// An entry of the address book.
#[derive(Object)]
pub(super) struct Address {
    /// Its id, to be named in orders.
    id: Uuid,
    /// Who receives it.
    recipient: String,
    /// Street and number.
    line1: String,
    /// What else the carrier needs.
    #[oai(skip_serializing_if_is_none)]
    line2: Option<String>,
    /// The postal code.
    postal_code: String,
    /// The town.
    city: String,
    /// The state or province.
    #[oai(skip_serializing_if_is_none)]
    region: Option<String>,
    /// ISO 3166-1 alpha-2.
    country: String,
}

impl Register {
    pub(super) fn read(self) -> Result<Registration, Problem> {
        let name = match (self.name, self.username) {
            (Some(given), _) => name("name", &given)?,
            (None, Some(given)) => name("username", &given)?,
            (None, None) => {
                return Err(Problem::bad_request("Name or username is required").field("name", "is required"));
            }
        };
        let email: EmailAddress = self
            .email
            .parse()
            .map_err(|error| Problem::bad_request("The address is not valid").field("email", format!("{error}")))?;
        let password = new_password("password", &self.password)?;
        Ok(Registration { name, email, password, role: Role::Customer })
    }
}

impl Update {
    pub(super) fn read(self) -> Result<(Option<PersonName>, Option<Locale>), Problem> {
        let given = self.name.map(|given| name("name", &given)).transpose()?;
        let locale = self.locale.map(|text| {
            let wrong = |error| Problem::bad_request("The language is not valid").field("locale", format!("{error}"));
            text.parse::<Locale>().map_err(wrong)
        });
        let locale = locale.transpose()?;
        if given.is_none() && locale.is_none() {
            return Err(Problem::bad_request("Nothing is to be changed").field("name", "is required"));
        }
        Ok((given, locale))
    }
}

impl WriteAddress {
    pub(super) fn read(self) -> Result<address::Address, Problem> {
        let wrong = |field: &str, error: String| Problem::bad_request("The address is not valid").field(field, error);
        let line =
            |field: &str, text: &AddressText| text.parse::<AddressLine>().map_err(|e| wrong(field, e.to_string()));
        let optional = |field: &str, text: &Option<Text>| {
            address::optional_line(text.as_deref()).map_err(|e| wrong(field, e.to_string()))
        };
        Ok(address::Address {
            recipient: line("recipient", &self.recipient)?,
            line1: line("line1", &self.line1)?,
            line2: optional("line2", &self.line2)?,
            postal_code: self.postal_code.parse().map_err(|e| wrong("postal_code", format!("{e}")))?,
            city: line("city", &self.city)?,
            region: optional("region", &self.region)?,
            country: self.country.parse().map_err(|e| wrong("country", format!("{e}")))?,
        })
    }
}

fn name(field: &str, text: &str) -> Result<PersonName, Problem> {
    text.parse().map_err(|error| Problem::bad_request("The name is not valid").field(field, format!("{error}")))
}

fn role_of(person: &Person) -> Option<String> {
    person.account.as_ref().map(|account| account.role.as_str().to_owned())
}

impl From<&Person> for User {
    fn from(person: &Person) -> Self {
        Self {
            id: person.user_id.0,
            name: person.name.clone(),
            email: person.email.clone().unwrap_or_default(),
            role: role_of(person).unwrap_or_default(),
            created_at: queries::created_at(person.user_id).into(),
        }
    }
}

impl From<&Person> for Profile {
    fn from(person: &Person) -> Self {
        let User { id, name, email, role, created_at } = person.into();
        let locale = person.account.as_ref().and_then(|account| account.locale.as_ref());
        Self { id, user_id: id, name, email, role, locale: locale.map(|tag| tag.as_str().to_owned()), created_at }
    }
}

impl From<&Person> for Managed {
    fn from(person: &Person) -> Self {
        let status = match &person.account {
            None => "deleted",
            Some(account) if account.locked => "locked",
            Some(_) => "active",
        };
        Self {
            id: person.user_id.0,
            name: person.name.clone(),
            email: person.email.clone(),
            role: role_of(person),
            status: status.to_owned(),
            created_at: queries::created_at(person.user_id).into(),
        }
    }
}

impl From<Row> for Managed {
    fn from(row: Row) -> Self {
        let created_at = queries::created_at(row.user_id).into();
        let role = (row.status != "deleted").then_some(row.role);
        Self { id: row.user_id.0, name: row.name, email: row.email, role, status: row.status, created_at }
    }
}

impl From<Entry> for Address {
    fn from(Entry { id, address }: Entry) -> Self {
        let optional = |line: Option<AddressLine>| line.map(|line| line.as_str().to_owned());
        Self {
            id: id.0,
            recipient: address.recipient.as_str().to_owned(),
            line1: address.line1.as_str().to_owned(),
            line2: optional(address.line2),
            postal_code: address.postal_code.as_str().to_owned(),
            city: address.city.as_str().to_owned(),
            region: optional(address.region),
            country: address.country.as_str().to_owned(),
        }
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Customer => Self::Customer,
            RoleName::Admin => Self::Admin,
        }
    }
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Deleted => "deleted",
        }
    }
}

fn text(text: &str) -> Text {
    Text::from(text)
}

impl Example for Register {
    fn example() -> Self {
        Self {
            name: Some("Ada Lovelace".into()),
            username: None,
            email: "ada@example.com".into(),
            password: text("correct horse battery staple"),
        }
    }
}

impl Example for Login {
    fn example() -> Self {
        Self { email: text("ada@example.com"), password: text("correct horse battery staple") }
    }
}

impl Example for Update {
    fn example() -> Self {
        Self { name: Some("Ada King".into()), locale: Some(text("en")) }
    }
}

impl Example for ChangeRole {
    fn example() -> Self {
        Self { role: RoleName::Admin }
    }
}

impl Example for WriteAddress {
    fn example() -> Self {
        Self {
            recipient: "Ada Lovelace".into(),
            line1: "12 St James's Square".into(),
            line2: None,
            postal_code: "SW1Y 4JH".into(),
            city: "London".into(),
            region: None,
            country: text("GB"),
        }
    }
}
