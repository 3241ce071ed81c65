//! Names as a search compares them: words without case and accents.
//!
//! Done here and not in the database: what PostgreSQL takes for a letter depends on how a cluster was made, and folding
//! accents needs an extension there.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A search has at most so many words; more are left out.
const WORDS_MAX: usize = 16;

/// The words of a text with one space between them: compatibility decomposed (NFKD), without marks, in one case, and
/// split at whatever is neither letter nor digit. `Crème-Brûlée №5` is `creme brulee no5`.
pub fn folded(text: &str) -> String {
    let bare = text.nfkd().filter(|c| !is_combining_mark(*c));
    // Up and down again folds what has no lower case of its own: ß is ss, both sigmas are one.
    let lower = bare.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let folded: String = lower.nfkd().filter(|c| !is_combining_mark(*c)).collect();
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The `tsquery` for names in which each word of the search begins a word; none for a search without words.
pub(crate) fn query(search: &str) -> Option<String> {
    let folded = folded(search);
    // Letters and digits alone: nothing that would have to be escaped.
    let words = folded.split(' ').filter(|word| !word.is_empty()).take(WORDS_MAX);
    let terms: Vec<String> = words.map(|word| format!("'{word}':*")).collect();
    (!terms.is_empty()).then(|| terms.join(" & "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_accents_do_not_count() {
        for (text, expected) in [
            ("Crème-Brûlée №5", "creme brulee no5"),
            ("  USB-C   cable (2 m) ", "usb c cable 2 m"),
            ("STRASSE", "strasse"),
            ("Straße", "strasse"),
            ("ΟΔΟΣ", "οδοσ"),
            ("οδός", "οδοσ"),
            ("İstanbul", "istanbul"),
            ("ﬁlter", "filter"),
            ("Ünïcode", "unicode"),
            ("U\u{308}ni\u{308}code", "unicode"),
            ("日本", "日本"),
            ("100% wool", "100 wool"),
            ("%_'\\", ""),
        ] {
            assert_eq!(folded(text), expected, "{text}");
        }
    }

    #[test]
    fn a_search_is_the_beginnings_of_words() {
        assert_eq!(query("Gam LÄP").as_deref(), Some("'gam':* & 'lap':*"));
        assert_eq!(query("it's | !"), Some("'it':* & 's':*".to_owned()));
        assert_eq!(query(" %_ "), None);
        assert_eq!(query(&"a ".repeat(500)).unwrap().matches('&').count(), WORDS_MAX - 1);
    }
}
