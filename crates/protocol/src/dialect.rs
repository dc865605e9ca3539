//! The words of the two generations of control servers (`services.md`, section 18).

/// A generation, by its words. What a service does is the same in both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Dialect {
    /// The older one, which says *service*.
    #[default]
    Seed,
    /// The newer one, which says *venom*.
    Head,
}

impl Dialect {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Seed, Self::Head];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Seed => Self::Head,
            Self::Head => Self::Seed,
        }
    }

    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Head => "head",
        }
    }

    /// The member that holds a service's id: in manifests, the catalog, status texts and the state file.
    pub const fn id_member(self) -> &'static str {
        match self {
            Self::Seed => "service_id",
            Self::Head => "venom_id",
        }
    }

    /// The member that holds the list of services: in the catalog and the state file.
    pub const fn list_member(self) -> &'static str {
        match self {
            Self::Seed => "services",
            Self::Head => "venoms",
        }
    }

    /// The name of the driver ABI in defaults, built-in services and `HOST.json`.
    pub const fn abi(self) -> &'static str {
        match self {
            Self::Seed => "namespace-driver-v1",
            Self::Head => "venom-driver-v1",
        }
    }

    /// The control request that publishes the catalog (section 4.1).
    pub const fn catalog_request(self) -> &'static str {
        match self {
            Self::Seed => "control.node_service_upsert",
            Self::Head => "control.venom_upsert",
        }
    }

    /// How a log line calls a manifest.
    pub const fn manifest_words(self) -> &'static str {
        match self {
            Self::Seed => "service manifest",
            Self::Head => "Venom manifest",
        }
    }
}
