//! Sessions whose rows always come in the same order.

use super::*;

fn ordered() -> Session {
    Session::with(Resources { row_order: RowOrder::OfFiles, ..Resources::default() }).unwrap()
}

/// What depends on the order of rows is what the order of the files makes it, also through `UNION ALL`.
#[test]
fn rows_are_taken_in_as_they_stand() {
    let folder = folder();
    let mut want = String::new();
    for part in 0..20 {
        // The first ones are the largest, and would come last.
        let rows = if part < 5 { 2000 } else { 3 };
        let lines: Vec<String> = (0..rows).map(|row| format!("{{\"a\": \"{part}-{row}\"}}")).collect();
        want.extend((0..rows).map(|row| format!("{part}-{row} ")));
        let session = session(&[&file(&folder, &format!("p{part:02}.jsonl"), lines.join("\n").as_bytes())]);
        let copy = folder.path().join(format!("parts/p{part:02}.parquet"));
        io::create_dir(copy.parent().unwrap()).unwrap();
        session_copy(&session, &format!("SELECT a FROM p{part:02}"), &copy);
    }
    let parts = folder.path().join("parts");
    let session = ordered();
    for _ in 0..5 {
        let sql = format!(
            "SELECT md5(string_agg(a, ' ') || ' ') AS d, first_value(a) AS f, last_value(a) AS l FROM '{}'",
            parts.display()
        );
        let digest = answer(&session, &format!("SELECT md5('{want}') AS d"), Format::Csv);
        let digest = digest.lines().nth(1).unwrap();
        check(&session, &sql, &format!("d,f,l\n{digest},0-0,19-2\n"));
        let each: Vec<String> =
            (0..20).map(|part| format!("SELECT a FROM '{}/p{part:02}.parquet'", parts.display())).collect();
        let all = each.join(" UNION ALL ");
        check(&session, &format!("SELECT md5(string_agg(a, ' ') || ' ') AS d FROM ({all})"), &format!("d\n{digest}\n"));
        check(&session, &format!("SELECT a FROM ({all}) LIMIT 2"), "a\n0-0\n0-1\n");
        check(&session, &format!("{all} LIMIT 1 OFFSET 10000"), "a\n5-0\n");
    }
}

#[track_caller]
fn session_copy(session: &Session, sql: &str, path: &Path) {
    run(session, &format!("COPY ({sql}) TO '{}'", path.display()), Format::Csv, &mut Vec::new()).unwrap();
}
