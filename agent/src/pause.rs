//! The image that sandboxes and pause containers are made from: one program of a kilobyte that this agent carries with
//! it, named by its hash, and imported where it is missing.

use crate::crash::{self, Place};
use crate::engine::docker::{chain, plain};
use longshore_docker::{Docker, tar_of_one};
use longshore_plan::Failure;
use tokio::sync::Semaphore;

/// `agent/pause/pause.rs`, compiled by the build script.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

const NAME: &str = "longshore/pause";

/// One look and import at a time: two imports would be two images, and one of them without a name.
static TURNS: Semaphore = Semaphore::const_new(1);

/// The image in an engine.
#[derive(Debug)]
pub(crate) struct Image {
    docker: Docker,
    tag: String,
    reference: String,
}

impl Image {
    pub(crate) fn new(docker: Docker) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, PROGRAM);
        let tag = hex::encode(&digest.as_ref()[..8]);
        Self { docker, reference: format!("{NAME}:{tag}"), tag }
    }

    /// Its id, when it is here.
    pub(crate) async fn find(&self) -> Result<Option<String>, Failure> {
        let found = self.docker.image(&self.reference).await.map_err(|e| plain(&e))?;
        Ok(found.map(|image| image.id))
    }

    /// What to call it; imported first where it is missing. Looked for each time: somebody may prune images.
    pub(crate) async fn ensure(&self) -> Result<&str, Failure> {
        let _turn = TURNS.acquire().await;
        if self.find().await?.is_none() {
            let import = self.docker.import(NAME, &self.tag, tar_of_one("pause", PROGRAM), &["/pause"]);
            let imported = crash::around(Place::PauseImage, import).await;
            imported.map_err(|e| Failure::Passing(chain(&e)))?;
            tracing::info!(image = self.reference, "imported the image of sandboxes and pause containers");
        }
        Ok(&self.reference)
    }
}
