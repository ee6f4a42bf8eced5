//! Models by what decides their numbers: weights, configuration, number format, code path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::ScoringError;
use super::scorer::Scorer;
use crate::digest::{Digest, ModelIdentity};
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::model::{Decoder, ScoringDtype};
use crate::ops::Backend;
use crate::policy::{PolicyDigests, PolicySource};

/// Where a scoring function finds its model.
pub trait Models: Send + Sync {
    /// The model of this [digest](model_digest), in memory; without a digest, the only one there is.
    ///
    /// # Errors
    /// If there is no such model, there are several and no digest, or it cannot be loaded.
    fn scorer(&self, digest: Option<Digest>) -> Result<Arc<Scorer>, ScoringError>;

    /// Digest of the only model there is.
    ///
    /// # Errors
    /// If there is none or there are several, or its files cannot be read.
    fn digest(&self) -> Result<Digest, ScoringError>;

    /// Whether nothing is to be scored any more; asked before each forward pass.
    fn are_stopped(&self) -> bool {
        false
    }
}

/// Digest of everything in a model, and in the machine that runs it, that decides the numbers of a pass: weights and
/// configuration by what they mean, as the provenance of a table has them, and the [name of the code path](logprob::kernel), which says the
/// number format too. Models of one digest give the same bits.
pub fn model_digest(model: &ModelIdentity, adapter: Option<Digest>, kernel: &str) -> Digest {
    let parts = [
        ("weights", model.weights.as_bytes().as_slice()),
        ("config", model.config.as_bytes().as_slice()),
        ("kernel", kernel.as_bytes()),
    ];
    let adapter = adapter.as_ref().map(|digest| ("adapter", digest.as_bytes().as_slice()));
    Digest::of_parts(parts.into_iter().chain(adapter))
}

/// A model of this machine.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// As the user gave it.
    pub name: String,
    /// Its files.
    pub source: PolicySource,
    /// Where it runs.
    pub backend: Backend,
    /// Number formats it may be asked for in.
    pub dtypes: Vec<ScoringDtype>,
    /// Token budget of a forward pass.
    pub max_tokens: NonZeroUsize,
}

/// Models of this machine. Nothing is read before it is needed; then files are digested, and a model loaded, once.
pub struct ModelFiles {
    files: Vec<ModelFile>,
    interrupt: Interrupt,
    /// Held while one is loaded, so that whoever asks for it meanwhile waits for it.
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    /// File and number format of each digest, once they have been asked for.
    digests: Option<BTreeMap<Digest, (usize, ScoringDtype)>>,
    /// Of each file. The number formats of one share its weights.
    decoders: BTreeMap<usize, Decoder>,
    scorers: BTreeMap<Digest, Arc<Scorer>>,
}

impl ModelFiles {
    /// These models; none is a model too few for every function, which then says so when it is called.
    pub fn new(files: Vec<ModelFile>) -> Self {
        Self { files, interrupt: Interrupt::default(), loaded: Mutex::default() }
    }

    /// The same; when `interrupt` is set, calls that are under way end with an error before their next forward pass.
    #[must_use]
    pub fn stopped_by(self, interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), ..self }
    }

    /// Digests of them all, in order.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn digests(&self) -> Result<Vec<Digest>, ScoringError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.known(&mut loaded)?.keys().copied().collect())
    }

    fn known<'a>(&self, loaded: &'a mut Loaded) -> Result<&'a BTreeMap<Digest, (usize, ScoringDtype)>, ScoringError> {
        let digests = match loaded.digests.take() {
            Some(digests) => digests,
            None => self.digest_files()?,
        };
        Ok(loaded.digests.insert(digests))
    }

    fn digest_files(&self) -> Result<BTreeMap<Digest, (usize, ScoringDtype)>, ScoringError> {
        let mut digests = BTreeMap::new();
        for (index, file) in self.files.iter().enumerate() {
            let PolicyDigests { base, adapter } = file.source.digests()?;
            for &dtype in &file.dtypes {
                let kernel = logprob::kernel(&file.backend, dtype);
                digests.insert(model_digest(&base.identity, adapter, &kernel), (index, dtype));
            }
        }
        Ok(digests)
    }

    /// The digest that is meant, with its file and number format.
    fn find(
        &self,
        loaded: &mut Loaded,
        digest: Option<Digest>,
    ) -> Result<(Digest, (usize, ScoringDtype)), ScoringError> {
        if self.files.is_empty() {
            return Err(ScoringError::NoModel);
        }
        let digests = self.known(loaded)?;
        let known = || digests.keys().copied().collect();
        match digest {
            Some(digest) => match digests.get(&digest) {
                Some(&of) => Ok((digest, of)),
                None => Err(ScoringError::OtherModel { expected: digest, known: known() }),
            },
            None => match digests.first_key_value() {
                Some((&digest, &of)) if digests.len() == 1 => Ok((digest, of)),
                _ => Err(ScoringError::NoDigest { known: known() }),
            },
        }
    }
}

impl Models for ModelFiles {
    fn scorer(&self, digest: Option<Digest>) -> Result<Arc<Scorer>, ScoringError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, (index, dtype)) = self.find(&mut loaded, digest)?;
        if let Some(scorer) = loaded.scorers.get(&digest) {
            return Ok(Arc::clone(scorer));
        }
        let file = &self.files[index];
        let decoder = match loaded.decoders.entry(index) {
            Entry::Occupied(decoder) => decoder.get().clone(),
            Entry::Vacant(place) => {
                let decoder = file.source.load_merged(&file.backend)?;
                place.insert(decoder).clone()
            }
        };
        let scorer = Arc::new(Scorer::new(&file.name, decoder.with_dtype(dtype), file.max_tokens));
        loaded.scorers.insert(digest, Arc::clone(&scorer));
        Ok(scorer)
    }

    fn digest(&self) -> Result<Digest, ScoringError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.find(&mut loaded, None)?.0)
    }

    fn are_stopped(&self) -> bool {
        self.interrupt.is_set()
    }
}

impl fmt::Debug for ModelFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFiles").field("files", &self.files).finish_non_exhaustive()
    }
}
