use super::*;
use crate::testing::{at, every_command_in_every_state, given, history, id};

fn sealed(letter: char) -> Sealed {
    format!("{}{}", Sealed::PREFIX, letter.to_string().repeat(60)).into()
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash::new(text.to_owned())
}

fn register() -> Command {
    Command::Register {
        user_id: id(1),
        name: sealed('n'),
        email: sealed('e'),
        password_hash: hash("$argon2id$old"),
        role: Role::Customer,
        at: at(),
    }
}

fn change_password(kept: Option<SessionId>) -> Command {
    Command::ChangePassword { password_hash: hash("$argon2id$new"), kept, at: at() }
}

fn rehash() -> Command {
    Command::Rehash { old: hash("$argon2id$old"), new: hash("$argon2id$grown"), at: at() }
}

fn add(number: u128) -> Command {
    Command::AddAddress { address_id: id(number), address: sealed('a'), at: at() }
}

fn lock(by: u128) -> Command {
    Command::Lock { by: id(by), at: at() }
}

fn role(role: Role, by: u128) -> Command {
    Command::ChangeRole { role, by: id(by), at: at() }
}

fn account(commands: impl IntoIterator<Item = Command>) -> Account {
    match given(commands).0 {
        User::Registered(account) => account,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_does_what_it_must_in_every_state() {
    let locale = || Command::ChangeLocale { locale: "de-AT".parse().unwrap(), at: at() };
    let commands = [
        register(),
        Command::ChangeName { name: sealed('m'), at: at() },
        locale(),
        change_password(None),
        rehash(),
        Command::EndSessions { at: at() },
        Command::Delete { at: at() },
    ];
    let all = "user_registered !Unknown !Unknown !Unknown !Unknown !Unknown !Unknown";
    let alive =
        "!AlreadyRegistered name_changed locale_changed password_changed password_rehashed sessions_ended user_deleted";
    let changed = "!AlreadyRegistered name_changed - password_changed - sessions_ended user_deleted";
    every_command_in_every_state::<User>(
        &commands,
        &[
            ("unknown", vec![], all),
            ("registered", vec![register()], alive),
            ("changed", vec![register(), locale(), change_password(None)], changed),
            (
                "deleted",
                vec![register(), Command::Delete { at: at() }],
                "!Deleted !Deleted !Deleted !Deleted !Deleted !Deleted -",
            ),
        ],
    );
}

#[test]
fn administrators_lock_and_promote_others_alone() {
    let unlock = || Command::Unlock { at: at() };
    every_command_in_every_state::<User>(
        &[lock(9), lock(1), unlock(), role(Role::Admin, 9), role(Role::Customer, 9), role(Role::Admin, 1)],
        &[
            ("unknown", vec![], "!Unknown !Unknown !Unknown !Unknown !Unknown !Unknown"),
            ("registered", vec![register()], "user_locked !OwnAccount - role_changed - !OwnAccount"),
            ("locked", vec![register(), lock(9)], "- !OwnAccount user_unlocked role_changed - !OwnAccount"),
            ("admin", vec![register(), role(Role::Admin, 9)], "user_locked !OwnAccount - - role_changed !OwnAccount"),
        ],
    );
}

#[test]
fn an_address_book_has_entries_and_an_end() {
    let replace = Command::ReplaceAddress { address_id: id(7), address: sealed('b'), at: at() };
    let remove = || Command::RemoveAddress { address_id: id(7), at: at() };
    let full = || std::iter::once(register()).chain((7..27).map(add)).collect::<Vec<_>>();
    every_command_in_every_state::<User>(
        &[add(7), add(99), replace, remove()],
        &[
            ("empty", vec![register()], "address_saved address_saved !UnknownAddress !UnknownAddress"),
            ("with one", vec![register(), add(7)], "- address_saved address_saved address_removed"),
            (
                "without it",
                vec![register(), add(7), remove()],
                "address_saved address_saved !UnknownAddress !UnknownAddress",
            ),
            ("full", full(), "- !TooManyAddresses address_saved address_removed"),
        ],
    );
    assert_eq!(account(full()).addresses.len(), ADDRESSES_MAX);
}

#[test]
fn what_ends_sessions_ends_those_before_it() {
    let (mine, other) = (id(51), id(52));
    let fresh = account([register()]);
    assert!(fresh.admits(mine, 0) && fresh.admits(other, 0));
    let changed = account([register(), change_password(Some(mine))]);
    assert!(changed.admits(mine, 0) && !changed.admits(other, 0) && changed.admits(other, 1));
    let ended = account([register(), change_password(Some(mine)), Command::EndSessions { at: at() }]);
    assert!(!ended.admits(mine, 0) && !ended.admits(other, 1) && ended.admits(other, 2));
    let locked = account([register(), lock(9)]);
    assert!(!locked.admits(mine, 0) && !locked.admits(mine, 1));
    let unlocked = account([register(), lock(9), Command::Unlock { at: at() }]);
    assert!(!unlocked.admits(mine, 0) && unlocked.admits(mine, 1));
}

#[test]
fn nothing_of_a_deleted_user_is_left_in_their_state() {
    let state = given::<User>([register(), add(7), Command::Delete { at: at() }]).0;
    assert_eq!(state, User::Deleted { user_id: id(1) });
}

#[test]
fn what_is_no_ciphertext_is_not_kept() {
    let [event] = &history::<User>([register()])[..] else { panic!("one event") };
    assert_eq!(event.event_version(), "2");
    let mut stored = serde_json::to_value(event).unwrap();
    stored["user_registered"]["email"] = "john@example.com".into();
    let Event::UserRegistered { email, name, .. } = serde_json::from_value(stored).unwrap() else { panic!() };
    assert_eq!((email.as_str(), name), ("", sealed('n')));
    for text in ["", "s1.", "s1.short", "John Doe", &format!("s1.{}", "ä".repeat(60)), &"x".repeat(80)] {
        assert!(!Sealed::is_ciphertext(text), "{text}");
    }
    assert!(Sealed::is_ciphertext(sealed('x').as_str()));
}

#[test]
fn debug_shows_nothing_personal() {
    let shown = format!("{:?} {:?}", account([register()]), "john@example.com".parse::<EmailAddress>());
    for secret in ["argon2id", "nnnn", "eeee", "john"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn values_are_parsed() {
    for good in ["a@b.co", "john.doe+tag@mail.example.com", "o'neil@example.com", &format!("{}@b.co", "a".repeat(64))] {
        assert!(good.parse::<EmailAddress>().is_ok(), "{good}");
    }
    let long_host = format!("a@{}.com", "abcdefgh.".repeat(28));
    for bad in [
        "",
        "@",
        "a@",
        "@b.co",
        "a@b",
        "a b@c.de",
        "a@b..co",
        ".a@b.co",
        "a.@b.co",
        "a@-b.co",
        "a@b.co\0x",
        "a\n@b.co",
        "ä@b.co",
        "a@b@c.de",
        "<a@b.co>",
        &format!("{}@b.co", "a".repeat(65)),
        &long_host,
    ] {
        assert_eq!(bad.parse::<EmailAddress>(), Err(EmailError), "{bad}");
    }
    assert_eq!("admin".parse(), Ok(Role::Admin));
    assert_eq!("root".parse::<Role>(), Err(Error::UnknownRole));
    for good in ["en", "de-AT", "yue"] {
        assert_eq!(good.parse::<Locale>().unwrap().as_str(), good);
    }
    for bad in ["", "e", "EN", "de-at", "de-", "de_AT", "english", "de-AT-x"] {
        assert_eq!(bad.parse::<Locale>(), Err(LocaleError), "{bad}");
    }
}
