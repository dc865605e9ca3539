//! A person at the hub's control connection: asks one thing after the other.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use spiderweb_transport::{Authorization, DialOptions, Dialer, Frame, Message, WebSocket};

use crate::world::{ADMIN, URL};

/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Operator {
    socket: WebSocket,
    asked: u64,
}

impl Operator {
    pub(crate) async fn connect(dialer: &Dialer) -> Result<Self> {
        let options = DialOptions {
            authorization: Some(Authorization::bearer(ADMIN)?),
            ..DialOptions::default()
        };
        let socket = dialer.dial(&URL.parse()?, &options).await?;
        let mut operator = Self { socket, asked: 0 };
        operator.ask("version", json!({"protocol": "unified-v2"})).await?;
        Ok(operator)
    }

    /// The payload of the answer.
    pub(crate) async fn ask(&mut self, operation: &str, payload: Value) -> Result<Value> {
        tokio::time::timeout(PATIENCE, self.exchange(operation, payload)).await?
    }

    async fn exchange(&mut self, operation: &str, payload: Value) -> Result<Value> {
        self.asked += 1;
        let id = format!("q{}", self.asked);
        let request = json!({"channel": "control", "type": format!("control.{operation}"), "id": id, "payload": payload});
        let frame = Frame::text_from(self.socket.masking(), &request.to_string());
        self.socket.send(frame).await?;
        loop {
            match self.socket.receive().await? {
                Some(Message::Text(text)) => {
                    let mut reply: Value = serde_json::from_slice(&text)?;
                    if reply["id"] == id || reply["request"] == id {
                        if reply["ok"] == true {
                            return Ok(reply["payload"].take());
                        }
                        bail!("{operation}: {reply}");
                    }
                }
                Some(Message::Ping(payload)) => {
                    let pong = Frame::pong(self.socket.masking(), &payload);
                    self.socket.queue(pong);
                }
                Some(Message::Pong | Message::Unsupported { .. }) => {}
                Some(Message::Close(_)) | None => bail!("{operation}: the hub hung up"),
            }
        }
    }

    /// Id of the node of this name that was heard of last, if its tunnel stands.
    pub(crate) async fn find(&mut self, name: &str) -> Result<Option<String>> {
        let list = self.ask("node_list", json!({})).await?;
        let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
        let of_name = nodes
            .into_iter()
            .filter(|node| node["node_name"] == name && node["tunnel"]["connected"] == true);
        let last = of_name.max_by_key(|node| node["last_seen_ms"].as_u64());
        Ok(last.and_then(|node| Some(node["node_id"].as_str()?.to_owned())))
    }
}
