//! What a client of a server may ask: one statement that reads, and nothing that is kept for the next.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

use super::permitted::{self, Refusal};

/// Refuses what is not one query, `EXPLAIN`, `SHOW` or `DESCRIBE`, and a query that recurs: settings and views of one client
/// would be those of all who do not log in.
///
/// # Errors
/// [`Refusal`].
pub(super) fn check(statements: &[Statement]) -> Result<(), Refusal> {
    let [statement] = statements else {
        return Err(Refusal::NotOneQuery { found: format!("{} statements", statements.len()) });
    };
    if !reads(statement) {
        let text = statement.to_string();
        let found: Vec<&str> = text.split_whitespace().take(2).collect();
        return Err(Refusal::NotOneQuery { found: format!("`{}`", found.join(" ")) });
    }
    permitted::check_endless(statement)
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
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn check_served(sql: &str) -> Result<(), Refusal> {
        check(&DFParser::parse_sql(sql).unwrap().into_iter().collect::<Vec<_>>())
    }

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
            ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i FROM r) SELECT i FROM r", "RECURSIVE"),
        ] {
            let refused = check_served(sql).unwrap_err().to_string();
            assert!(refused.contains(said), "{sql}: {refused}");
        }
    }
}
