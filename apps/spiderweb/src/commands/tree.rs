//! `spiderweb tree`

use clap::Args;
use spiderweb_client::{Place, RemotePath, Walk};
use spiderweb_protocol::EntryName;
use spiderweb_protocol::fs::{Attr, FileKind};

use crate::context::Context;
use crate::failure::{Doing as _, Failure};
use crate::global::remote_path;
use crate::output::{FileJson, style};
use crate::remote::{Reach, Remote};

/// Show a directory and everything below it.
///
/// JSON: an array of {path, name, kind, size, mode, modified, id}, sorted by path.
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// Where to begin; `/` shows every export, and every node behind a hub.
    #[arg(value_name = "PATH", value_parser = remote_path, default_value = "/")]
    path: RemotePath,

    /// Go at most this many levels down.
    #[arg(short = 'L', long = "depth", value_name = "DEPTH", value_parser = clap::value_parser!(u16).range(1..))]
    depth: Option<u16>,

    /// Show names that begin with a dot.
    #[arg(short, long)]
    all: bool,
}

/// One line of the picture.
struct Line {
    path: RemotePath,
    attr: Attr,
}

impl Tree {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), Failure> {
        let mut reach = Reach::open(&context.global).await?;
        let mut lines = Vec::new();
        let levels = self.depth.map_or(usize::MAX, usize::from);
        let failures = self.gather(&mut reach, &self.path, levels, &mut lines).await?;
        lines.sort_by(|a, b| a.path.cmp(&b.path));
        self.print(context, &lines)?;
        if failures > 0 {
            Err(Failure::Reported)
        } else {
            Ok(())
        }
    }

    /// Adds what is below `path`, on however many nodes that is, and returns how much could not be read.
    async fn gather(
        &self,
        reach: &mut Reach,
        path: &RemotePath,
        levels: usize,
        lines: &mut Vec<Line>,
    ) -> Result<usize, Failure> {
        let mut failures = 0;
        let Some(entries) = reach.above(path)? else {
            let remote = reach.to(path).await?;
            for (root, levels) in self.roots(&remote, path, levels, lines).await? {
                failures += self.walk(&remote, &root, levels, lines).await?;
            }
            return Ok(failures);
        };
        let mut below = Vec::new();
        for entry in entries {
            // What cannot stand in a path, no path leads to.
            let Ok(name) = EntryName::new(entry.name) else {
                continue;
            };
            let line = Line {
                path: path.join(name),
                attr: entry.attr(),
            };
            below.push(line.path.clone());
            lines.push(line);
        }
        if levels > 1 {
            for path in below {
                // One node that is away hides no other.
                let gathered = Box::pin(self.gather(reach, &path, levels - 1, lines)).await;
                failures += gathered.unwrap_or_else(|failure| {
                    failure.report();
                    1
                });
            }
        }
        Ok(failures)
    }

    /// The directories to walk and how many levels of each; exports shown at the top are lines themselves.
    async fn roots(
        &self,
        remote: &Remote,
        path: &RemotePath,
        levels: usize,
        lines: &mut Vec<Line>,
    ) -> Result<Vec<(RemotePath, usize)>, Failure> {
        if !matches!(remote.view.place(path)?, Place::Top) {
            return Ok(vec![(path.clone(), levels)]);
        }
        let mut roots = Vec::new();
        for path in remote
            .view
            .exports()
            .iter()
            .filter_map(|e| remote.view.root_path(e))
        {
            let found = remote
                .view
                .resolve(&remote.client, &path)
                .await
                .doing("show", &path)?;
            lines.push(Line {
                path: path.clone(),
                attr: found.attr,
            });
            if levels > 1 {
                roots.push((path, levels - 1));
            }
        }
        Ok(roots)
    }

    /// Adds what is below `root` and returns how many directories could not be read.
    async fn walk(
        &self,
        remote: &Remote,
        root: &RemotePath,
        levels: usize,
        lines: &mut Vec<Line>,
    ) -> Result<usize, Failure> {
        let found = remote
            .view
            .directory(&remote.client, root)
            .await
            .doing("show", root)?;
        let mut walk = Walk::of(&remote.client, root.clone(), found.id).levels(levels);
        let mut failures = 0;
        while let Some(step) = walk.next().await {
            match step {
                Ok(step) => {
                    let below = step.path.names().get(root.names().len()..).unwrap_or_default();
                    if self.all || !below.iter().any(|name| name.as_str().starts_with('.')) {
                        lines.push(Line {
                            path: step.path,
                            attr: step.attr,
                        });
                    }
                }
                Err(error) => {
                    failures += 1;
                    Err::<(), _>(error).doing("show", root).unwrap_or_else(|failure| {
                        failure.report();
                    });
                }
            }
        }
        Ok(failures)
    }

    fn print(&self, context: &mut Context, lines: &[Line]) -> Result<(), Failure> {
        let out = &mut context.out;
        if out.is_json() {
            let paths: Vec<_> = lines.iter().map(|line| line.path.to_string()).collect();
            let list: Vec<_> = lines
                .iter()
                .zip(&paths)
                .map(|(line, path)| {
                    FileJson::new(path, line.path.name().map_or("", |n| n.as_str()), &line.attr)
                })
                .collect();
            return out.json(&list);
        }
        let root = out.name(&self.path.to_string());
        out.line(root)?;
        let mut files = 0;
        let depth = self.path.names().len();
        for (line, drawing) in lines.iter().zip(drawings(lines, depth)) {
            let (style, name) = (
                style(&line.attr),
                line.path.name().map_or("", |name| name.as_str()),
            );
            let name = out.name(name);
            out.line(format_args!("{drawing}{style}{name}{style:#}"))?;
            files += usize::from(line.attr.kind() != FileKind::Directory);
        }
        let directories = lines.len() - files;
        let s = |n| if n == 1 { "y" } else { "ies" };
        let f = if files == 1 { "" } else { "s" };
        out.line(format_args!(
            "\n{directories} director{}, {files} file{f}",
            s(directories)
        ))
    }
}

/// The branches in front of each line. `lines` are sorted, every directory before what is in it; `depth` is the
/// number of names of the root.
fn drawings(lines: &[Line], depth: usize) -> Vec<String> {
    // From the last line up: a name is the last of its directory unless one of the same level was seen below it.
    let mut open: Vec<bool> = Vec::new();
    let mut drawings: Vec<String> = lines
        .iter()
        .rev()
        .map(|line| {
            let level = line.path.names().len().saturating_sub(depth + 1);
            open.resize(level + 1, false);
            let mut drawing = String::new();
            for &above in open.iter().take(level) {
                drawing.push_str(if above { "│   " } else { "    " });
            }
            let more = open.last_mut().is_some_and(|last| std::mem::replace(last, true));
            drawing.push_str(if more { "├── " } else { "└── " });
            drawing
        })
        .collect();
    drawings.reverse();
    drawings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_end_where_directories_do() {
        let attr = Attr {
            id: 1,
            k: 1,
            m: 0,
            n: 1,
            u: 0,
            g: 0,
            sz: 0,
            at: 0,
            mt: 0,
            ct: 0,
            generation: 0,
        };
        let lines: Vec<Line> = ["/w/a", "/w/a/b", "/w/a/b/c", "/w/a/d", "/w/e", "/w/e/f"]
            .iter()
            .map(|path| Line {
                path: path.parse().unwrap(),
                attr,
            })
            .collect();
        assert_eq!(
            drawings(&lines, 1),
            ["├── ", "│   ├── ", "│   │   └── ", "│   └── ", "└── ", "    └── "]
        );
    }
}
