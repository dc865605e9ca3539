//! The JSON Schema of manifests, for editors. A test of `spiderweb-node` fails when the file is not current.

use std::fs;

use anyhow::{Context as _, Result};

use crate::build::project_root;

pub(crate) fn run() -> Result<()> {
    let path = project_root().join("docs/schema/manifest.schema.json");
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    let text = format!("{:#}\n", spiderweb_node::manifest::schema());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote docs/schema/manifest.schema.json");
    Ok(())
}
