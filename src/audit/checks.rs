//! The checks there are: those of this program, a file each, and those of a user.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::header::BETA;
use super::{AuditError, Check, Info, SqlCheck, text};
use crate::error::nearest;
use crate::io;

/// Most bytes of a user's check.
const FILE_BYTES: u64 = 1 << 20;

/// Checks that are SQL, by file.
const SQL: &[(&str, &str)] = &[
    ("a1_non_finite.sql", include_str!("checks/a1_non_finite.sql")),
    ("a2_positive.sql", include_str!("checks/a2_positive.sql")),
    ("a3_key_twice.sql", include_str!("checks/a3_key_twice.sql")),
    ("b1_identical.sql", include_str!("checks/b1_identical.sql")),
    ("b2_empty.sql", include_str!("checks/b2_empty.sql")),
    ("b3_truncated.sql", include_str!("checks/b3_truncated.sql")),
    ("b4_prefix.sql", include_str!("checks/b4_prefix.sql")),
    ("b6_refusals.sql", include_str!("checks/b6_refusals.sql")),
    ("b8_boundary.sql", include_str!("checks/b8_boundary.sql")),
    ("b9_unfinished.sql", include_str!("checks/b9_unfinished.sql")),
    ("b12_placeholder.sql", include_str!("checks/b12_placeholder.sql")),
    ("c1_repeated_prompts.sql", include_str!("checks/c1_repeated_prompts.sql")),
    ("c4_split_leak.sql", include_str!("checks/c4_split_leak.sql")),
    ("c7_repeated_pairs.sql", include_str!("checks/c7_repeated_pairs.sql")),
    ("c9_prompt_begins_another.sql", include_str!("checks/c9_prompt_begins_another.sql")),
    ("d1_length_bias.sql", include_str!("checks/d1_length_bias.sql")),
    ("d2_length_in_margin.sql", include_str!("checks/d2_length_in_margin.sql")),
    ("d3_format_bias.sql", include_str!("checks/d3_format_bias.sql")),
    ("e1_ranking_accuracy.sql", include_str!("checks/e1_ranking_accuracy.sql")),
    ("e2_hard_to_flip.sql", include_str!("checks/e2_hard_to_flip.sql")),
    ("e3_outliers.sql", include_str!("checks/e3_outliers.sql")),
    ("e4_perplexity.sql", include_str!("checks/e4_perplexity.sql")),
    ("e5_certain.sql", include_str!("checks/e5_certain.sql")),
    ("e6_memorised.sql", include_str!("checks/e6_memorised.sql")),
    ("e7_impossible_token.sql", include_str!("checks/e7_impossible_token.sql")),
    ("e8_off_policy.sql", include_str!("checks/e8_off_policy.sql")),
    ("f1_score_order.sql", include_str!("checks/f1_score_order.sql")),
    ("f2_score_against_reference.sql", include_str!("checks/f2_score_against_reference.sql")),
    ("f3_score_distribution.sql", include_str!("checks/f3_score_distribution.sql")),
    ("g1_implicit_margin.sql", include_str!("checks/g1_implicit_margin.sql")),
    ("g2_two_model_flips.sql", include_str!("checks/g2_two_model_flips.sql")),
    ("g3_suspects.sql", include_str!("checks/g3_suspects.sql")),
    ("h1_likelihood_displacement.sql", include_str!("checks/h1_likelihood_displacement.sql")),
    ("i1_by_source.sql", include_str!("checks/i1_by_source.sql")),
    ("i2_by_length.sql", include_str!("checks/i2_by_length.sql")),
    ("i3_by_turns.sql", include_str!("checks/i3_by_turns.sql")),
];

/// Numbers by check and name that replace the defaults of checks.
pub type Thresholds = BTreeMap<String, BTreeMap<String, f64>>;

/// Checks, ordered by name: by letters, then by number.
pub struct Checks(Vec<Box<dyn Check>>);

impl Checks {
    /// Those of this program.
    ///
    /// # Errors
    /// Never, unless a file of this program is wrong: a test reads them all.
    pub fn built_in() -> Result<Self, AuditError> {
        let mut checks = Self(Vec::new());
        for (name, sql) in SQL {
            let path = Path::new(name);
            checks.add(path, Box::new(SqlCheck::parse(path, sql)?))?;
        }
        for check in text::checks() {
            checks.add(Path::new("text"), check)?;
        }
        Ok(checks)
    }

    /// Adds the `.sql` files of a folder.
    ///
    /// # Errors
    /// If there is none, if one is no check, or has the name of another.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), AuditError> {
        let mut n_added = 0;
        for path in io::list(folder)? {
            if path.extension().is_some_and(|extension| extension == "sql") {
                let check = SqlCheck::parse(&path, &io::read_text_up_to(&path, FILE_BYTES)?)?;
                self.add(&path, Box::new(check))?;
                n_added += 1;
            }
        }
        if n_added == 0 { Err(AuditError::NoChecks { path: folder.to_owned() }) } else { Ok(()) }
    }

    /// Adds a check; `path` is where it comes from.
    ///
    /// # Errors
    /// If there is one of its name.
    pub fn add(&mut self, path: &Path, check: Box<dyn Check>) -> Result<(), AuditError> {
        match self.0.binary_search_by(|known| place(&known.info().id).cmp(&place(&check.info().id))) {
            Ok(_) => Err(AuditError::Twice { id: check.info().id.clone(), path: path.to_owned() }),
            Err(at) => {
                self.0.insert(at, check);
                Ok(())
            }
        }
    }

    /// Leaves only the checks `only`, all if that names none, and of these not `skip`. A letter stands for its family.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn select(&mut self, only: &[String], skip: &[String]) -> Result<(), AuditError> {
        let (only, skip) = (self.named(only)?, self.named(skip)?);
        self.0.retain(|check| {
            let id = &check.info().id;
            (only.is_empty() || only.contains(id)) && !skip.contains(id)
        });
        Ok(())
    }

    /// The check of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, id: &str) -> Result<&dyn Check, AuditError> {
        self.iter().find(|check| check.info().id == id).ok_or_else(|| self.unknown(id))
    }

    /// What each says about itself, by name.
    pub fn infos(&self) -> impl Iterator<Item = &Info> {
        self.0.iter().map(|check| check.info())
    }

    /// The checks, by name.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Check> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether these numbers are of checks there are.
    ///
    /// # Errors
    /// If a check or a number of it is not there.
    pub fn check_thresholds(&self, thresholds: &Thresholds) -> Result<(), AuditError> {
        for (id, numbers) in thresholds {
            let info = self.get(id)?.info();
            for found in numbers.keys() {
                if !info.thresholds.contains_key(found) {
                    let known: Vec<&str> = info.thresholds.keys().map(String::as_str).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Err(AuditError::UnknownThreshold { id: id.clone(), found: found.clone(), known });
                }
            }
        }
        Ok(())
    }

    /// The names of checks that a user's list stands for.
    pub(super) fn named(&self, ids: &[String]) -> Result<BTreeSet<String>, AuditError> {
        let mut named = BTreeSet::new();
        for id in ids {
            let is_meant = |known: &&Info| known.id == *id || (id.len() == 1 && known.id.starts_with(id.as_str()));
            let before = named.len();
            named.extend(self.infos().filter(is_meant).map(|known| known.id.clone()));
            if named.len() == before && !named.contains(id) && !self.infos().any(|known| is_meant(&known)) {
                return Err(self.unknown(id));
            }
        }
        Ok(named)
    }

    fn unknown(&self, id: &str) -> AuditError {
        let known = || self.infos().map(|info| info.id.as_str());
        let upper = id.to_uppercase();
        let nearest = known().find(|known| *known == upper).or_else(|| nearest(id, known()));
        AuditError::UnknownCheck { found: id.to_owned(), nearest: nearest.map(str::to_owned) }
    }
}

/// Where a name stands among others: `B2` before `B10`. No two names have the same place.
fn place(id: &str) -> (&str, u64, &str) {
    let (letters, rest) = id.split_at(id.find(|c: char| c.is_ascii_digit()).unwrap_or(id.len()));
    (letters, rest.parse().unwrap_or(u64::MAX), rest)
}

/// The numbers a check runs with.
pub fn numbers(info: &Info, thresholds: &Thresholds, beta: f64) -> BTreeMap<String, f64> {
    let mut numbers = info.thresholds.clone();
    numbers.extend(thresholds.get(&info.id).cloned().unwrap_or_default());
    numbers.insert(BETA.to_owned(), beta);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(checks: &Checks) -> Vec<&str> {
        checks.infos().map(|info| info.id.as_str()).collect()
    }

    fn list(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn every_file_is_a_check_named_like_it() {
        for (name, text) in SQL {
            let check = SqlCheck::parse(Path::new(name), text).unwrap();
            let info = check.info();
            assert_eq!(name.split('_').next().unwrap().to_uppercase(), info.id, "{name}");
            let filled = check.explain(&numbers(info, &Thresholds::new(), 0.1));
            // What is left are repetitions of a pattern.
            let is_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            assert!(filled.match_indices('{').all(|(at, _)| is_number(&filled[at + 1..])), "{name}: {filled}");
        }
        let n_files = std::fs::read_dir("src/audit/checks").unwrap().count();
        assert_eq!(SQL.len(), n_files, "a file of src/audit/checks is not in the list");
    }

    #[test]
    fn checks_are_chosen_by_name_and_family() {
        let mut checks = Checks::built_in().unwrap();
        checks.select(&list(&["A", "B1", "B1", "A2"]), &list(&["A3"])).unwrap();
        assert_eq!(ids(&checks), ["A1", "A2", "B1"]);
    }

    #[test]
    fn checks_stand_in_the_order_of_their_numbers() {
        let mut checks = Checks::built_in().unwrap();
        checks.select(&list(&["B", "C1"]), &[]).unwrap();
        let want = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "C1"];
        assert_eq!(ids(&checks), want);
        let mut names = ["SHORT", "X1b", "X", "X10", "X1", "X2"];
        names.sort_by_key(|&name| place(name));
        assert_eq!(names, ["SHORT", "X1", "X2", "X10", "X", "X1b"]);
    }

    #[test]
    fn unknown_names_have_a_neighbour() {
        let mut checks = Checks::built_in().unwrap();
        let error = checks.select(&list(&["b1"]), &[]).unwrap_err();
        assert!(matches!(&error, AuditError::UnknownCheck { nearest: Some(id), .. } if id == "B1"), "{error}");
        assert!(checks.select(&[], &list(&["Z"])).is_err());
    }

    #[test]
    fn thresholds_replace_defaults_and_must_exist() {
        let checks = Checks::built_in().unwrap();
        let thresholds = Thresholds::from([("E3".to_owned(), BTreeMap::from([("z".to_owned(), 4.0)]))]);
        checks.check_thresholds(&thresholds).unwrap();
        let found = numbers(checks.get("E3").unwrap().info(), &thresholds, 0.5);
        assert_eq!((found["z"], found["beta"]), (4.0, 0.5));
        let wrong = Thresholds::from([("E3".to_owned(), BTreeMap::from([("zz".to_owned(), 4.0)]))]);
        let message = checks.check_thresholds(&wrong).unwrap_err().to_string();
        assert_eq!(message, "check `E3` has no threshold `zz`: expected tokens, z");
    }

    #[test]
    fn a_folder_of_checks_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let mut checks = Checks::built_in().unwrap();
        assert!(matches!(checks.add_folder(folder.path()), Err(AuditError::NoChecks { .. })));
        let text = SQL[0].1;
        io::write(&folder.path().join("mine.sql"), text.replace("id = \"A1\"", "id = \"MINE\"").as_bytes()).unwrap();
        checks.add_folder(folder.path()).unwrap();
        assert!(checks.get("MINE").is_ok());
        io::write(&folder.path().join("again.sql"), text.as_bytes()).unwrap();
        assert!(matches!(checks.add_folder(folder.path()), Err(AuditError::Twice { .. })));
    }
}
