//! `ouroctl model …`: which containers and models are in memory here, and a person's word about it.

use super::status::StatusSource;
use crate::modules::Installed;
use crate::sensing::host_root::HostRoot;
use crate::sensing::resident::resident_bytes;
use crate::workers::{RunFailure, first_pass_key};
use ouro_common::container::{Manifest, Runtime};
use ouro_common::document::{FIRST_PASS, LoadedDocument, LoadedView};
use ouro_common::error::{Fault, FaultCode};
use ouro_common::id::Digest;
use std::collections::BTreeSet;

impl StatusSource {
    /// What is in memory now.
    pub(super) fn loaded(&self) -> LoadedDocument {
        let (seen, host, pinned) = (self.modules.now(), HostRoot::live(), self.pool.pinned());
        let policies = self.pool.policies();
        let view = |digest: Digest| {
            let model = self.first_pass.model().filter(|_| digest == first_pass_key());
            let manifest = seen.installed.get(&digest).map(|installed| &installed.container.manifest);
            let (in_force, runtime) = match manifest {
                Some(manifest) => (policies.of(manifest), manifest.runtime),
                None if model.is_some() => (policies.of_first_pass(), Runtime::Gguf),
                None => return None,
            };
            Some(LoadedView {
                container: manifest.map(Manifest::reference),
                first_pass: model.map(|path| path.display().to_string()),
                runtime,
                process: None,
                memory_bytes: None,
                busy: false,
                idle_s: None,
                pinned: pinned.contains(&digest),
                policy: in_force.policy,
                idle_timeout_s: in_force.idle_timeout.as_secs(),
                policy_why: in_force.why.into(),
                batch: None,
                parked_bytes: None,
            })
        };
        let kept = self.pool.kept();
        // One whose module is gone has no name, and leaves memory in a moment.
        let running = kept.iter().filter_map(|kept| {
            Some(LoadedView {
                process: Some(kept.process),
                memory_bytes: resident_bytes(&host, &kept.process.to_string()),
                busy: kept.idle.is_none(),
                idle_s: kept.idle.map(|idle| idle.as_secs_f64()),
                batch: kept.batch,
                ..view(kept.digest)?
            })
        });
        let parked = self.pool.parked();
        let bytes_of = |digest: Digest| parked.iter().find(|(parked, ..)| *parked == digest).map(|(.., bytes)| *bytes);
        let absent: BTreeSet<Digest> = pinned.iter().copied().chain(parked.iter().map(|(digest, ..)| *digest)).collect();
        let absent = absent
            .into_iter()
            .filter(|digest| !kept.iter().any(|kept| kept.digest == *digest))
            .filter_map(|digest| Some(LoadedView { parked_bytes: bytes_of(digest), ..view(digest)? }));
        let mut workers: Vec<LoadedView> = running.chain(absent).collect();
        workers.sort_by(|a, b| (&a.container, a.process).cmp(&(&b.container, b.process)));
        LoadedDocument {
            schema: LoadedDocument::SCHEMA.into(),
            idle_timeout_s: policies.idle_timeout.as_secs(),
            memory_limit_bytes: self.pool.memory_limit_bytes(),
            workers,
        }
    }

    /// Does what a person wants with a container, and says what is in memory then.
    pub(super) async fn change_loaded(&self, container: &str, change: &str) -> Result<LoadedDocument, Fault> {
        let which = match self.first_pass.model() {
            Some(_) if container == FIRST_PASS => None,
            _ => Some(self.installed(container)?),
        };
        let digest = which.as_ref().map_or_else(first_pass_key, |installed| installed.container.digest);
        match change {
            "load" => self.load(which.as_ref()).await?,
            "unload" => self.pool.unload(&digest),
            "pin" => {
                self.load(which.as_ref()).await?;
                self.pool.pin(digest, true);
            }
            "unpin" => self.pool.pin(digest, false),
            other => {
                let fault = Fault::new(FaultCode::InvalidArgument, format!("{other:?} cannot be done with a container"));
                return Err(fault.remedy("say load, unload, pin or unpin"));
            }
        }
        Ok(self.loaded())
    }

    /// Loads a container, or else the model of the first pass.
    async fn load(&self, installed: Option<&Installed>) -> Result<(), Fault> {
        let Some(installed) = installed else {
            let failed =
                |failure: RunFailure| Fault::new(FaultCode::WorkFailed, format!("the first pass cannot be loaded: {}", failure.why));
            return self.first_pass.load().await.map_err(failed);
        };
        let name = installed.container.manifest.reference();
        if installed.container.manifest.runtime == Runtime::Oci {
            let fault = Fault::new(FaultCode::InvalidArgument, format!("{name} is a program: it is in memory only while it runs"));
            return Err(fault.remedy("load a container of the kinds onnx, gguf or builtin"));
        }
        let failed = |why: String| Fault::new(FaultCode::WorkFailed, format!("{name} cannot be loaded: {why}"));
        self.steps.load(installed).await.map_err(|failure| failed(failure.why))
    }

    /// The container with this name, or name and version; of several copies of the same the first.
    fn installed(&self, wanted: &str) -> Result<Installed, Fault> {
        let seen = self.modules.now();
        let named = |installed: &&Installed| {
            let reference = installed.container.manifest.reference();
            reference.to_string() == wanted || reference.name.to_string() == wanted
        };
        let mut found: Vec<&Installed> = seen.installed.values().filter(named).collect();
        found.sort_by_key(|installed| (installed.container.manifest.reference(), installed.container.digest));
        let versions: BTreeSet<String> = found.iter().map(|installed| installed.container.manifest.reference().to_string()).collect();
        match (found.first(), versions.len()) {
            (Some(installed), 1) => Ok((*installed).clone()),
            (None, _) => {
                let fault = Fault::new(FaultCode::NotFound, format!("this node has no container {wanted:?}"));
                Err(fault.remedy("`ouroctl modules` lists what there is"))
            }
            _ => {
                let all = versions.into_iter().collect::<Vec<_>>().join(", ");
                Err(Fault::new(FaultCode::InvalidArgument, format!("{wanted:?} is {all}")).remedy("name one of them with its version"))
            }
        }
    }
}
