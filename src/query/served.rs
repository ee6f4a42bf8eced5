//! What a client of a server may ask: one statement that reads, and nothing that is kept for the next.

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast;

use super::permitted::{Refusal, check_clauses};
use super::{QueryError, nesting};

/// Refuses SQL that is not one query, `EXPLAIN`, `SHOW` or `DESCRIBE`: settings and views of one client would be those of
/// all who do not log in. What is no SQL is left to the engine to say.
///
/// # Errors
/// [`Refusal`].
pub fn check_served(sql: &str) -> Result<(), QueryError> {
    nesting::check(sql)?;
    let Ok(statements) = DFParser::parse_sql(sql) else { return Ok(()) };
    let n_statements = statements.len();
    let mut statements = statements.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Refusal::NotOneQuery { found: format!("{n_statements} statements") }.into());
    };
    check_clauses(&statement)?;
    if reads(&statement) {
        return Ok(());
    }
    let text = statement.to_string();
    let found: Vec<&str> = text.split_whitespace().take(2).collect();
    Err(Refusal::NotOneQuery { found: format!("`{}`", found.join(" ")) }.into())
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::Statement(statement) => matches!(
            **statement,
            ast::Statement::Query(_)
                | ast::Statement::ExplainTable { .. }
                | ast::Statement::ShowTables { .. }
                | ast::Statement::ShowColumns { .. }
                | ast::Statement::ShowFunctions { .. }
                | ast::Statement::ShowVariable { .. }
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_reads_and_leaves_nothing_behind() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1 AS x) SELECT * FROM a;",
            "VALUES (1)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW TABLES",
            "SHOW ALL",
            "DESCRIBE pairs",
            "no SQL at all",
        ] {
            assert!(check_served(sql).is_ok(), "{sql}");
        }
        for (sql, said) in [
            (
                "SET datafusion.execution.target_partitions = 1000000",
                "found `SET datafusion.execution.target_partitions`",
            ),
            ("RESET datafusion.execution.batch_size", "found `RESET datafusion.execution.batch_size`"),
            ("CREATE VIEW v AS SELECT 1", "found `CREATE VIEW`"),
            ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "found `CREATE EXTERNAL`"),
            ("DROP TABLE pairs", "found `DROP TABLE`"),
            ("COPY (SELECT 1) TO 'f.csv'", "found `COPY (SELECT`"),
            ("PREPARE p AS SELECT 1", "found `PREPARE p`"),
            ("EXPLAIN INSERT INTO pairs VALUES (1)", "found `EXPLAIN INSERT`"),
            ("SELECT 1; SELECT 2", "found 2 statements"),
            ("", "found 0 statements"),
            ("SELECT * FROM pairs TABLESAMPLE (1)", "`TABLESAMPLE` is not supported"),
        ] {
            let refused = check_served(sql).unwrap_err().to_string();
            assert!(refused.contains(said), "{sql}: {refused}");
        }
        let deep = format!("SELECT {}", vec!["x"; 5000].join(" OR "));
        assert!(check_served(&deep).unwrap_err().to_string().contains("are in each other"));
    }
}
