//! The node a command works on.

use spiderweb_client::{Client, Options, RemotePath, View};
use spiderweb_protocol::Secret;

use crate::cli::Global;
use crate::failure::Failure;

/// A connected client and the paths it offers.
pub(crate) struct Remote {
    pub(crate) client: Client,
    pub(crate) view: View,
}

impl Remote {
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        Self::connect_with(global, false).await
    }

    /// Connects; `subscribe` asks for changes that others make.
    pub(crate) async fn connect_with(global: &Global, subscribe: bool) -> Result<Self, Failure> {
        let client = Client::connect(options(global)?.subscribe(subscribe)).await?;
        let view = View::of(&client, global.export.as_deref()).await?;
        Ok(Self { client, view })
    }

    /// The path a person has to type for `path`, quoted for a message.
    pub(crate) fn is_root(&self, path: &RemotePath) -> bool {
        match self.view.place(path) {
            Ok(spiderweb_client::Place::Inside { names, .. }) => names.is_empty(),
            Ok(spiderweb_client::Place::Top) => true,
            Err(_) => false,
        }
    }
}

/// How to connect, from the command line.
pub(crate) fn options(global: &Global) -> Result<Options, Failure> {
    let options = Options::new(global.url.clone()).token(token(global)?);
    Ok(match global.timeout {
        Some(timeout) => options.timeout(timeout),
        None => options,
    })
}

/// The token to show to the node.
pub(crate) fn token(global: &Global) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &global.token_file {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::local(format!("cannot read the token file {shown}"), error))?;
        return match text.trim() {
            "" => Err(Failure::message(format!("the token file {shown} is empty"))),
            token => Ok(Some(Secret::new(token))),
        };
    }
    Ok(global.token.as_deref().map(Secret::new))
}
