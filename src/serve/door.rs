//! Who comes in, and with what: each call of a client passes here before the service of Ballista sees it.
//!
//! The service plans whatever text it is sent, and redeems tickets that name a host and a file. So the door reads the text
//! of a statement first ([`check_text`]), and puts a seal on each ticket that leaves: only tickets that this process has
//! given out come back in. With a token, a client says it in each call (`authorization: Bearer TOKEN`), or once as its
//! password when it logs in, which gives it a session of its own.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{ActionCreatePreparedStatementRequest, Any, Command};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, PollInfo,
    SchemaResult, Ticket,
};
use async_trait::async_trait;
use datafusion::execution::SessionState;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::token::Token;
use crate::error::chain;
use crate::query::check_text;

/// Statements of one client that are planned and computed at once; its next ones wait. A notebook has one at work, a
/// dashboard as many as it has charts.
const AT_ONCE: usize = 8;

/// Sessions that are remembered; a client of a forgotten one logs in again.
const MAX_SESSIONS: usize = 10_000;

/// Clients whose statements are counted before those without any are forgotten.
const MAX_CLIENTS: usize = 1_000;

/// Most bytes of the text of a query.
const TEXT_BYTES: usize = 1 << 20;

/// Bytes of the seal before a ticket.
const SEAL: usize = 32;

/// Name of the header in which a client says who it is.
const AUTHORIZATION: &str = "authorization";

/// A service of Flight SQL behind a door.
pub(super) struct Door<S> {
    inner: S,
    /// What the queries are over.
    state: SessionState,
    token: Option<Token>,
    /// Key of the seals, of this process.
    key: [u8; SEAL],
    /// What clients that logged in say since.
    sessions: Mutex<HashSet<String>>,
    at_work: Mutex<BTreeMap<IpAddr, Weak<Semaphore>>>,
}

impl<S> Door<S> {
    /// A door that asks for this token, or for none.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn new(inner: S, state: SessionState, token: Option<Token>) -> std::io::Result<Self> {
        let mut key = [0; SEAL];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        Ok(Self { inner, state, token, key, sessions: Mutex::default(), at_work: Mutex::default() })
    }

    /// Lets a call in whose client has the token or a session.
    fn admit(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let said = credentials(metadata);
        match said {
            // Those who say the token itself have no session, and share the one that nobody can change.
            Some(Credentials::Bearer(said)) if token.is(said) => {
                metadata.remove(AUTHORIZATION);
                Ok(())
            }
            Some(Credentials::Bearer(said)) if locked(&self.sessions).contains(said) => Ok(()),
            Some(_) => Err(Status::unauthenticated("the token is not that of this server, or the session has ended")),
            None => Err(Status::unauthenticated("this server asks for a token: `authorization: Bearer TOKEN`")),
        }
    }

    /// Waits until a client has room for another statement.
    async fn room(&self, client: Option<IpAddr>) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let Some(client) = client else { return Ok(None) };
        let room = {
            let mut at_work = locked(&self.at_work);
            if at_work.len() > MAX_CLIENTS {
                at_work.retain(|_, room| room.strong_count() > 0);
            }
            at_work.get(&client).and_then(Weak::upgrade).unwrap_or_else(|| {
                let room = Arc::new(Semaphore::new(AT_ONCE));
                at_work.insert(client, Arc::downgrade(&room));
                room
            })
        };
        room.acquire_owned().await.map(Some).map_err(|_| Status::internal("the server stops"))
    }

    /// Refuses the text of a statement that does more than read, or would not be planned here.
    async fn check_text(&self, sql: &str) -> Result<(), Status> {
        if sql.len() > TEXT_BYTES {
            let found = sql.len();
            let told = format!("a query of {found} bytes: expected at most {TEXT_BYTES}");
            return Err(Status::invalid_argument(told));
        }
        check_text(&self.state, sql).await.map_err(|error| Status::invalid_argument(chain(&error)))
    }

    /// Refuses what a descriptor asks for, if that is not a statement that reads or something of the catalogue.
    async fn check_descriptor(&self, descriptor: &FlightDescriptor) -> Result<(), Status> {
        let broken = |_| Status::invalid_argument("what is asked for is no command of Flight SQL");
        let command = Any::decode(&*descriptor.cmd).map_err(broken)?;
        match Command::try_from(command).map_err(|error| Status::invalid_argument(error.to_string()))? {
            Command::CommandStatementQuery(statement) => self.check_text(&statement.query).await,
            Command::CommandStatementUpdate(statement) => self.check_text(&statement.query).await,
            Command::CommandStatementSubstraitPlan(_) => {
                Err(Status::unimplemented("plans of Substrait are not served"))
            }
            _ => Ok(()),
        }
    }

    /// The same of an action: one that prepares a statement has its text.
    async fn check_action(&self, action: &Action) -> Result<(), Status> {
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let broken = |_| Status::invalid_argument("the statement to be prepared is no message of Flight SQL");
                let prepared = Any::decode(&*action.body).map_err(broken)?;
                let prepared: Option<ActionCreatePreparedStatementRequest> =
                    prepared.unpack().map_err(|error| Status::invalid_argument(error.to_string()))?;
                self.check_text(&prepared.unwrap_or_default().query).await
            }
            "ClosePreparedStatement" => Ok(()),
            other => Err(Status::unimplemented(format!("`{}` is not served", other.escape_debug()))),
        }
    }

    fn seal(&self, ticket: &[u8]) -> [u8; SEAL] {
        *blake3::keyed_hash(&self.key, ticket).as_bytes()
    }

    fn sealed(&self, ticket: &Ticket) -> Ticket {
        let bytes: Vec<u8> = self.seal(&ticket.ticket).into_iter().chain(ticket.ticket.iter().copied()).collect();
        Ticket { ticket: bytes.into() }
    }

    fn opened(&self, ticket: &Ticket) -> Result<Ticket, Status> {
        let foreign = || Status::invalid_argument("the ticket is none that this server has given out");
        let (seal, ticket) = ticket.ticket.split_first_chunk::<SEAL>().ok_or_else(foreign)?;
        // As hashes of BLAKE3 they are compared in a time that says nothing.
        if blake3::Hash::from_bytes(*seal) != blake3::Hash::from_bytes(self.seal(ticket)) {
            return Err(foreign());
        }
        Ok(Ticket { ticket: ticket.to_vec().into() })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client says in the header.
enum Credentials<'a> {
    /// A token, or the name of a session.
    Bearer(&'a str),
    /// Name and password, as they come: in base64.
    Basic(&'a str),
}

fn credentials(metadata: &MetadataMap) -> Option<Credentials<'_>> {
    let (scheme, said) = metadata.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(Credentials::Bearer(said.trim())),
        "basic" => Some(Credentials::Basic(said.trim())),
        _ => None,
    }
}

fn only_reads<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only answers queries"))
}

#[async_trait]
impl<S: FlightService> FlightService for Door<S> {
    type HandshakeStream = S::HandshakeStream;
    type ListFlightsStream = S::ListFlightsStream;
    type DoGetStream = S::DoGetStream;
    type DoPutStream = S::DoPutStream;
    type DoExchangeStream = S::DoExchangeStream;
    type DoActionStream = S::DoActionStream;
    type ListActionsStream = S::ListActionsStream;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        if let Some(token) = &self.token {
            let is_known = match credentials(request.metadata()) {
                Some(Credentials::Basic(said)) => token.is_password(said),
                Some(Credentials::Bearer(said)) => token.is(said),
                None => false,
            };
            if !is_known {
                return Err(Status::unauthenticated("log in with any name and the token of this server as password"));
            }
        }
        let answer = self.inner.handshake(request).await?;
        if let Some(Credentials::Bearer(session)) = credentials(answer.metadata()) {
            let mut sessions = locked(&self.sessions);
            if sessions.len() >= MAX_SESSIONS {
                sessions.clear();
            }
            sessions.insert(session.to_owned());
        }
        Ok(answer)
    }

    async fn get_flight_info(&self, mut request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.admit(request.metadata_mut())?;
        self.check_descriptor(request.get_ref()).await?;
        let _room = self.room(request.remote_addr().map(|at| at.ip())).await?;
        let answer = self.inner.get_flight_info(request).await?;
        Ok(answer.map(|mut info| {
            for FlightEndpoint { ticket, .. } in &mut info.endpoint {
                *ticket = ticket.as_ref().map(|ticket| self.sealed(ticket));
            }
            info
        }))
    }

    async fn get_schema(&self, mut request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.admit(request.metadata_mut())?;
        self.check_descriptor(request.get_ref()).await?;
        let _room = self.room(request.remote_addr().map(|at| at.ip())).await?;
        self.inner.get_schema(request).await
    }

    async fn do_get(&self, mut request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.admit(request.metadata_mut())?;
        let ticket = self.opened(request.get_ref())?;
        *request.get_mut() = ticket;
        self.inner.do_get(request).await
    }

    async fn do_action(&self, mut request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.admit(request.metadata_mut())?;
        self.check_action(request.get_ref()).await?;
        let _room = self.room(request.remote_addr().map(|at| at.ip())).await?;
        self.inner.do_action(request).await
    }

    async fn list_actions(&self, mut request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.admit(request.metadata_mut())?;
        self.inner.list_actions(request).await
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        only_reads()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        only_reads()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        only_reads()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        only_reads()
    }
}
