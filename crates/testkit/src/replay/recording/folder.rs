//! What a recording says about the folder behind the node: its tree, changes made to it, looks at it.

use anyhow::{Context as _, Result, bail, ensure};

use super::{base64, mode, string};
use crate::replay::script::{DiskChange, DiskObject, DiskState, Setup, TreeEntry, TreeKind};
use crate::replay::term::Term;

/// The node and its folder, from the first line.
pub(super) fn setup(setup: &Term) -> Result<Setup> {
    let flags = setup
        .get("flags")
        .and_then(Term::as_list)
        .context("no flags: not recorded from a command line")?;
    let flags: Option<Vec<&str>> = flags.iter().map(Term::as_str).collect();
    let flags = flags.context("flags are strings")?;
    let ["--port", "$PORT", arguments @ ..] = &*flags else {
        bail!("flags start with the port")
    };
    ensure!(
        setup.get("umask").and_then(Term::as_str) == Some("0022"),
        "another umask than 0022"
    );
    let Some(Term::Object(env)) = setup.get("env") else {
        bail!("env is an object")
    };
    let variables: Option<Vec<_>> = env
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let tree = setup.get("tree").and_then(Term::as_list).context("no tree")?;
    Ok(Setup {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        variables: variables.context("variables are strings")?,
        tree: tree.iter().map(tree_entry).collect::<Result<_>>()?,
    })
}

fn tree_entry(entry: &Term) -> Result<TreeEntry> {
    let kind = match &*string(entry, "type")? {
        "dir" => TreeKind::Directory,
        "symlink" => TreeKind::Symlink(string(entry, "target")?),
        "hardlink" => TreeKind::Hardlink(string(entry, "of")?),
        "file" => match entry.get("fill").map(Term::as_list) {
            Some(Some([byte, count])) => {
                let byte = byte
                    .as_u64()
                    .and_then(|byte| u8::try_from(byte).ok())
                    .context("a byte")?;
                TreeKind::File(vec![byte; count.as_u64().context("a count")? as usize])
            }
            Some(_) => bail!("fill is a byte and a count"),
            None => TreeKind::File(string(entry, "content")?.into_bytes()),
        },
        other => bail!("a tree has no {other:?}"),
    };
    let mut xattrs = Vec::new();
    if let Some(Term::Object(members)) = entry.get("xattr") {
        for (name, value) in members {
            xattrs.push((
                name.clone(),
                value.as_str().context("xattr values are strings")?.to_owned(),
            ));
        }
    }
    let mode = entry.get("mode").map(|_| mode(entry)).transpose()?;
    Ok(TreeEntry {
        path: string(entry, "path")?,
        kind,
        mode,
        xattrs,
    })
}

/// A `local` line.
pub(super) fn disk_change(line: &Term) -> Result<DiskChange> {
    let path = string(line, "path")?;
    Ok(match &*string(line, "do")? {
        "write" => DiskChange::Write(path, string(line, "content")?),
        "append" => DiskChange::Append(path, string(line, "content")?),
        "unlink" => DiskChange::Unlink(path),
        "mkdir" => DiskChange::Mkdir(path),
        "rename" => DiskChange::Rename(path, string(line, "to")?),
        "chmod" => DiskChange::Chmod(path, mode(line)?),
        "rmtree" => DiskChange::Rmtree(path),
        "symlink" => DiskChange::Symlink(path, string(line, "target")?),
        other => bail!("the disk knows no {other:?}"),
    })
}

/// A `check` line.
pub(super) fn disk_state(line: &Term) -> Result<DiskState> {
    let path = string(line, "path")?;
    if line.get("exists") == Some(&Term::Bool(false)) {
        return Ok(DiskState {
            path,
            object: DiskObject::Missing,
        });
    }
    let object = match &*string(line, "kind")? {
        "file" => DiskObject::File(mode(line)?, base64(line, "content_b64")?),
        "dir" => DiskObject::Directory(mode(line)?),
        "symlink" => DiskObject::Symlink(string(line, "target")?),
        other => bail!("the disk holds no {other:?}"),
    };
    Ok(DiskState { path, object })
}
