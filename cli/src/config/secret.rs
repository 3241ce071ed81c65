//! Secrets that stand in files of their own, as Kubernetes and Docker hand them over.

use std::ffi::OsString;
use std::path::PathBuf;

/// A secret has at most so many bytes; a larger file is another one.
const BYTES_MAX: u64 = 64 * 1024;

/// The variable that names the file of a variable's value.
pub(super) fn file_variable(variable: &str) -> String {
    format!("{variable}_FILE")
}

/// The content of the file that `<variable>_FILE` names, without the line end; nothing where it names none.
///
/// # Errors
/// The file cannot be read, or the variable itself is set as well.
pub(super) fn from_file(variable: &str) -> Result<Option<(PathBuf, String)>, String> {
    let given = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let named = file_variable(variable);
    let Some(path) = given(&named).map(PathBuf::from) else { return Ok(None) };
    if given(variable).is_some() {
        return Err(format!("{variable} and {named} are both set: one of them is enough"));
    }
    let told = |reason: String| format!("{named}: {}: {reason}", path.display());
    let size = std::fs::metadata(&path).map_err(|error| told(error.to_string()))?.len();
    if size > BYTES_MAX {
        return Err(told("this is no secret: it is too large".to_owned()));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| told(error.to_string()))?;
    Ok(Some((path, text.trim_end_matches(['\n', '\r']).to_owned())))
}

/// A secret that is no flag, because everybody on the machine can see a process's flags: its variable, else its file.
///
/// # Errors
/// As for the file.
pub fn from_environment(variable: &str) -> anyhow::Result<Option<String>> {
    let from_file = from_file(variable).map_err(anyhow::Error::msg)?;
    let value = from_file.map(|(_, text)| text).or_else(|| std::env::var(variable).ok());
    Ok(value.filter(|text| !text.is_empty()))
}
