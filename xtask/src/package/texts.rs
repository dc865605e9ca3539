//! Texts for package managers that fetch archives: they name version, address and checksum of each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{VERSION, archive, tell};
use crate::build::project_root;
use crate::dist::sha256;

/// Templates below `packaging/`.
const TEMPLATES: [&str; 4] = [
    "homebrew/spiderweb-fs-node.rb.in",
    "winget/spiderweb-fs-node.yaml.in",
    "winget/spiderweb-fs-node.locale.en-US.yaml.in",
    "winget/spiderweb-fs-node.installer.yaml.in",
];

/// Arguments of `cargo xtask package texts`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the archives of all targets are
    #[arg(long, value_name = "DIR", default_value = "packages")]
    archives: PathBuf,
    /// Address below which they are published
    #[arg(long)]
    url: String,
    /// The project's address
    #[arg(long, value_name = "URL")]
    homepage: String,
    /// Where the texts go
    #[arg(long, default_value = "packages")]
    out: PathBuf,
}

pub(super) fn make(arguments: &Arguments) -> Result<()> {
    for template in TEMPLATES {
        let text = fs::read_to_string(project_root().join("packaging").join(template))?;
        let text =
            filled(&text, |name| value(name, arguments)).with_context(|| format!("filling {template}"))?;
        let path = arguments.out.join(template.trim_end_matches(".in"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        tell(&path)?;
    }
    Ok(())
}

fn value(name: &str, arguments: &Arguments) -> Result<String> {
    let of_target = |target: &str| arguments.archives.join(archive::file_name(target));
    Ok(match name.split_once(':') {
        None if name == "VERSION" => VERSION.to_owned(),
        None if name == "URL" => arguments.url.trim_end_matches('/').to_owned(),
        None if name == "HOMEPAGE" => arguments.homepage.clone(),
        Some(("ARCHIVE", target)) => archive::file_name(target),
        Some(("FOLDER", target)) => archive::folder(target, false),
        Some(("SHA256", target)) => checksum(&of_target(target))?,
        _ => bail!("nothing is called {name}"),
    })
}

fn checksum(archive: &Path) -> Result<String> {
    sha256(archive).context("every archive that is named must be there")
}

/// Replaces every `@NAME@`, where a name has capitals, or capitals, a colon and a target.
pub(super) fn filled(template: &str, value: impl Fn(&str) -> Result<String>) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        match after.split_once('@') {
            Some((name, behind)) if is_name(name) => {
                text.push_str(&value(name)?);
                rest = behind;
            }
            _ => {
                text.push('@');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    Ok(text)
}

fn is_name(text: &str) -> bool {
    let capitals = text.split(':').next().unwrap_or_default();
    let is_capital = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !capitals.is_empty() && capitals.bytes().all(is_capital) && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_other_signs_stay() {
        let value = |name: &str| Ok(format!("<{name}>"));
        for (template, expected) in [
            ("a @URL@/@ARCHIVE:x86_64-a@ b", "a <URL>/<ARCHIVE:x86_64-a> b"),
            ("a@b.c and d@e.f", "a@b.c and d@e.f"),
            ("x@ @VERSION@", "x@ <VERSION>"),
        ] {
            assert_eq!(filled(template, value).unwrap(), expected);
        }
    }

    #[test]
    fn texts_have_the_checksums_of_all_archives() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            archives: dir.path().to_owned(),
            url: "https://example.org/v1/".to_owned(),
            homepage: "https://example.org".to_owned(),
            out: dir.path().to_owned(),
        };
        let mut error = make(&arguments).unwrap_err();
        for target in [
            "aarch64-apple-darwin",
            "x86_64-unknown-linux-musl",
            "x86_64-pc-windows-msvc",
        ] {
            assert!(format!("{error:#}").contains(target), "{error:#}");
            fs::write(dir.path().join(archive::file_name(target)), "abc").unwrap();
            match make(&arguments) {
                Ok(()) => break,
                Err(next) => error = next,
            }
        }
        for (file, words) in [
            (
                "homebrew/spiderweb-fs-node.rb",
                "https://example.org/v1/spiderweb-fs-node-",
            ),
            ("winget/spiderweb-fs-node.installer.yaml", "ba7816bf"),
        ] {
            let text = fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains(words) && !text.contains('@'), "{text}");
        }
    }
}
