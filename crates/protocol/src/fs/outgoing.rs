//! Requests as a client writes them, straight into the frame.

use super::request::Request;
use super::write::JsonWriter;
use crate::ids::{HandleId, InodeId, Tag};

impl Request {
    /// Appends the frame's text, as a client sends it. Requests always carry a payload (section 14.1).
    pub fn encode(&self, tag: Tag, out: &mut Vec<u8>) {
        let mut w = JsonWriter(out);
        w.raw(r#"{"channel":"acheron","type":"acheron.t_fs_"#)
            .raw(self.op().wire())
            .raw(r#"","tag":"#)
            .int(tag.0);
        if let Some(id) = self.target() {
            w.raw(r#","node":"#).int(id.get());
        }
        if let Some(handle) = self.handle() {
            w.raw(r#","h":"#).int(handle.get());
        }
        w.raw(r#","payload":{"#);
        match self {
            Self::Exports
            | Self::Statfs { .. }
            | Self::Getattr { .. }
            | Self::Listxattr { .. }
            | Self::Close { .. } => {}
            Self::Lookup { name, .. }
            | Self::Unlink { name, .. }
            | Self::Mkdir { name, .. }
            | Self::Rmdir { name, .. } => {
                w.raw(r#""name":"#).text(name.as_str());
            }
            Self::Readdirp { cookie, max, .. } => {
                w.raw(r#""cookie":"#).int(*cookie).raw(r#","max":"#).int(*max);
            }
            Self::Symlink { name, target, .. } => {
                w.raw(r#""name":"#)
                    .text(name.as_str())
                    .raw(r#","target":"#)
                    .text(target);
            }
            Self::Setxattr {
                name, value, flags, ..
            } => {
                w.raw(r#""name":"#).text(name).raw(r#","value_b64":""#);
                w.0.extend_from_slice(value.as_bytes());
                w.raw(r#"","flags":"#).int(flags.0);
            }
            Self::Getxattr { name, .. } | Self::Removexattr { name, .. } => {
                w.raw(r#""name":"#).text(name);
            }
            Self::Open { flags, .. } => {
                w.raw(r#""flags":"#).int(flags.0);
            }
            Self::Read { offset, len, .. } => {
                w.raw(r#""off":"#).int(*offset).raw(r#","len":"#).int(*len);
            }
            Self::Write { offset, data, .. } => {
                w.raw(r#""off":"#).int(*offset).raw(r#","data_b64":""#);
                w.0.extend_from_slice(data.as_bytes());
                w.raw("\"");
            }
            Self::Lock { kind, wait, .. } => {
                w.raw(r#""kind":"#)
                    .text(kind.wire())
                    .raw(r#","wait":"#)
                    .bool(*wait);
            }
            Self::Create {
                name, mode, flags, ..
            } => {
                w.raw(r#""name":"#)
                    .text(name.as_str())
                    .raw(r#","mode":"#)
                    .int(*mode);
                w.raw(r#","flags":"#).int(flags.0);
            }
            Self::Truncate { size, .. } => {
                w.raw(r#""sz":"#).int(*size);
            }
            Self::Rename {
                old_parent,
                old_name,
                new_parent,
                new_name,
            } => {
                w.raw(r#""old_parent":"#)
                    .int(old_parent.get())
                    .raw(r#","old_name":"#)
                    .text(old_name.as_str());
                w.raw(r#","new_parent":"#)
                    .int(new_parent.get())
                    .raw(r#","new_name":"#)
                    .text(new_name.as_str());
            }
        }
        w.raw("}}");
    }

    /// The member `node`.
    fn target(&self) -> Option<InodeId> {
        match self {
            Self::Statfs { id }
            | Self::Getattr { id }
            | Self::Setxattr { id, .. }
            | Self::Getxattr { id, .. }
            | Self::Listxattr { id }
            | Self::Removexattr { id, .. }
            | Self::Open { id, .. }
            | Self::Truncate { id, .. } => Some(*id),
            Self::Lookup { parent, .. }
            | Self::Symlink { parent, .. }
            | Self::Create { parent, .. }
            | Self::Unlink { parent, .. }
            | Self::Mkdir { parent, .. }
            | Self::Rmdir { parent, .. } => Some(*parent),
            Self::Readdirp { dir, .. } => Some(*dir),
            _ => None,
        }
    }

    /// The member `h`.
    fn handle(&self) -> Option<HandleId> {
        match self {
            Self::Read { handle, .. }
            | Self::Write { handle, .. }
            | Self::Close { handle }
            | Self::Lock { handle, .. } => Some(*handle),
            _ => None,
        }
    }
}
