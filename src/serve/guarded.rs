//! The service of Flight SQL behind a look at what it is asked: Ballista's plans whatever text it is given.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{ActionCreatePreparedStatementRequest, Any, CommandStatementQuery, CommandStatementUpdate};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo, SchemaResult, Ticket,
};
use async_trait::async_trait;
use datafusion::execution::SessionState;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::error::chain;
use crate::query;

/// Most bytes of the text of a query.
const TEXT_BYTES: usize = 1 << 20;

/// A service whose queries are looked at first.
pub(super) struct Guarded<S> {
    inner: S,
    /// What the queries are over.
    state: Arc<SessionState>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, state: SessionState) -> Self {
        Self { inner, state: Arc::new(state) }
    }

    /// Refuses a command whose query would not be planned here.
    async fn look_at(&self, command: &[u8]) -> Result<(), Status> {
        if command.len() > TEXT_BYTES {
            return Err(Status::invalid_argument(format!(
                "a query of {} bytes: expected at most {TEXT_BYTES}",
                command.len()
            )));
        }
        // What is none of these has no text, or is refused by the service.
        let Ok(command) = Any::decode(command) else { return Ok(()) };
        let Some(text) = text(&command) else { return Ok(()) };
        query::check_text(&self.state, &text).await.map_err(|error| Status::invalid_argument(chain(&error)))
    }
}

/// The SQL of a command, if it has any.
fn text(command: &Any) -> Option<String> {
    let query = command.unpack::<CommandStatementQuery>().ok().flatten().map(|found| found.query);
    let update = || command.unpack::<CommandStatementUpdate>().ok().flatten().map(|found| found.query);
    let prepared = || command.unpack::<ActionCreatePreparedStatementRequest>().ok().flatten().map(|found| found.query);
    query.or_else(update).or_else(prepared)
}

#[async_trait]
impl<S: FlightService> FlightService for Guarded<S> {
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
        self.inner.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.inner.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.look_at(&request.get_ref().cmd).await?;
        self.inner.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.look_at(&request.get_ref().cmd).await?;
        self.inner.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.look_at(&request.get_ref().cmd).await?;
        self.inner.get_schema(request).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.look_at(&request.get_ref().ticket).await?;
        self.inner.do_get(request).await
    }

    /// What is put is an update, the rows of a table, or values for a prepared statement: none of it is served.
    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(Status::unimplemented("this server only reads"))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.inner.do_exchange(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.look_at(&request.get_ref().body).await?;
        self.inner.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.inner.list_actions(request).await
    }
}
