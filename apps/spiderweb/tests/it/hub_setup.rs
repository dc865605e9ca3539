//! A hub and nodes behind it in this process, and the program beside them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use spiderweb_hub::store::MemoryStore;
use spiderweb_hub::{Database, Hub, HubConfig};
use spiderweb_node::{
    ControlConfig, Dialer, Disclosure, DiskWork, ExportConfig, Invites, Limits, ManifestSources, Node,
    NodeConfig, PairMode, ServicesConfig, TokenSource,
};
use spiderweb_protocol::Secret;
use spiderweb_protocol::control::{NodeName, request};
use spiderweb_transport::{Authorization, DialOptions, Frame, Masking, Message, WebSocket, WsUrl, dial};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::setup::{Said, until};

/// The hub's second factor.
pub(crate) const OPERATOR: &str = "operator-of-the-test";

/// Time a node is given to end.
const SOON: Duration = Duration::from_secs(20);

/// A hub, and what is behind it.
pub(crate) struct Network {
    runtime: Runtime,
    hub: Option<Hub>,
    nodes: Vec<(NodeConfig, Option<Node>)>,
    dir: TempDir,
}

/// A control connection of somebody the program is not.
pub(crate) struct Desk<'n> {
    network: &'n Network,
    socket: WebSocket,
    asked: u32,
}

impl Network {
    /// A hub whose operators have a token of their own.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("local")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let database = Database::Store(Box::new(MemoryStore::new()));
        let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), database);
        config.tokens.operator = Some(Secret::new(OPERATOR));
        config.tokens.file = Some(dir.path().join("auth_tokens.json"));
        config.limits.tunnel_grace = Duration::from_millis(50);
        let hub = runtime.block_on(Hub::start(config)).unwrap();
        Self {
            runtime,
            hub: Some(hub),
            nodes: Vec::new(),
            dir,
        }
    }

    /// The same with the nodes `edge`, which has a service `echo` and a terminal, and `far`.
    pub(crate) fn with_nodes() -> Self {
        let mut network = Self::new();
        network.start_node("edge", &["1"]);
        network.start_node("far", &[]);
        network
    }

    pub(crate) fn hub(&self) -> &Hub {
        self.hub.as_ref().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.hub().address())
    }

    /// A path that the program runs beside.
    pub(crate) fn local(&self, path: &str) -> PathBuf {
        self.dir.path().join("local").join(path)
    }

    /// A path in a node's export `work`, as this machine sees it.
    pub(crate) fn work(&self, node: &str, path: &str) -> PathBuf {
        self.dir.path().join(node).join("work").join(path)
    }

    /// The hub's own file of tokens.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.path().join("auth_tokens.json")
    }

    /// Starts a node of this name with these terminals, and waits until its tunnel stands. With a terminal it has a
    /// service, too.
    pub(crate) fn start_node(&mut self, name: &str, terminals: &[&str]) -> usize {
        let number = self.nodes.len();
        let home = self.dir.path().join(format!("home-{number}"));
        std::fs::create_dir(&home).unwrap();
        let work = self.dir.path().join(name).join("work");
        std::fs::create_dir_all(&work).unwrap();
        let services = home.join("services.d");
        std::fs::create_dir(&services).unwrap();
        if !terminals.is_empty() {
            let driver = services.join("echo.sh");
            std::fs::write(&driver, "#!/bin/sh\ncat\n").unwrap();
            std::fs::set_permissions(&driver, std::fs::Permissions::from_mode(0o755)).unwrap();
            let manifest = json!({"service_id": "echo", "kind": "echo", "endpoints": ["/nodes/{node_id}/echo"],
                "runtime": {"type": "native_proc", "executable_path": driver}});
            std::fs::write(services.join("echo.json"), manifest.to_string()).unwrap();
        }
        let invite = self.desk(Some(self.hub().admin_token().expose())).ok(
            "node_invite_create",
            &json!({"node_name": name, "operator_token": OPERATOR}),
        );
        let invite = invite["invite_token"].as_str().unwrap().to_owned();
        let state_file = home.join("node.json");
        let control = ControlConfig {
            dialer: Dialer::tcp(),
            url: self.url().parse().unwrap(),
            token: TokenSource::Absent,
            operator_token: TokenSource::Absent,
            pair_mode: PairMode::Invite,
            invites: Invites {
                tokens: vec![Secret::new(invite)],
                file: None,
            },
            may_replace_damaged_state: false,
            node_name: NodeName::new(name).unwrap(),
            fs_url: String::new(),
            state_file: state_file.clone(),
            older_state_file: None,
            lease_ttl: Duration::from_secs(900),
            refresh_interval: Duration::from_secs(60),
            backoff: Duration::from_millis(20),
            backoff_max: Duration::from_millis(200),
            labels: vec![("site".to_owned(), "lab".to_owned())],
            disclosure: Disclosure::Full,
        };
        let config = NodeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: Some(control),
            exports: vec![ExportConfig {
                name: "work".to_owned(),
                description: String::new(),
                path: work,
                read_only: false,
            }],
            default_export: false,
            node_name: name.to_owned(),
            services: ServicesConfig {
                manifests: ManifestSources {
                    files: Vec::new(),
                    folders: vec![services],
                },
                terminals: terminals.iter().map(|id| (*id).to_owned()).collect(),
                has_fs_service: true,
                reload_every: Duration::from_secs(2),
                state_file: Some(state_file),
                ..ServicesConfig::default()
            },
            token: None,
            limits: Limits::default(),
            disk_work: DiskWork::default(),
        };
        self.nodes.push((config, None));
        self.restart_node(number);
        number
    }

    /// Starts a node again that was stopped, and waits until its tunnel stands.
    pub(crate) fn restart_node(&mut self, number: usize) {
        let before = self.online();
        let config = self.nodes[number].0.clone();
        // A program that another test is just starting holds this node's lock until it has become itself.
        until("the node starts", || {
            let started = self.runtime.block_on(Node::start(config.clone()));
            self.nodes[number].1 = started.ok();
            self.nodes[number].1.is_some()
        });
        until("the node has a tunnel and a catalog", || self.online() > before);
    }

    pub(crate) fn stop_node(&mut self, number: usize) {
        let before = self.online();
        let node = self.nodes[number].1.take().unwrap();
        self.runtime.block_on(node.stop(Duration::ZERO));
        until("the tunnel is gone", || self.online() < before);
    }

    /// How many nodes have a tunnel and a catalog.
    fn online(&self) -> usize {
        let nodes = self.admin().ok("node_list", &json!({}));
        let nodes = nodes["nodes"].as_array().unwrap().iter();
        nodes
            .filter(|node| node["tunnel"]["connected"] == true && node["service_count"] != 0)
            .count()
    }

    /// The id of the node of this name.
    pub(crate) fn id(&self, name: &str) -> String {
        let nodes = self.admin().ok("node_list", &json!({}));
        let nodes = nodes["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["node_name"] == name).unwrap();
        node["node_id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn admin(&self) -> Desk<'_> {
        self.desk(Some(self.hub().admin_token().expose()))
    }

    pub(crate) fn desk(&self, token: Option<&str>) -> Desk<'_> {
        let url: WsUrl = self.url().parse().unwrap();
        let options = DialOptions {
            authorization: token.map(|token| Authorization::bearer(token).unwrap()),
            ..DialOptions::default()
        };
        let socket = self.runtime.block_on(dial(&url, &options)).unwrap();
        let mut desk = Desk {
            network: self,
            socket,
            asked: 0,
        };
        desk.ask("version", &json!({"protocol": "unified-v2"}));
        desk
    }

    /// The program with arguments separated by blanks, as somebody with the admin's tokens runs it.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spiderweb"));
        command
            .args(line.split_ascii_whitespace())
            .current_dir(self.local(""))
            .env_remove("SPIDERWEB_URL")
            .env_remove("SPIDERWEB_HUB_TOKEN_FILE")
            .env_remove("SPIDERWEB_FS_NODE_AUTH_TOKEN")
            .env("SPIDERWEB_HUB", self.url())
            .env("SPIDERWEB_HUB_TOKEN", self.hub().admin_token().expose())
            .env("SPIDERWEB_OPERATOR_TOKEN", OPERATOR)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        Said::by(self.command(line).spawn().unwrap())
    }

    /// Runs a line that must succeed and returns what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.code == 0 && said.err.is_empty(), "{line}: {said:?}");
        said.out
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --output json"))).unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in std::mem::take(&mut self.nodes)
            .into_iter()
            .filter_map(|(_, node)| node)
        {
            self.runtime.block_on(node.stop(Duration::ZERO));
        }
        if let Some(hub) = self.hub.take() {
            self.runtime.block_on(hub.stop(SOON));
        }
    }
}

impl Desk<'_> {
    fn ask(&mut self, operation: &str, payload: &Value) -> Value {
        self.asked += 1;
        let id = format!("desk-{}", self.asked);
        let text = request(operation, &id, &payload.to_string());
        self.network.runtime.block_on(async {
            self.socket
                .send(Frame::text_from(Masking::Client, &text))
                .await
                .unwrap();
            loop {
                if let Message::Text(text) = self.socket.receive().await.unwrap().unwrap() {
                    let answer: Value = serde_json::from_slice(&text).unwrap();
                    if answer["id"] == *id {
                        return answer;
                    }
                }
            }
        })
    }

    /// The payload of a request that must work.
    pub(crate) fn ok(&mut self, operation: &str, payload: &Value) -> Value {
        let mut answer = self.ask(operation, payload);
        assert_eq!(answer["ok"], true, "{operation}: {answer}");
        answer["payload"].take()
    }
}
