//! Which path belongs to whom: read from the services' OpenAPI documents.

use crate::ports::Role;
use serde_json::Value;
use std::collections::BTreeMap;

/// What every service has for whoever looks after its process: asked there, and not at the shop's front door.
pub(super) const OF_THE_PROCESS: &str = "/admin/";

/// The paths of all services, as a tree of their segments.
pub struct Table {
    root: Node,
}

/// Two services, and a path that may be either's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} and the {} both answer {path}: nobody can tell whose a request is", .first.title(), .second.title())]
pub struct Conflict {
    /// One of them.
    pub first: Role,
    /// The other.
    pub second: Role,
    /// The path, as a document has it.
    pub path: String,
}

#[derive(Default)]
struct Node {
    literals: BTreeMap<String, Node>,
    parameter: Option<Box<Node>>,
    /// Whose the path that ends here is, and how its document writes it.
    end: Option<(Role, String)>,
    /// Whose everything from here on is; nobody's, where several have a part.
    owner: Owner,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Owner {
    #[default]
    Nobody,
    One(Role),
    Several,
}

impl Table {
    /// The table of these documents.
    ///
    /// # Errors
    /// Two of them have a path in common.
    pub fn of(documents: &[(Role, Value)]) -> Result<Self, Conflict> {
        let mut root = Node::default();
        for (role, document) in documents {
            let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.keys());
            for path in paths.filter(|path| !path.starts_with(OF_THE_PROCESS)) {
                root.insert(*role, path)?;
            }
        }
        // Alone or not, the root is nobody's: what no document names is no service's.
        root.owner = Owner::Several;
        root.check("")?;
        Ok(Self { root })
    }

    /// Whose a path is, and its pattern where the document has one for it. Below a segment that is one service's alone,
    /// that service says what there is.
    pub fn find(&self, path: &str) -> Option<(Role, Option<&str>)> {
        let mut node = &self.root;
        for segment in path.strip_prefix('/')?.split('/') {
            let next = node.literals.get(segment);
            let next = next.or_else(|| node.parameter.as_deref().filter(|_| !segment.is_empty()));
            match next {
                Some(next) => node = next,
                None => return node.owned().map(|role| (role, None)),
            }
        }
        match &node.end {
            Some((role, pattern)) => Some((*role, Some(pattern))),
            None => node.owned().map(|role| (role, None)),
        }
    }
}

impl Node {
    fn insert(&mut self, role: Role, path: &str) -> Result<(), Conflict> {
        let mut node = self;
        for segment in path.trim_start_matches('/').split('/') {
            let is_parameter = segment.starts_with('{');
            node = match is_parameter {
                true => node.parameter.get_or_insert_default(),
                false => node.literals.entry(segment.to_owned()).or_default(),
            };
            node.owner = match node.owner {
                Owner::Nobody => Owner::One(role),
                Owner::One(owner) if owner == role => Owner::One(role),
                Owner::One(_) | Owner::Several => Owner::Several,
            };
        }
        match &node.end {
            Some((first, _)) if *first != role => Err(Conflict { first: *first, second: role, path: path.to_owned() }),
            _ => {
                node.end = Some((role, path.to_owned()));
                Ok(())
            }
        }
    }

    /// A literal of one service beside a parameter of another: a value of the parameter may be the literal.
    fn check(&self, path: &str) -> Result<(), Conflict> {
        for (literal, node) in &self.literals {
            let path = format!("{path}/{literal}");
            if let Some(parameter) = &self.parameter {
                for (first, second) in [(node.owned(), parameter.owned())].into_iter().filter_map(|(a, b)| a.zip(b)) {
                    if first != second {
                        return Err(Conflict { first, second, path });
                    }
                }
            }
            node.check(&path)?;
        }
        self.parameter.as_ref().map_or(Ok(()), |node| node.check(&format!("{path}/{{}}")))
    }

    fn owned(&self) -> Option<Role> {
        match self.owner {
            Owner::One(role) => Some(role),
            Owner::Nobody | Owner::Several => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(paths: &[&str]) -> Value {
        json!({ "paths": paths.iter().map(|path| ((*path).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>() })
    }

    fn table(of: &[(Role, &[&str])]) -> Result<Table, Conflict> {
        Table::of(&of.iter().map(|(role, paths)| (*role, document(paths))).collect::<Vec<_>>())
    }

    #[test]
    fn paths_go_to_the_service_whose_document_has_them() {
        let table = table(&[
            (Role::User, &["/users/{id}", "/login", "/users/{id}/lock"]),
            (Role::Order, &["/orders", "/orders/{id}", "/users/{id}/orders"]),
        ])
        .expect("no conflict");
        for (path, role, pattern) in [
            ("/orders", Role::Order, Some("/orders")),
            ("/orders/7", Role::Order, Some("/orders/{id}")),
            ("/users/7", Role::User, Some("/users/{id}")),
            ("/users/7/lock", Role::User, Some("/users/{id}/lock")),
            ("/users/7/orders", Role::Order, Some("/users/{id}/orders")),
            // What they do not have, they say themselves.
            ("/orders/", Role::Order, None),
            ("/orders/7/unknown", Role::Order, None),
            ("/login/x", Role::User, None),
        ] {
            assert_eq!(table.find(path), Some((role, pattern)), "{path}");
        }
        for path in ["", "/", "//orders", "orders", "/order", "/metrics", "/users", "/users/7/unknown"] {
            assert_eq!(table.find(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_of_two_services_is_an_error() {
        let conflict = table(&[(Role::User, &["/me"]), (Role::Order, &["/me"])]).err().expect("a conflict");
        assert_eq!((conflict.first, conflict.second, conflict.path.as_str()), (Role::User, Role::Order, "/me"));
        assert_eq!(
            conflict.to_string(),
            "the user service and the order service both answer /me: nobody can tell whose a request is"
        );
        // An order named export, or the export of orders?
        let hidden = table(&[(Role::Order, &["/orders/{id}"]), (Role::Payment, &["/orders/export"])]);
        assert_eq!(hidden.err().expect("a conflict").path, "/orders/export");
    }

    #[test]
    fn the_services_as_they_are_have_no_conflict() {
        let documents: Vec<_> =
            Role::ALL.iter().map(|role| (*role, serde_json::from_str(&role.openapi()).expect("JSON"))).collect();
        let table = Table::of(&documents).unwrap_or_else(|conflict| panic!("{conflict}"));
        for (role, document) in &documents {
            for path in document["paths"].as_object().expect("paths").keys() {
                let found = Some((*role, Some(path.as_str())));
                assert_eq!(table.find(path), found.filter(|_| !path.starts_with(OF_THE_PROCESS)), "{path}");
            }
        }
    }
}
