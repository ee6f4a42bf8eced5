//! What a client sees: the tables that were given, under a catalogue that cannot be changed.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::extension::SessionConfigExt;
use ballista_core::optimizer::with_ballista_optimizer_rules;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};

use super::ServeError;
use crate::query::Shipped;

/// The only schema, and the only catalogue: the names a session of the engine starts with.
const SCHEMA: &str = "public";
const CATALOG: &str = "datafusion";

/// A state with the functions and limits of another one, over these tables and no others, for the engine of a cluster.
///
/// Without the factories of tables `CREATE EXTERNAL TABLE` opens nothing, and a catalogue in memory knows no paths.
///
/// # Errors
/// If one of them is called like another.
pub(super) fn state_over(state: SessionState, tables: Vec<Shipped>) -> Result<SessionState, ServeError> {
    let mut by_name = BTreeMap::new();
    for Shipped { name, table, .. } in tables {
        if by_name.insert(name.clone(), table).is_some() {
            return Err(ServeError::Name { table: name });
        }
    }
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.into(), Arc::new(OneSchema { schema: Arc::new(Tables { by_name }) }));
    let config = state
        .config()
        .clone()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .upgrade_for_ballista();
    let rules = with_ballista_optimizer_rules(state.optimizers());
    let builder = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_optimizer_rules(rules)
        .with_catalog_list(Arc::new(catalogs))
        .with_table_factories(HashMap::new())
        .with_function_factory(None);
    Ok(builder.build())
}

/// A catalogue of one schema; it takes no other.
#[derive(Debug)]
struct OneSchema {
    schema: Arc<Tables>,
}

/// A schema of these tables; it takes no others, and gives none away.
#[derive(Debug)]
struct Tables {
    by_name: BTreeMap<String, Arc<dyn TableProvider>>,
}

impl CatalogProvider for OneSchema {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::clone(&self.schema) as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(self.by_name.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use tokio::runtime::Runtime;

    use super::*;
    use crate::query::Session;

    fn answer(ctx: &SessionContext, sql: &str) -> Result<usize, String> {
        let rows = async { ctx.sql(sql).await?.collect().await };
        let rows = Runtime::new().unwrap().block_on(rows).map_err(|error| error.to_string())?;
        Ok(rows.iter().map(arrow::array::RecordBatch::num_rows).sum())
    }

    #[test]
    fn a_client_reads_what_was_given_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret.csv");
        std::fs::write(&secret, "a\n1\n").unwrap();
        let session = Session::new().unwrap();
        session.query("CREATE VIEW two AS SELECT value FROM generate_series(1, 2)").unwrap();
        let shipped = session.shipped(folder.path()).unwrap();
        let ctx = SessionContext::new_with_state(state_over(session.state(), shipped).unwrap());

        assert_eq!(answer(&ctx, "SELECT * FROM two"), Ok(2));
        assert_eq!(answer(&ctx, "SELECT * FROM information_schema.tables WHERE table_name = 'two'"), Ok(1));
        assert_eq!(answer(&ctx, "SELECT sigmoid(value) FROM two"), Ok(2));
        let path = secret.display();
        for sql in [
            format!("SELECT * FROM '{path}'"),
            format!("CREATE EXTERNAL TABLE s STORED AS CSV LOCATION '{path}'"),
            "CREATE VIEW v AS SELECT 1".to_owned(),
            "CREATE TABLE t AS SELECT 1".to_owned(),
            "CREATE SCHEMA other".to_owned(),
            "DROP VIEW two".to_owned(),
            "CREATE FUNCTION f(INT) RETURNS INT RETURN $1".to_owned(),
        ] {
            assert!(answer(&ctx, &sql).is_err(), "{sql}");
        }
        assert_eq!(answer(&ctx, "SELECT * FROM two"), Ok(2));
    }
}
