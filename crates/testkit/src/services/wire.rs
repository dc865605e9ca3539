//! Frames of one invoke, as a conversation of the [file protocol](crate::replay).
//!
//! The vector begins after the hello; what a client says before it is added. The result tells the time, so its bytes
//! are not compared.

use anyhow::{Context as _, Result};

use super::vector;
use crate::replay::script::{Action, Incoming, Script};
use crate::replay::term::{Term, Wildcard};
use crate::replay::{golden, recording};

/// Where the manifest is.
const MANIFEST: &str = "service.json";

/// Makes the golden text of a vector.
pub(super) fn from_vector(topic: &str, vector: &Term) -> Result<String> {
    let manifest = vector::member(vector, "manifest")?;
    let name = format!("svc-{}", vector::text(manifest, "service_id")?);
    let string = |text: &str| serde_json::Value::from(text).to_string();
    let root = vector::member(vector, "root")?;
    let mut lines = vec![
        format!(
            r#"{{"setup":{{"topic":{},"flags":["--port","$PORT","--service-manifest","{MANIFEST}"],"env":{{}},"umask":"0022","tree":[{{"path":"{MANIFEST}","type":"file","content":{}}}],"note":{}}}}}"#,
            string(topic),
            string(&vector::json(manifest)),
            string(&vector::text(vector, "about")?),
        ),
        r#"{"dir":"open","conn":0,"path":"/v2/fs"}"#.to_owned(),
    ];
    let frames = [
        r#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":1,"payload":{"protocol":"unified-v2-fs","proto":2}}"#,
        r#"{"channel":"acheron","type":"acheron.r_fs_hello","tag":1,"ok":true,"payload":{}}"#,
        r#"{"channel":"acheron","type":"acheron.t_fs_exports","tag":2,"payload":{}}"#,
        &format!(
            r#"{{"channel":"acheron","type":"acheron.r_fs_exports","tag":2,"ok":true,"payload":{{"exports":[{{"name":{},"root":{root}}}]}}}}"#,
            string(&name)
        ),
    ];
    for (index, frame) in frames.into_iter().enumerate() {
        let way = if index % 2 == 0 { "c2s" } else { "s2c" };
        lines.push(format!(r#"{{"dir":"{way}","frame":{frame}}}"#));
    }
    for frame in vector::member(vector, "frames")?.as_list().context("frames")? {
        let way = if vector::text(frame, "dir")? == "client" {
            "c2s"
        } else {
            "s2c"
        };
        let frame = vector::json(vector::member(frame, "frame")?);
        lines.push(format!(r#"{{"dir":"{way}","frame":{frame}}}"#));
    }
    let mut script = recording::parse(&lines.join("\n"))?;
    forget_results(&mut script);
    Ok(golden::print(&script))
}

fn forget_results(script: &mut Script) {
    for step in &mut script.steps {
        if let Action::Expect {
            what: Incoming::Message(message),
            ..
        } = &mut step.action
            && let Some(data) = message
                .get_mut("payload")
                .and_then(|payload| payload.get_mut("data_b64"))
        {
            *data = Term::Any(Wildcard::Text);
        }
    }
}
