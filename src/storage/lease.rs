//! The right of one run, on whatever machine, to write what is under a URL.
//!
//! It is an object that names its holder, created only where there is none, and renewed every minute by whoever holds it.
//! One that was not renewed for [`EXPIRES`] is of a run that died, and the next takes it over; a run on the machine of the
//! one that died does so at once, by a token it finds there.
//!
//! A lease keeps two runs from doing the same work. That neither overwrites what the other has written does not rest on
//! it: every write says which content it expects there.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Condition, Version};
use super::error::StorageError;
use super::location::ObjectUrl;
use crate::digest::Id;
use crate::io;

/// How often it is renewed.
const RENEWED: Duration = Duration::from_mins(1);

/// Age at which a lease is one of a run that died. Services refuse requests of clocks that are off by more than 15 minutes,
/// so that the clock of this machine can be held against that of the service.
pub const EXPIRES: Duration = Duration::from_mins(20);

/// Most bytes of a lease.
const LEASE_BYTES: u64 = 4096;

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    /// For people.
    who: String,
    /// For the holder itself.
    token: String,
    /// So that each renewal is another content.
    n_renewals: u64,
}

/// A lease that is held; dropped, it is given back.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Held>,
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    bucket: Bucket,
    url: ObjectUrl,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    holder: Holder,
    version: Version,
    /// Whether somebody else has it now.
    is_lost: bool,
}

impl Lease {
    /// Takes the lease at `url`. `token` is the file with the token of runs on this machine that write there, one at a time.
    ///
    /// # Errors
    /// [`StorageError::Leased`] if another run holds it.
    pub fn acquire(bucket: &Bucket, url: &ObjectUrl, token: &Path) -> Result<Self, StorageError> {
        let holder = Holder { who: this_process(), token: token_in(token)?, n_renewals: 0 };
        let condition = match bucket.read(url, LEASE_BYTES)? {
            None => Condition::Absent,
            Some((bytes, object)) => {
                let found = serde_json::from_slice::<Holder>(&bytes).ok();
                let is_ours = found.as_ref().is_some_and(|found| found.token == holder.token);
                if !is_ours && object.age() < EXPIRES {
                    return Err(leased(url, found, object.age()));
                }
                Condition::Unchanged(object.version)
            }
        };
        let version = match bucket.put(url, &body(&holder)?, &condition) {
            Ok(version) => version,
            // Another run was quicker.
            Err(StorageError::Changed { .. }) => {
                let found = bucket.read(url, LEASE_BYTES)?;
                return Err(leased(
                    url,
                    found.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()),
                    Duration::ZERO,
                ));
            }
            Err(error) => return Err(error),
        };
        let state = Mutex::new(State { holder, version, is_lost: false });
        let held = Arc::new(Held { bucket: bucket.clone(), url: url.clone(), state });
        let (stop, stopped) = channel();
        let renewed = Arc::clone(&held);
        let mut lease = Self { held, stop: Some(stop), renewing: None };
        let renewing = std::thread::Builder::new().spawn(move || {
            while stopped.recv_timeout(RENEWED) == Err(RecvTimeoutError::Timeout) {
                // A service that does not answer may do so in a minute; who has lost the lease is told when it writes.
                let _ = renewed.renew();
            }
        });
        // Without a thread to renew it, it is given back.
        let renewing = renewing.map_err(|source| StorageError::Runtime { bucket: url.root(), source })?;
        lease.renewing = Some(renewing);
        Ok(lease)
    }

    /// Asks the service whether this run still holds it.
    ///
    /// # Errors
    /// [`StorageError::LeaseLost`] if it does not.
    pub fn confirm(&self) -> Result<(), StorageError> {
        // Not to be renewed between the question and the comparison.
        let state = self.held.state();
        let version = self.held.bucket.head(&self.held.url)?.map(|object| object.version);
        if state.is_lost || version.as_ref() != Some(&state.version) {
            return Err(self.held.lost());
        }
        Ok(())
    }

    /// Renews it now.
    #[cfg(test)]
    fn renew(&self) -> Result<(), StorageError> {
        self.held.renew()
    }
}

/// Gives it back, if it is still ours; one that cannot be deleted expires.
impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
        if self.confirm().is_ok() {
            let _ = self.held.bucket.delete(&self.held.url);
        }
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        let holder = Holder { n_renewals: state.holder.n_renewals + 1, ..state.holder.clone() };
        match self.bucket.put(&self.url, &body(&holder)?, &Condition::Unchanged(state.version.clone())) {
            Ok(version) => {
                state.holder = holder;
                state.version = version;
                Ok(())
            }
            Err(error) => {
                state.is_lost |= matches!(error, StorageError::Changed { .. });
                Err(error)
            }
        }
    }

    fn lost(&self) -> StorageError {
        let found = self.bucket.read(&self.url, LEASE_BYTES).ok().flatten();
        let found = found.and_then(|(bytes, _)| serde_json::from_slice::<Holder>(&bytes).ok());
        StorageError::LeaseLost { url: self.url.clone(), holder: name(found) }
    }
}

fn leased(url: &ObjectUrl, found: Option<Holder>, heard: Duration) -> StorageError {
    StorageError::Leased { url: url.clone(), holder: name(found), heard }
}

fn name(found: Option<Holder>) -> String {
    found.map_or_else(|| "somebody else".into(), |found| found.who)
}

fn body(holder: &Holder) -> Result<Bytes, StorageError> {
    let text = serde_json::to_string(holder).map_err(|source| StorageError::Internal { source })?;
    Ok(Bytes::from(text))
}

/// The token in a file; made if there is none.
fn token_in(path: &Path) -> Result<String, StorageError> {
    if path.is_file() {
        return Ok(io::read_text_up_to(path, LEASE_BYTES)?);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unlikely_twice = format!("{} {now:?} {}", this_process(), path.display());
    let token = Id::of_parts("lease", [unlikely_twice.as_bytes()]).to_string();
    io::write(path, token.as_bytes())?;
    Ok(token)
}

/// This process, and the machine it is on.
fn this_process() -> String {
    let host = io::read_text_up_to(Path::new("/proc/sys/kernel/hostname"), LEASE_BYTES).ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "an unknown machine".into());
    format!("process {} on {}", std::process::id(), host.trim())
}

#[cfg(test)]
mod tests {
    use super::super::Location;
    use super::*;

    fn lease(name: &str) -> (Bucket, ObjectUrl) {
        let Location::Object(url) = Location::of(name.as_ref()).unwrap() else { panic!("{name}") };
        (Bucket::of(&url).unwrap(), url)
    }

    #[test]
    fn one_run_holds_it_and_the_next_gets_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let (bucket, url) = lease("memory://lease/table/lock");
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let held = Lease::acquire(&bucket, &url, &here).unwrap();
        let refused = Lease::acquire(&bucket, &url, &there).unwrap_err();
        let us = this_process();
        assert!(matches!(&refused, StorageError::Leased { holder, .. } if *holder == us), "{refused}");
        held.renew().unwrap();
        held.confirm().unwrap();
        drop(held);
        assert!(bucket.head(&url).unwrap().is_none());
        drop(Lease::acquire(&bucket, &url, &there).unwrap());
    }

    #[test]
    fn a_run_on_the_machine_of_one_that_was_killed_takes_over_and_the_other_notices() {
        let folder = tempfile::tempdir().unwrap();
        let (bucket, url) = lease("memory://killed/table/lock");
        let token = folder.path().join("token");
        let first = Lease::acquire(&bucket, &url, &token).unwrap();
        let second = Lease::acquire(&bucket, &url, &token).unwrap();
        assert!(matches!(first.confirm(), Err(StorageError::LeaseLost { .. })));
        assert!(matches!(first.renew(), Err(StorageError::Changed { .. })));
        drop(first);
        second.confirm().unwrap();
    }
}
