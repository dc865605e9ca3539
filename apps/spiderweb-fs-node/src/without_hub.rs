//! No hub inside the node: what `--hub` says where the program was built without the feature `hub`.

use std::convert::Infallible;
use std::time::Duration;

use spiderweb_node::ControlConfig;

use crate::Failure;
use crate::cli::HubPlan;

/// A hub that cannot be.
#[derive(Debug)]
pub(crate) struct Hub(Infallible);

impl Hub {
    #[expect(clippy::unused_async, reason = "a real one takes its time")]
    pub(crate) async fn stop(self, _grace: Duration) -> bool {
        match self.0 {}
    }
}

/// Says what would work instead.
#[expect(clippy::unused_async, reason = "a real one takes its time")]
pub(crate) async fn start(plan: &HubPlan, _control: &mut ControlConfig) -> Result<Hub, Failure> {
    Err(Failure {
        name: "UnsupportedPlatform",
        words: format!(
            "--hub: this program was built without a hub; run `spiderweb-hub --data-dir {}` beside it and name its address \
             with --control-url",
            plan.folder.display()
        ),
    })
}
