//! How systems name their files, and what of ours a target can have.

/// What a target is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum System {
    Linux,
    /// Programs without a loader: no library can be opened, so none is shipped.
    StaticLinux,
    MacOs,
    Windows,
}

impl System {
    /// That of a target's triple.
    pub(crate) fn of(target: &str) -> Self {
        if target.contains("windows") {
            Self::Windows
        } else if target.contains("darwin") {
            Self::MacOs
        } else if target.contains("musl") {
            Self::StaticLinux
        } else {
            Self::Linux
        }
    }

    pub(crate) fn program(self, name: &str) -> String {
        match self {
            Self::Windows => format!("{name}.exe"),
            Self::Linux | Self::StaticLinux | Self::MacOs => name.to_owned(),
        }
    }

    /// A library's file; `None` where there can be none.
    pub(crate) fn library(self, name: &str) -> Option<String> {
        match self {
            Self::Linux => Some(format!("lib{name}.so")),
            Self::StaticLinux => None,
            Self::MacOs => Some(format!("lib{name}.dylib")),
            Self::Windows => Some(format!("{name}.dll")),
        }
    }

    /// Where libraries go.
    pub(crate) const fn library_folder(self) -> &'static str {
        match self {
            Self::Linux | Self::StaticLinux | Self::MacOs => "lib",
            Self::Windows => "bin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        for (target, program, library) in [
            (
                "x86_64-unknown-linux-gnu",
                "spiderweb-fs-node",
                Some("lib/libspiderweb-echo-driver-inproc.so"),
            ),
            (
                "aarch64-apple-darwin",
                "spiderweb-fs-node",
                Some("lib/libspiderweb-echo-driver-inproc.dylib"),
            ),
            (
                "x86_64-pc-windows-gnu",
                "spiderweb-fs-node.exe",
                Some("bin/spiderweb-echo-driver-inproc.dll"),
            ),
            ("x86_64-unknown-linux-musl", "spiderweb-fs-node", None),
        ] {
            let system = System::of(target);
            assert_eq!(system.program("spiderweb-fs-node"), program);
            let file = system.library("spiderweb-echo-driver-inproc");
            let path = file.map(|file| format!("{}/{file}", system.library_folder()));
            assert_eq!(path.as_deref(), library);
        }
    }
}
