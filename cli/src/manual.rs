//! `sagashop man`: manual pages, made of what `--help` says.

use crate::args::{Args, ManArgs};
use crate::exit::Code;
use crate::output::{self, Format};
use anyhow::Context;
use clap::CommandFactory;

/// Prints the first page, or writes all of them.
///
/// # Errors
/// The folder or a page cannot be written.
pub fn man(format: Format, args: &ManArgs) -> anyhow::Result<Code> {
    let command = Args::command();
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        output::page(format, "page", &String::from_utf8_lossy(&page))?;
        return Ok(Code::Done);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.with_context(|| format!("manual pages cannot be written into {}", folder.display()))?;
    let pages = std::fs::read_dir(folder)?.filter_map(Result::ok);
    let ours = pages.filter(|page| page.file_name().to_string_lossy().starts_with("sagashop")).count();
    eprintln!("Wrote {ours} pages into {}.", folder.display());
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let folder = tempfile::tempdir().expect("a folder");
        man(Format::Table, &ManArgs { dir: Some(folder.path().to_owned()) }).expect("written");
        for (page, text) in [
            ("sagashop.1", "Exit codes"),
            ("sagashop-audit.1", "sagashop audit"),
            ("sagashop-saga-retry.1", "saga retry"),
            ("sagashop-events-list.1", "events list"),
        ] {
            let page =
                std::fs::read_to_string(folder.path().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            // Hyphens are escaped there.
            assert!(page.replace("\\-", "-").contains(text), "{text}");
        }
    }
}
