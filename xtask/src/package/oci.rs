//! The container image, where there is a program that builds one.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Distribution, VERSION};
use crate::build::project_root;
use crate::dist::System;

const BUILDERS: [&str; 3] = ["podman", "docker", "buildah"];

pub(super) fn make(distribution: &Distribution) -> Result<()> {
    ensure!(
        distribution.system == System::StaticLinux,
        "an image from scratch needs a static distribution, and {} is none; try --target x86_64-unknown-linux-musl",
        distribution.target
    );
    let file = project_root().join("packaging/oci/Containerfile");
    let tag = format!("spiderweb-fs-node:{VERSION}");
    let Some(builder) = BUILDERS.iter().find(|builder| is_ready(builder)) else {
        println!(
            "skipped: none of {} is ready here; elsewhere, `podman build --file {} --tag {tag} {}` builds the image",
            BUILDERS.join(", "),
            file.display(),
            distribution.root.display()
        );
        return Ok(());
    };
    let status = Command::new(builder)
        .args(["build", "--tag", &tag, "--file"])
        .args([&file, &distribution.root])
        .status()
        .with_context(|| format!("cannot run {builder}"))?;
    ensure!(status.success(), "{builder} build failed");
    println!("built {tag} with {builder}");
    Ok(())
}

/// Whether a program is there, and whatever it needs to build.
fn is_ready(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("info").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
