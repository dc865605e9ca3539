//! Sockets past their hello, for those who own them.

use spiderweb_client::Options;
use spiderweb_protocol::fs::{Hello, Incoming};
use spiderweb_transport::{DialOptions, Frame, Message, WebSocket, dial};

use super::lane::lost;
use crate::failure::Failure;

/// Connections dialled at the same time: below the backlog a server's listener usually has.
const DIALS: usize = 64;

/// Connects and says hello on `count` sockets.
pub(super) async fn connect_all(options: &Options, count: usize) -> Result<Vec<WebSocket>, Failure> {
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        let mut dialling = tokio::task::JoinSet::new();
        for _ in 0..DIALS.min(count - sockets.len()) {
            dialling.spawn(connect(options.clone()));
        }
        while let Some(joined) = dialling.join_next().await {
            let joined = joined.map_err(|error| Failure::message(error.to_string()))?;
            sockets.push(joined.map_err(|failure| {
                failure.hint(format!("this was connection {} of {count}", sockets.len() + 1))
            })?);
        }
    }
    Ok(sockets)
}

async fn connect(options: Options) -> Result<WebSocket, Failure> {
    let dialling = DialOptions {
        timeout: options.dial_timeout,
        ..DialOptions::default()
    };
    let dialled = dial(&options.url, &dialling).await;
    let mut socket = dialled.map_err(|source| {
        Failure::from(spiderweb_client::Error::Dial {
            url: options.url.to_string(),
            source,
        })
    })?;
    let hello = Frame::text(socket.masking(), 256, |out| {
        out.extend_from_slice(br#"{"channel":"acheron","type":"acheron.t_fs_hello","tag":0,"payload":"#);
        let hello = Hello {
            subscribe_invalidations: false,
        };
        hello.encode(options.pipeline.token.as_ref(), out);
        out.push(b'}');
    });
    socket.send(hello).await.map_err(lost)?;
    loop {
        match tokio::time::timeout(options.pipeline.timeout, socket.receive()).await {
            Err(_elapsed) => return Err(lost("no answer to hello")),
            Ok(Err(error)) => return Err(lost(error)),
            Ok(Ok(None)) => return Err(lost("the node closed it after hello")),
            Ok(Ok(Some(Message::Text(frame)))) => match Incoming::parse(&frame).map_err(lost)? {
                Incoming::Reply { .. } => return Ok(socket),
                Incoming::Error { error, .. } => return Err(lost(error)),
                Incoming::Event(_) => {}
            },
            Ok(Ok(Some(_))) => {}
        }
    }
}
