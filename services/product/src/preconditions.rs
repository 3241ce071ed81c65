//! `If-Match` and `If-None-Match` (RFC 9110, 13.1).

use crate::entry::Version;

/// The entity tags that a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// These, each with whether it is weak.
    These(Vec<(String, bool)>),
}

impl Tags {
    /// The tags of a header's value; what is no tag is left out, and fits nothing.
    pub fn parse(header: &str) -> Self {
        if header.trim() == "*" {
            return Self::Any;
        }
        // Our own tags hold no comma.
        let tags = header.split(',').filter_map(|tag| {
            let tag = tag.trim();
            let (tag, weak) = tag.strip_prefix("W/").map_or((tag, false), |tag| (tag, true));
            let opaque = tag.strip_prefix('"')?.strip_suffix('"')?;
            Some((opaque.to_owned(), weak))
        });
        Self::These(tags.collect())
    }

    /// Whether a change may go on: strong comparison.
    pub fn allow(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => {
                let version = version.to_string();
                tags.iter().any(|(tag, weak)| !weak && *tag == version)
            }
        }
    }

    /// Whether the caller has it already: weak comparison.
    pub fn know(&self, version: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|(tag, _)| tag == version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_the_standard_says() {
        let version = Version { product: 3, stock: 17 };
        for (header, strong, weak) in [
            ("\"3.17\"", true, true),
            ("W/\"3.17\"", false, true),
            ("\"3.16\", \"3.17\"", true, true),
            ("*", true, true),
            ("\"3.16\"", false, false),
            ("3.17", false, false),
            ("", false, false),
            ("\"", false, false),
        ] {
            let tags = Tags::parse(header);
            assert_eq!((tags.allow(version), tags.know("3.17")), (strong, weak), "{header}");
        }
    }
}
